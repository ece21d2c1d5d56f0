"""The replay, the eager engine or micrograd in a process of its own: `levels_worker JOB ...`."""

import gc
import json
import statistics
import sys
import time
import tracemalloc

from grad.data import moons
from tests.benchmarks.scalar_worker import TIMED, WARM, engine, loss_of


def paced(step, warm=WARM, timed=TIMED):
    """Return the median time of a step, warmed up."""
    seen = []
    for _ in range(warm + timed):
        start = time.perf_counter()
        step()
        seen.append(time.perf_counter() - start)
        gc.collect()
    return statistics.median(seen[warm:])


def eager(name, points):
    """Time a step (loss, gradients) and list the gradients, with the collector off."""
    Value, model = engine(name)
    X, y = moons(points)

    def step():
        loss = loss_of(Value, model, X, y)
        model.zero_grad()
        loss.backward()

    few = {} if points <= 100 else {"warm": 3, "timed": 3}
    gc.disable()
    seconds = paced(step, **few)
    return {"seconds": seconds, "grads": [p.grad for p in model.parameters()]}


def replay(spelling, points):
    """Record, then time building and replaying, with the collector off."""
    import numpy as np

    from grad.levels import record

    Value, model = engine(spelling)
    X, y = moons(points)
    gc.disable()
    loss = loss_of(Value, model, X, y)
    w = np.array([p.data for p in model.parameters()])
    start = time.perf_counter()
    program = record(loss, w=model.parameters())
    build = time.perf_counter() - start
    del loss

    def step():
        program.forward(w=w)
        program.backward()

    seconds = paced(step, 20, 60)
    arrays = [program.values, program.grads, program.edges]
    arrays += [a for level in program.levels for g in level for a in (g.where, g.rows)]
    arrays += [a for pull in program.pulls for a in (pull.edges, pull.gathered)]
    return {
        "seconds": seconds,
        "build": build,
        "grads": program.backward()["w"].tolist(),
        "entries": len(program.values),
        "levels": len(program.levels),
        "bytes": sum(a.nbytes for a in arrays) / len(program.values),
    }


def footprint(name, nodes=100_000):
    """Return the traced bytes for each node of a graph of sums and products."""
    gc.disable()
    if name == "tape":
        from grad.tape import Tape

        tape = Tape()
        leaves = [tape.leaf(None) for _ in range(1000)]
    else:
        Value, _ = engine(name)
        leaves = [Value(i + 0.5) for i in range(1000)]
    tracemalloc.start()
    before, kept = tracemalloc.get_traced_memory()[0], [None] * nodes
    for i in range(nodes):
        a, b = leaves[i % 1000], leaves[(7 * i + 1) % 1000]
        if name == "tape":
            kept[i] = tape.emit("mul" if i % 2 else "add", a, b)
        else:
            kept[i] = a * b if i % 2 else a + b
    return {"bytes": (tracemalloc.get_traced_memory()[0] - before) / nodes - 8}


if __name__ == "__main__":
    job, name, *rest = sys.argv[1:]
    jobs = {"eager": eager, "replay": replay, "footprint": footprint}
    json.dump(jobs[job](name, *map(int, rest)), sys.stdout)
