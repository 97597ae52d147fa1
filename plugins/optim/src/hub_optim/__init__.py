"""Optimizers, learning-rate schedules and parameter groups, by the names that timm gives them."""
