"""How a message is made of an event: templates in a sandbox, presets, recipes."""
