"""The same training step in every engine: a perceptron, SGD with momentum, float32, one thread.

Each function takes (sizes, weights): the widths of the layers, and weight and bias of each in
order. It returns (step, batch): step(x, y) trains and returns the loss as a float, and batch
turns an array into what the engine is fed. One output column asks for the mean squared
error, several for cross entropy.
"""

from importlib.util import find_spec

import numpy as np

from grad import replay
from grad.descent import BLOCK, SGD
from grad.layers import MLP
from grad.losses import cross_entropy, mse
from grad.tensor import Tensor

RATE, MOMENTUM = 0.01, 0.9


def forward(x, params):
    """Compute the network in plain operations; params are weight, bias, weight, bias ..."""
    *hidden, (last, shift) = zip(params[::2], params[1::2], strict=True)
    for w, b in hidden:
        x = (x @ w + b).relu()
    return x @ last + shift


def eager(sizes, weights):
    """Our engine, in plain operations."""
    loss = cross_entropy if sizes[-1] > 1 else mse
    params = [Tensor(a) for a in weights]
    optimizer = SGD(params, RATE, MOMENTUM)

    def step(x, y):
        value = loss(forward(x, params), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.item()

    return step, np.asarray


def replayed(sizes, weights):
    """Our engine, recorded and replayed."""
    model = MLP(sizes[0], sizes[1:])
    for p, a in zip(model.parameters(), weights, strict=True):
        p.data[...] = a
    loss = cross_entropy if sizes[-1] > 1 else mse
    return replay.step(model, loss, SGD(model.parameters(), RATE, MOMENTUM)), np.asarray


def torch_eager(sizes, weights):
    """PyTorch as most people write it."""
    import torch

    torch.set_num_threads(1)
    layers = []
    for w, b in zip(weights[::2], weights[1::2], strict=True):
        linear = torch.nn.Linear(*w.shape)
        linear.weight.data, linear.bias.data = torch.tensor(w.T.copy()), torch.tensor(b)
        layers += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    loss = torch.nn.CrossEntropyLoss() if sizes[-1] > 1 else torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)

    def step(x, y):
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.item()

    return step, torch.tensor


def flat(arrays):
    """Return one array that holds several end to end, and the views that are like them."""
    whole = np.concatenate([a.ravel() for a in arrays])
    cuts = np.cumsum([a.size for a in arrays])[:-1]
    views = zip(np.split(whole, cuts), arrays, strict=True)
    return whole, [view.reshape(a.shape) for view, a in views]


def by_hand(sizes, weights):
    """The loop of somebody who knows NumPy, for this network and no other.

    Nothing is allocated but by the first call for a batch's size, matrix products are written
    where they are needed, sums along rows and columns are products with ones, and the
    parameters are updated in blocks that stay in a cache.
    """
    last = len(sizes) - 2
    whole, params = flat(weights)
    slope, grads = flat([np.zeros_like(a) for a in weights])
    velocity, scratch = np.zeros_like(whole), np.empty_like(whole[:BLOCK])
    blocks = []
    for i in range(0, whole.size, BLOCK):
        p, g, v = (a[i : i + BLOCK] for a in (whole, slope, velocity))
        blocks.append((p, g, v, scratch[: p.size]))
    flipped = [w.T for w in params[::2]]
    dot, add, sub, mul, div = np.dot, np.add, np.subtract, np.multiply, np.divide
    maximum, greater, exp, log = np.maximum, np.greater, np.exp, np.log
    top, sub_at = np.maximum.reduce, np.subtract.at
    made = {}

    def buffers(n):
        """Make the arrays for batches of n rows."""

        def empty(*shape):
            return np.empty(shape, np.float32)

        outs, back = ([empty(n, width) for width in sizes[1:]] for _ in range(2))
        return (
            outs,
            [a.T for a in outs],
            back,
            [empty(n, width) > 0 for width in sizes[1:]],
            np.ones(n, np.float32),
            (np.ones(sizes[-1], np.float32), empty(n, 1), empty(n), empty(n)),
            (np.arange(n) * sizes[-1], np.arange(n)),
        )

    def mse_and_slope(n, out, g, y):
        sub(out, y, g)
        error = g.reshape(-1)
        value = dot(error, error) / error.size
        mul(g, 2.0 / error.size, g)
        return value

    def cross_entropy_and_slope(n, out, g, y, ones, rows, indices):
        (along, column, sums, picked), (first, own) = rows, indices
        top(out, 1, None, column, True)
        sub(out, column, out)
        add(first, y, own)
        out.reshape(-1).take(own, None, picked, "clip")
        exp(out, g)
        dot(g, along, sums)
        log(sums, column[:, 0])
        value = (dot(column[:, 0], ones) - dot(picked, ones)) / n
        mul(sums, n, column[:, 0])
        div(g, column, g)
        sub_at(g.reshape(-1), own, 1.0 / n)
        return value

    def step(x, y):
        n = len(x)
        if n not in made:
            made[n] = buffers(n)
        outs, sides, back, masks, ones, rows, indices = made[n]
        h = x
        for i, out in enumerate(outs):
            dot(h, params[2 * i], out)
            add(out, params[2 * i + 1], out)
            if i < last:
                maximum(out, 0.0, out=out)
            h = out
        g = back[last]
        if sizes[-1] > 1:
            value = cross_entropy_and_slope(n, h, g, y, ones, rows, indices)
        else:
            value = mse_and_slope(n, h, g, y)
        for i in range(last, -1, -1):
            dot(sides[i - 1] if i else x.T, g, grads[2 * i])
            dot(ones, g, grads[2 * i + 1])
            if i:
                before = back[i - 1]
                dot(g, flipped[i], before)
                greater(outs[i - 1], 0.0, masks[i - 1])
                mul(before, masks[i - 1], before)
                g = before
        for p, gradient, v, move in blocks:
            mul(v, MOMENTUM, v)
            add(v, gradient, v)
            mul(v, RATE, move)
            sub(p, move, p)
        return float(value)

    return step, np.asarray


def autograd(sizes, weights):
    """The package of that name, which differentiates NumPy."""
    import autograd
    import autograd.numpy as anp

    params = [a.copy() for a in weights]
    velocity = [np.zeros_like(a) for a in weights]

    def loss(params, x, y):
        for i in range(0, len(params), 2):
            x = anp.dot(x, params[i]) + params[i + 1]
            if i < len(params) - 2:
                x = anp.maximum(x, 0.0)
        if sizes[-1] == 1:
            return anp.mean((x - y) ** 2)
        shifted = x - anp.max(x, axis=1, keepdims=True)
        sums = anp.log(anp.sum(anp.exp(shifted), axis=1))
        return anp.mean(sums - shifted[np.arange(len(y)), y])

    both = autograd.value_and_grad(loss)

    def step(x, y):
        value, grads = both(params, x, y)
        for p, v, g in zip(params, velocity, grads, strict=True):
            v *= MOMENTUM
            v += g
            p -= RATE * v
        return float(value)

    return step, np.asarray


def jax_jit(sizes, weights):
    """JAX, the whole step compiled, its parameters updated in place."""
    import jax
    import jax.numpy as jnp

    def loss(params, x, y):
        for i in range(0, len(params), 2):
            x = x @ params[i] + params[i + 1]
            if i < len(params) - 2:
                x = jax.nn.relu(x)
        if sizes[-1] == 1:
            return jnp.mean((x - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1))

    def update(params, velocity, x, y):
        value, grads = jax.value_and_grad(loss)(params, x, y)
        velocity = [MOMENTUM * v + g for v, g in zip(velocity, grads, strict=True)]
        moved = [p - RATE * v for p, v in zip(params, velocity, strict=True)]
        return moved, velocity, value

    update = jax.jit(update, donate_argnums=(0, 1))
    state = [[jnp.array(a) for a in weights], [jnp.zeros_like(a) for a in weights]]

    def step(x, y):
        *state[:], value = update(*state, x, y)
        return float(value)

    return step, jnp.asarray


# name -> (the package it needs, the engine)
ENGINES = {
    "torch": ("torch", torch_eager),
    "eager": ("numpy", eager),
    "replay": ("numpy", replayed),
    "hand": ("numpy", by_hand),
    "autograd": ("autograd", autograd),
    "jax": ("jax", jax_jit),
}


def installed():
    """Return {name: engine} for those whose package is here."""
    return {name: engine for name, (needs, engine) in ENGINES.items() if find_spec(needs)}
