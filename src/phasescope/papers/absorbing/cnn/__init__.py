"""Convolutional networks at the critical point."""
