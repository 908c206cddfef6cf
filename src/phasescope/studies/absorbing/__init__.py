"""Signal propagation at initialisation as an absorbing phase transition (arXiv:2307.02284)."""
