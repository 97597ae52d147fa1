"""Residual networks for hub."""
