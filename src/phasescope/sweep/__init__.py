"""Tasks with seeds of their own, run in any order on any executor, each kept in one checked file."""
