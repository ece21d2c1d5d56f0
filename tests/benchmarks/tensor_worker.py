"""All engines in one process, by turns: `tensor_worker step CONFIG | chain | alive CONFIG`."""

import gc
import json
import math
import sys
import tracemalloc
import weakref
from itertools import cycle

import numpy as np

from grad.layers import MLP
from grad.losses import cross_entropy
from grad.node import ancestors
from grad.tensor import WATCHERS, Tensor
from tests.benchmarks.peers import forward, installed
from tests.benchmarks.turns import turns

# rows of a batch, widths of the layers, rounds, steps in a block
CONFIGS = {
    "a": (32, [2, 16, 16, 1], 40, 20),
    "b": (64, [64, 128, 10], 40, 20),
    "c": (128, [784, 512, 256, 10], 16, 20),
    "d": (1024, [784, 1024, 1024, 10], 5, 4),
}
CHAIN = 150  # multiplications, and as many additions


def problem(name):
    """Return (sizes, weights, batches) of a configuration, the same in every process."""
    rows, sizes, *_ = CONFIGS[name]
    rng = np.random.default_rng(0)
    weights = [p.numpy() for p in MLP(sizes[0], sizes[1:], rng=rng).parameters()]
    batches = []
    for _ in range(4):
        x = rng.standard_normal((rows, sizes[0]), np.float32)
        label = rng.integers(0, sizes[-1], rows)
        target = rng.standard_normal((rows, 1), np.float32)
        batches.append((x, label if sizes[-1] > 1 else target))
    return sizes, weights, batches


def agree(losses):
    """Stop where an engine's first losses are not torch's."""
    for name, ours in losses.items():
        for mine, theirs in zip(ours, losses["torch"], strict=True):
            if not math.isclose(mine, theirs, rel_tol=2e-5):
                raise SystemExit(f"{name} has losses {ours}, torch {losses['torch']}")


def step(name):
    """Time a training step in every engine that is installed."""
    *_, rounds, block = CONFIGS[name]
    sizes, weights, batches = problem(name)

    def endless(train, batch):
        fed = cycle([(batch(x), batch(y)) for x, y in batches])
        return lambda: train(*next(fed))

    steps = {engine: endless(*make(sizes, weights)) for engine, make in installed().items()}
    agree({engine: [train() for _ in range(6)] for engine, train in steps.items()})
    return turns(steps, rounds, block)


def chain():
    """Time forward and backward over a chain of y * w + b on 16 numbers."""
    import torch

    torch.set_num_threads(1)
    w, b = np.full(16, 1.001, np.float32), np.full(16, 0.001, np.float32)
    seed = np.ones(16, np.float32)
    wt, bt, st = map(torch.tensor, (w, b, seed))

    def ours():
        x = y = Tensor(w)
        for _ in range(CHAIN):
            y = y * w + b
        y.backward(seed)
        return x.grad

    def theirs():
        x = y = torch.tensor(w, requires_grad=True)
        for _ in range(CHAIN):
            y = y * wt + bt
        y.backward(st)
        return x.grad.numpy()

    def bare():
        y = w
        for _ in range(CHAIN):
            y = y * w + b

    np.testing.assert_allclose(ours(), theirs(), rtol=1e-5)
    return turns({"torch": theirs, "eager": ours, "numpy": bare}, rounds=30, block=20)


def owner(array):
    """Return the array that owns the memory of a view."""
    while array.base is not None:
        array = array.base
    return array


def named(function):
    """List the arrays that a function names, itself or through a function that it names."""
    found = []
    for cell in function.__closure__ or ():
        thing = cell.cell_contents
        if isinstance(thing, np.ndarray):
            found.append(thing)
        elif callable(thing) and hasattr(thing, "__closure__"):
            found += named(thing)
    return found


def alive(name):
    """Compare the arrays alive at the end of a forward pass with those that anybody names.

    NumPy reports its memory to tracemalloc, so that nothing which is alive goes unseen.
    """
    _, weights, ((x, y), *_) = problem(name)
    params = [Tensor(a) for a in weights]
    ours = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    born = []

    def watch(op, value, pullback):
        born.append((value.nbytes, weakref.ref(value)))
        return pullback

    gc.disable()
    cross_entropy(forward(x, params), y)  # what is computed once and kept is made by now
    WATCHERS.append(watch)
    tracemalloc.start()
    loss = cross_entropy(forward(x, params), y)
    snapshot = tracemalloc.take_snapshot().filter_traces([ours])
    tracemalloc.stop()
    WATCHERS.remove(watch)
    held = sum(trace.size for trace in snapshot.traces)
    results = {id(ref()): ref() for _, ref in born if ref() is not None}
    before = {id(owner(a)) for a in (x, y, *(p.data for p in params))}
    pullbacks = [node.pullback for node in ancestors(loss.node)]
    claimed = [loss.data, *(a for pullback in pullbacks for a in named(pullback))]
    claimed = {id(owner(a)): owner(a) for a in claimed if id(owner(a)) not in before}
    inside = sum(a.nbytes for i, a in claimed.items() if i not in results)
    return {
        "held": held,
        "claimed": sum(a.nbytes for a in claimed.values()),
        "arrays": len(snapshot.traces),
        "everything": sum(size for size, _ in born) + inside,
        "all arrays": len(born) + sum(i not in results for i in claimed),
    }


if __name__ == "__main__":
    job, *rest = sys.argv[1:]
    json.dump({"step": step, "chain": chain, "alive": alive}[job](*rest), sys.stdout)
