"""Where a token stands: absolute, relative and rotary."""
