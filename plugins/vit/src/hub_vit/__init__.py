"""Vision transformers for hub."""
