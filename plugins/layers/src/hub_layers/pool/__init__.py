"""Pools, and what blurs before it subsamples."""
