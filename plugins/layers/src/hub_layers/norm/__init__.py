"""Norms, with and without an activation after them."""
