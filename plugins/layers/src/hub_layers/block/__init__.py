"""Blocks of transformers: attention and MLP with norms and shortcuts."""
