"""What is stored, looked at: bounded looks that keep nobody waiting."""
