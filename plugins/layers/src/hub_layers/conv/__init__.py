"""Convolutions: plain, padded as TensorFlow does, mixed, conditional; with norm and activation."""
