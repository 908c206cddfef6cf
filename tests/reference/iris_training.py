"""Training of a small network on Iris, written out: gradients by hand, copies one by one, explicit Jacobians.

The protocol of arXiv:2404.05782: 4-10-3, logistic units, softmax cross-entropy, 120 rows, normal weights.
"""

import numpy as np
from sklearn.datasets import load_iris

UNITS = 10


def iris():
    flowers = load_iris()
    chosen = np.random.default_rng(0).permutation(150)[:120]
    return flowers.data[chosen], flowers.target[chosen]


def start(number):
    """Weights of initialisation `number`, in the order of torch: weight and bias, layer by layer."""
    draw = np.random.default_rng(1000 + number)
    first, second = draw.standard_normal((UNITS, 4)), draw.standard_normal((3, UNITS))
    return np.concatenate([first.ravel(), np.zeros(UNITS), second.ravel(), np.zeros(3)])


def gradient(w, x, y):
    """Loss and gradient by back-propagation."""
    first, shift, second, last = np.split(w, np.cumsum([4 * UNITS, UNITS, 3 * UNITS]))
    hidden = 1 / (1 + np.exp(-(x @ first.reshape(UNITS, 4).T + shift)))
    logits = hidden @ second.reshape(3, UNITS).T + last
    logits -= logits.max(axis=1, keepdims=True)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(share[np.arange(len(y)), y]).mean()
    error = (share - np.eye(3)[y]) / len(y)
    back = (error @ second.reshape(3, UNITS)) * hidden * (1 - hidden)
    parts = [back.T @ x, back.sum(axis=0), error.T @ hidden, error.sum(axis=0)]
    return loss, np.concatenate([part.ravel() for part in parts])


def distances(w, kicks, rate, steps):
    """L1 distances (copies, steps + 1) of kicked copies from their reference, one copy after the other."""
    x, y = iris()

    def run(weights):
        path = [weights]
        for _ in range(steps):
            path.append(path[-1] - rate * gradient(path[-1], x, y)[1])
        return np.array(path)

    reference = run(w)
    return np.array([np.abs(run(w + kick) - reference).sum(axis=1) for kick in kicks])


def exponents(jacobian, step, state, steps, count):
    """Lyapunov exponents from explicit Jacobians and a QR decomposition a step."""
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((len(state), count)))[0]
    total = np.zeros(count)
    for t in range(steps):
        q, r = np.linalg.qr(jacobian(state, t) @ q)
        total += np.log(np.abs(np.diag(r)))
        state = step(state, t)
    return total / steps
