"""Exponents, collapses and universality classes from data, with honest errors."""
