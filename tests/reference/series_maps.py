"""Series whose regime and largest exponent are known."""

import numpy as np

LN2 = np.log(2)
HENON = 0.41922  # a = 1.4, b = 0.3
LORENZ = 0.9056  # sigma = 10, rho = 28, beta = 8/3, per unit of time


def logistic(steps, rate=4.0, start=0.3, skip=200):
    x, found = start, []
    for _ in range(skip + steps):
        x = rate * x * (1 - x)
        found.append(x)
    return np.array(found[skip:])


def henon(steps, start=0.1, skip=200):
    x, y, found = start, 0.1, []
    for _ in range(skip + steps):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
        found.append(x)
    return np.array(found[skip:])


def lorenz(steps, dt=0.01, start=1.0, skip=2000):
    def flow(s):
        x, y, z = s
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    state, found = np.array([start, 1.0, 1.1]), []
    for _ in range(skip + steps):
        a = flow(state)
        b = flow(state + dt / 2 * a)
        c = flow(state + dt / 2 * b)
        d = flow(state + dt * c)
        state = state + dt / 6 * (a + 2 * b + 2 * c + d)
        found.append(state[0])
    return np.array(found[skip:])


def softmax_loss(steps, strength, counts=(35, 42, 43), seed=0, skip=2000):
    """Cross-entropy along ``z <- z - E (softmax(z) - pi)``, to which training reduces at saturated units."""
    pi = np.array(counts) / sum(counts)
    z, found = 3 * np.random.default_rng(seed).standard_normal(3), []
    for _ in range(skip + steps):
        p = np.exp(z - z.max())
        p /= p.sum()
        found.append(-(pi * np.log(p)).sum())
        z = z - strength * (p - pi)
    return np.array(found[skip:])
