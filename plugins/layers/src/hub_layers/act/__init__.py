"""Activations, and how one is named."""
