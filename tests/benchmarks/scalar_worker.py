"""One scalar engine in a process of its own: `scalar_worker JOB ENGINE [on|off]`.

The work is micrograd's demonstration: a 2-16-16-1 network on 100 points of two moons, hinge
loss and L2 over the whole batch, written as its notebook writes it.
"""

import gc
import json
import random
import statistics
import sys
import time

from grad.data import moons

WARM, TIMED = 12, 7


def engine(name):
    """Return (Value, model): the same seed gives the same weights in every engine."""
    if name == "micrograd":
        from micrograd import nn
        from micrograd.engine import Value
    else:
        from grad import nn
        from grad.value import Value
    if name == "op by op":

        def call(self, x):
            act = sum((wi * xi for wi, xi in zip(self.w, x, strict=True)), self.b)
            return act.relu() if self.nonlin else act

        nn.Neuron.__call__ = call
    random.seed(1337)
    return Value, nn.MLP(2, [16, 16, 1])


def loss_of(Value, model, X, y):
    inputs = [list(map(Value, xrow)) for xrow in X]
    scores = list(map(model, inputs))
    losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(y, scores, strict=True)]
    data_loss = sum(losses) * (1.0 / len(losses))
    return data_loss + 1e-4 * sum(p * p for p in model.parameters())


def step(name, collector):
    """Return the medians of forward and of the whole step, and the losses of the first steps."""
    Value, model = engine(name)
    X, y = moons(100)
    if not collector:
        gc.disable()
    forward, whole, losses = [], [], []
    for _ in range(WARM + TIMED):
        start = time.perf_counter()
        total = loss_of(Value, model, X, y)
        middle = time.perf_counter()
        model.zero_grad()
        total.backward()
        for p in model.parameters():
            p.data -= 0.01 * p.grad
        losses.append(total.data)
        del total
        whole.append(time.perf_counter() - start)
        forward.append(middle - start)
        if not collector:
            gc.collect()
    return {
        "forward": statistics.median(forward[WARM:]),
        "step": statistics.median(whole[WARM:]),
        "losses": losses[:5],
    }


def chain(name, nodes=1_000_000):
    """Build a chain of nodes with the collector off; ours is walked back and freed as well."""
    Value, _ = engine(name)
    gc.disable()
    start = time.perf_counter()
    x = y = Value(1.0)
    for _ in range(nodes):
        y = y + x
    if name != "micrograd":  # micrograd's backward is recursive and cannot walk it
        y.backward()
        assert x.grad == nodes + 1
        del y
    return {"seconds": time.perf_counter() - start}


def memory(name, steps=100):
    """Count the live objects after each training step with the collector off."""
    Value, model = engine(name)
    X, y = moons(10)
    gc.collect()
    gc.disable()
    alive = []
    for _ in range(steps):
        total = loss_of(Value, model, X, y)
        model.zero_grad()
        total.backward()
        del total
        alive.append(len(gc.get_objects()))
    return {"growth": (alive[-1] - alive[9]) / (steps - 10)}


if __name__ == "__main__":
    job, name, *rest = sys.argv[1:]
    result = (
        step(name, rest[0] == "on")
        if job == "step"
        else {"chain": chain, "memory": memory}[job](name)
    )
    json.dump(result, sys.stdout)
    sys.stdout.flush()
    if job == "chain" and name == "micrograd":
        import os

        os._exit(0)  # its million nodes cannot be freed without overflowing the stack
