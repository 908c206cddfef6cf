"""Directed percolation spelled out: loops over sites and bonds, and exact laws of tiny lattices."""

import itertools

import numpy as np


def parents_of(site, shape, forward):
    """Sites of the row before from which bonds lead to `site`."""
    step = 1 if forward else -1
    return [
        tuple((i + step * d) % n for i, d, n in zip(site, offset, shape, strict=True))
        for offset in itertools.product((0, 1), repeat=len(shape))
    ]


def next_row(active, masks, forward):
    """Next row of one run from its mask for each number of active parents, or from a single mask."""
    following = np.zeros_like(active)
    for site in np.ndindex(*active.shape):
        count = sum(bool(active[parent]) for parent in parents_of(site, active.shape, forward))
        if count:
            following[site] = masks[0 if len(masks) == 1 else count - 1][site]
    return following


def _activation(open_parents, p, kind):
    """Probability that a site with these active parents is active, by enumerating its bonds."""
    if kind == "site":
        return p if any(open_parents) else 0.0
    total = 0.0
    for bonds in itertools.product((False, True), repeat=len(open_parents)):
        if any(bond and parent for bond, parent in zip(bonds, open_parents, strict=True)):
            total += np.prod([p if bond else 1 - p for bond in bonds])
    return float(total)


def mass_law(shape, steps, p, kind):
    """Probability of each mass after `steps` rows from a full row, over all configurations."""
    sites = list(np.ndindex(*shape))
    law = {(True,) * len(sites): 1.0}
    for step in range(steps):
        following = {}
        for configuration, weight in law.items():
            active = dict(zip(sites, configuration, strict=True))
            chances = [
                _activation([active[q] for q in parents_of(site, shape, step % 2 == 0)], p, kind)
                for site in sites
            ]
            for child in itertools.product((False, True), repeat=len(sites)):
                probability = np.prod([c if a else 1 - c for a, c in zip(child, chances, strict=True)])
                if probability:
                    following[child] = following.get(child, 0.0) + weight * probability
        law = following
    masses = np.zeros(len(sites) + 1)
    for configuration, weight in law.items():
        masses[sum(configuration)] += weight
    return masses
