"""Numbers of one head of attention, query by query, from its logits and what each query may see."""

import math

import numpy as np


def head(logits, visible):
    """Return entropy over uniform, sink and participation of logits (query, key), some keys being visible."""
    queries, keys = logits.shape
    p = np.zeros((queries, keys))
    entropy, uniform, above = 0.0, 0.0, np.zeros(keys)
    seeing = [t for t in range(queries) if visible[t].any()]
    for t in seeing:
        seen = [s for s in range(keys) if visible[t, s]]
        top = max(logits[t, s] for s in seen)
        total = sum(math.exp(logits[t, s] - top) for s in seen)
        for s in seen:
            p[t, s] = math.exp(logits[t, s] - top) / total
            entropy -= p[t, s] * math.log(p[t, s]) if p[t, s] > 0 else 0.0
            above[s] += (p[t, s] - 1 / len(seen)) / len(seeing)
        uniform += math.log(len(seen))
    singular = np.linalg.svd(p, compute_uv=False)
    return entropy / uniform, above.max(), (singular**2).sum() ** 2 / (singular**4).sum()


def alike(tokens):
    """Return the mean cosine of different tokens (token, feature), and their effective rank."""
    count = len(tokens)
    cosines = [
        tokens[s] @ tokens[t] / (np.linalg.norm(tokens[s]) * np.linalg.norm(tokens[t]))
        for s in range(count)
        for t in range(count)
        if s != t
    ]
    singular = np.linalg.svd(tokens, compute_uv=False)
    return float(np.mean(cosines)), float((singular**2).sum() ** 2 / (singular**4).sum())
