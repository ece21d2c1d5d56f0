"""The training loop, which stops at the first number that is none."""

import math
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from grad.checkpoints import load, save
from grad.layers import Dropout
from grad.loader import batches
from grad.losses import accuracy
from grad.memory import no_grad
from grad.tensor import WATCHERS


def refuse(array, what):
    """Raise FloatingPointError if an entry is not finite, and say which is the first."""
    finite = np.isfinite(array)
    if not finite.all():
        at = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise FloatingPointError(f"{what}, of shape {array.shape}, is {array[at]} at {list(at)}")


@contextmanager
def finite():
    """Within a block, raise FloatingPointError at the first value or gradient that is not finite.

    It names the operation. A graph made in the block is watched on its way back, too. Only what is
    recorded is seen, so nothing under no_grad(). Every array is looked at, which takes time: a tool
    for the search, not for every step.
    """

    def watch(name, value, pullback):
        refuse(value, f"the value of {name}")

        def watched(g):
            gradients = pullback(g)
            for i, h in enumerate(gradients):
                if h is not None:
                    refuse(h, f"the gradient of {name} for argument {i}")
            return gradients

        return watched

    WATCHERS.append(watch)
    try:
        yield
    finally:
        WATCHERS.remove(watch)


def name_culprit(model, loss, x, y):
    """Run a batch again that gave a loss or a gradient which is not finite, and name the source."""
    for name, p in model.named_parameters():
        refuse(p.data, f"parameter {name}")
    refuse(x, "the batch's input")
    refuse(y, "the batch's target")
    model.zero_grad()
    with finite():
        loss(model(x), y).backward()
    for name, p in model.named_parameters():
        if p.grad is not None:
            refuse(p.grad, f"the gradient of parameter {name}")
    raise FloatingPointError(
        "a loss or a gradient was not finite, and is so no more when run again"
    )


def evaluate(model, x, y, measure=accuracy, size=256):
    """Return the mean of measure(model(x), y) over all rows, in use and without a graph."""
    was = model.training
    model.eval()
    try:
        with no_grad():
            parts = [(len(a), measure(model(a), b)) for a, b in batches(x, y, size=size)]
    finally:
        model.train(was)
    return sum(n * float(m) for n, m in parts) / len(x)


def fit(
    model,
    loss,
    optimizer,
    data,
    *,
    epochs,
    rng,
    size=32,
    schedule=lambda step: 1.0,
    augment=None,
    held_out=None,
    measure=accuracy,
    show=None,
    path=None,
    every=1,
):
    """Train for a number of epochs; return a history, {"loss": [...], "held_out": [...]}.

    `loss(model(x), y)` is followed, over shuffled batches of data = (x, y). `schedule(step)` scales
    the learning rate that the optimizer came with; `augment(x, rng)` changes each batch of inputs.
    After each epoch the mean loss is noted, and `measure(model(x), y)` on held_out = (x, y), if
    given; then `show(history)` is called, which may draw it.

    With a path, a checkpoint is written at the start and after every so many epochs, and where the
    file is there already, training goes on from it, with the learning rate that it holds: to the
    last bit as if it had never been interrupted.
    Raises FloatingPointError where a loss or a gradient is not finite, before the parameters are
    touched, with the name of the operation that it came from.
    """
    state = dict(model=model, optimizer=optimizer, rng=rng)
    history, step = {"loss": [], "held_out": []}, 0
    if path is not None:
        if any(isinstance(m, Dropout) and m.rng is not rng for m in model.modules()):
            raise ValueError("a checkpoint holds one generator: give fit and Dropout the same rng")
        if Path(path).exists():
            notes = load(path, **state)
            history, step = notes["history"], notes["step"]
        save(path, **state, history=history, step=step)  # what cannot be saved is found out now
    base = optimizer.lr
    model.train()
    with tqdm(total=epochs, initial=len(history["loss"]), unit="epoch") as bar:
        for epoch in range(len(history["loss"]), epochs):
            total = 0.0
            for x, y in batches(*data, size=size, rng=rng):
                if augment:
                    x = augment(x, rng)
                value = loss(model(x), y)
                optimizer.zero_grad()
                value.backward()
                optimizer.flat.collect()  # no gradient of an earlier batch is left in the array
                flat = optimizer.flat.grad
                with np.errstate(over="ignore"):  # the square of what is finite may not be
                    square = np.dot(flat, flat)
                sound = math.isfinite(square) or np.isfinite(flat).all()
                if not (sound and math.isfinite(value.item())):
                    name_culprit(model, loss, x, y)
                optimizer.lr = base * schedule(step)
                try:
                    optimizer.step()
                finally:
                    optimizer.lr = base
                step += 1
                total += value.item() * len(x)
            history["loss"].append(total / len(data[0]))
            if held_out is not None:
                history["held_out"].append(evaluate(model, *held_out, measure))
            bar.set_postfix({name: f"{h[-1]:.4f}" for name, h in history.items() if h})
            bar.update()
            if show:
                show(history)
            if path is not None and ((epoch + 1) % every == 0 or epoch + 1 == epochs):
                save(path, **state, history=history, step=step)
    return history
