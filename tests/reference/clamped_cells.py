"""Recurrent layers step by step in numpy, the state of one unit of one layer set to a value at every step."""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def one_step(kind, x, h, c, weights):
    """Return hidden and cell state after one input; weights: W_ih, W_hh, b_ih, b_hh and maybe W_hr."""
    w, u, b, d = weights[:4]
    if kind == "LSTM":
        i, f, g, o = np.split(w @ x + b + u @ h + d, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return (weights[4] @ h if len(weights) > 4 else h), c
    if kind == "GRU":
        rx, zx, nx = np.split(w @ x + b, 3)
        rh, zh, nh = np.split(u @ h + d, 3)
        z = sigmoid(zx + zh)
        return (1 - z) * np.tanh(nx + sigmoid(rx + rh) * nh) + z * h, c
    z = w @ x + b + u @ h + d
    return (np.tanh(z) if kind == "RNN_TANH" else np.maximum(z, 0)), c


def clamped_run(module, x, layer, reverse, unit, value, start=None):
    """Return outputs (time, unit) and last hidden states (layer and direction, unit) of one sequence."""
    width = module.proj_size or module.hidden_size
    below, last = x, []
    for number in range(module.num_layers):
        outputs = []
        for direction in range(2 if module.bidirectional else 1):
            suffix = f"l{number}" + ("_reverse" if direction else "")
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
            given = [getattr(module, f"{name}_{suffix}", None) for name in names]
            gates = len(given[0])
            weights = [np.zeros(gates) if w is None else w.detach().numpy() for w in given[:4]]
            weights += [given[4].detach().numpy()] if given[4] is not None else []
            held = (number, direction) == (layer, int(reverse))
            h, c = np.zeros(width), np.zeros(module.hidden_size)
            if start is not None:
                h = start[len(last)].copy()
            states = np.zeros((len(below), width))
            times = range(len(below))
            for t in reversed(times) if direction else times:
                if held:
                    h[unit] = value
                h, c = one_step(module.mode, below[t], h, c, weights)
                if held:
                    h[unit] = value
                states[t] = h
            outputs.append(states)
            last.append(h)
        below = np.concatenate(outputs, axis=1)
    return below, np.array(last)
