"""Benchmarks: each fast path beside its named peers, as ratios measured in one run."""
