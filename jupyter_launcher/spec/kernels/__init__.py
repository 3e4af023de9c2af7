"""Kernels in containers: their options, labels and containers. Pure functions."""
