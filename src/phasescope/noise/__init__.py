"""Fluctuations of activations in time: exponents with honest errors, and the nulls that imitate them."""
