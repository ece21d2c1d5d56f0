"""Where the time of a training step goes: calls, bytes and arithmetic, operation by operation."""

import operator
from math import prod
from statistics import median
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from grad.replay import ReplayError
from grad.trace import Recording, redraw, store


def touched(view):
    """Count the bytes of a View; what is repeated by broadcasting counts once."""
    sides = [n for n, stride in zip(view.shape, view.strides, strict=True) if stride]
    return prod(sides) * view.dtype.itemsize if prod(view.shape) else 0


PICKS = operator.getitem, np.take


def traffic(call):
    """Count the bytes that a call reads and writes, as if no cache were there.

    A call that picks entries, or writes to some, counts those and not the whole array.
    """
    if call.f is redraw or (call.f is store and call.args[1] in PICKS):
        return 2 * touched(call.out)
    if call.f is operator.setitem or getattr(call.f, "__name__", "") == "at":
        reads = call.reads or [call.out]
        return sum(map(touched, call.reads)) + touched(reads[-1])
    return sum(touched(view) for view in call.views)


def flops(call):
    """Count additions, multiplications and the like; an exp or a tanh counts as one, too."""
    sizes = [prod(view.shape) for view in call.reads]
    if call.f in (np.matmul, np.dot):
        return 2 * prod(call.out.shape) * call.reads[0].shape[-1]
    if isinstance(call.f, np.ufunc):
        return prod(call.out.shape)
    computes = call.f is store and call.args[1] not in PICKS
    if computes or isinstance(getattr(call.f, "__self__", None), np.ufunc):
        return max(sizes, default=0)
    return 0


class Row(NamedTuple):
    """What one operation costs in one step, on one of its ways."""

    op: str
    way: str  # forward, backward or update
    calls: int
    seconds: float
    bytes: int
    flops: int

    @property
    def intensity(self):
        """Arithmetic per byte moved."""
        return self.flops / self.bytes if self.bytes else 0.0


def row(op, way, calls, seconds):
    """Add up what calls move and compute."""
    return Row(op, way, len(calls), seconds, sum(map(traffic, calls)), sum(map(flops, calls)))


class Profile:
    """A table with a row for each operation and way, the longest first."""

    HEAD = "op", "way", "calls", "us", "share", "KB", "kflop", "flop/byte"

    def __init__(self, rows):
        self.rows = sorted(rows, key=lambda row: -row.seconds)

    @property
    def seconds(self):
        """The time of all rows together."""
        return sum(row.seconds for row in self.rows)

    def cells(self):
        """Write out the table, row by row, with a sum below."""
        whole = Row(
            "all", "", *(sum(column) for column in zip(*(r[2:] for r in self.rows), strict=True))
        )
        for r in [*self.rows, whole]:
            us, share = f"{r.seconds * 1e6:.1f}", f"{r.seconds / self.seconds:.0%}"
            sizes = f"{r.bytes / 1e3:.1f}", f"{r.flops / 1e3:.1f}", f"{r.intensity:.2f}"
            yield r.op, r.way, str(r.calls), us, share, *sizes

    def __repr__(self):
        lines = [self.HEAD, *self.cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )

    def _repr_html_(self):
        def line(cells, tag):
            return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"

        body = "".join(line(cells, "td") for cells in self.cells())
        return f"<table><thead>{line(self.HEAD, 'th')}</thead><tbody>{body}</tbody></table>"


def timed(f):
    """Return how many nanoseconds a call of f takes."""
    start = perf_counter_ns()
    f()
    return perf_counter_ns() - start


def asked(optimizer):
    """List the calls of one update of the parameters, which is done."""
    recording, blocks = Recording(), optimizer.blocks
    optimizer.blocks = [[recording.buffer("gradient", a) for a in block] for block in blocks]
    try:
        recording.listen(optimizer.update)
    finally:
        optimizer.blocks = blocks
    return recording.calls


def profile(step, repeat=100):
    """Replay a recorded step some times on its last batch, with a clock between the calls.

    Times are medians; the clock's own time is taken off. Each call finds the caches as the call
    before has left them, as in training, and a step that fits into a cache finds itself there
    from last time. Parameters, optimizer and generators are as before afterwards.
    """
    if step.program is None:
        raise ReplayError("a step can be profiled once it has been recorded: call it twice first")
    optimizer, calls, run = step.optimizer, step.program.calls, step.program.run
    flat, state = optimizer.flat, optimizer.state_dict()
    parameters, gradients = flat.data.copy(), flat.grad.copy()
    generators = [(rng, rng.bit_generator.state) for rng in step.drawn]
    clock = median(timed(lambda: None) for _ in range(1000))
    times, updates = [], []
    try:
        for _ in range(repeat):
            flat.data[...] = parameters
            times.append([timed(call) for call in run])
            updates.append(timed(optimizer.update))
        update = asked(optimizer)
    finally:
        flat.data[...], flat.grad[...] = parameters, gradients
        optimizer.load_state_dict(state)
        for rng, before in generators:
            rng.bit_generator.state = before
    groups = {}
    for call, ns in zip(calls, zip(*times, strict=True), strict=True):
        groups.setdefault(call.origin[:2], []).append((call, max(median(ns) - clock, 0) / 1e9))
    rows = [
        row(op, way, [call for call, _ in found], sum(seconds for _, seconds in found))
        for (op, way), found in groups.items()
    ]
    rows.append(row(type(optimizer).__name__, "update", update, median(updates) / 1e9))
    return Profile(rows)


def bandwidth(nbytes=1 << 27):
    """Measure how many bytes a second a copy moves, far beyond the caches.

    Each byte counts twice, once read and once written.
    """
    source, target = np.ones(nbytes, np.uint8), np.empty(nbytes, np.uint8)
    return 2e9 * nbytes / min(timed(lambda: np.copyto(target, source)) for _ in range(5))


def gemm_rate(n=1024, dtype=np.float32):
    """Measure how many operations a second a product of two n by n matrices does."""
    a, out = np.ones((n, n), dtype), np.empty((n, n), dtype)
    return 2e9 * n**3 / min(timed(lambda: np.matmul(a, a, out)) for _ in range(5))
