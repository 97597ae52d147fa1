"""Attention among tokens and among the positions of a map."""
