"""The quality of a collapse as Houdayer and Hartmann define it (cond-mat/0402036), point by point."""

import numpy as np


def quality(curves):
    """Return S for curves given as (scaled x, scaled y, scaled error), each ascending in x.

    Each point is held against a straight line, weighted by errors, through the two points around it of every
    other curve that reaches there. S is the mean square of the distance in units of both errors.
    """
    total, count = 0.0, 0
    for mine, (xs, ys, errors) in enumerate(curves):
        for x, y, error in zip(xs, ys, errors, strict=True):
            near = []
            for other, (x2, y2, e2) in enumerate(curves):
                if other == mine:
                    continue
                for left in range(len(x2) - 1):
                    if x2[left] <= x <= x2[left + 1]:
                        near += [(x2[k], y2[k], 1 / e2[k] ** 2) for k in (left, left + 1)]
                        break
            if not near:
                continue
            K = sum(w for _, _, w in near)
            Kx = sum(w * a for a, _, w in near)
            Ky = sum(w * b for _, b, w in near)
            Kxx = sum(w * a * a for a, _, w in near)
            Kxy = sum(w * a * b for a, b, w in near)
            delta = K * Kxx - Kx**2
            master = (Kxx * Ky - Kx * Kxy + x * (K * Kxy - Kx * Ky)) / delta
            variance = (Kxx - 2 * x * Kx + x**2 * K) / delta
            total += (y - master) ** 2 / (error**2 + variance)
            count += 1
    return total / count


def scaled(x, y, size, errors, a, b, critical=0.0):
    """Return the curves of ``y size^a`` against ``(x - critical) size^b``."""
    return [
        (
            (np.asarray(u) - critical) * n**b,
            np.asarray(v) * n**a,
            np.asarray(e) * n**a,
        )
        for u, v, n, e in zip(x, y, size, errors, strict=True)
    ]
