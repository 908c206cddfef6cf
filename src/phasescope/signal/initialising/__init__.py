"""Initialisation at the critical point: a plan for each layer, then measured on the batch."""
