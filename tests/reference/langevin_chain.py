"""A Langevin chain with a Metropolis test, one weight vector and one step at a time, in numpy."""

import math

import numpy as np


def metropolis_chain(loss_and_gradient, size, *, nb, g, step, steps, random):
    """The values of ``nb (L - L(0))`` at all steps of a chain that starts at zero."""
    x, start = np.zeros(size), loss_and_gradient(np.zeros(size))[0]

    def energy_and_force(w):
        loss, gradient = loss_and_gradient(w)
        return nb * (loss - start) + g / 2 * w @ w, nb * gradient + g * w

    energy, force = energy_and_force(x)
    rises = []
    for _ in range(steps):
        noise = random.standard_normal(size)
        proposed = x - step / 2 * force + math.sqrt(step) * noise
        new_energy, new_force = energy_and_force(proposed)
        back = x - proposed + step / 2 * new_force
        odds = energy - new_energy + noise @ noise / 2 - back @ back / (2 * step)
        if math.log(random.random()) < odds:
            x, energy, force = proposed, new_energy, new_force
        rises.append(energy - g / 2 * x @ x)
    return np.array(rises)
