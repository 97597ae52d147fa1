"""Attention of convolutional blocks: channels and positions that gate a map."""
