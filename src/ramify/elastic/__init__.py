"""Widths, depth and kernels of networks that exist already."""
