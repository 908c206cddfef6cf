"""What the wiring of a network holds beyond the distribution of its weights."""

__all__: list[str] = []
