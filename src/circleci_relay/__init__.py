"""One CircleCI webhook slot in, as many destinations as you like out, and nothing lost."""

__version__ = "0.1.0"
