"""Several workers, one array of parameters: who waits for whom, what comes late, what is lost."""

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from itertools import chain
from time import perf_counter
from typing import NamedTuple

import numpy as np

from grad.descent import Flat, Optimizer
from grad.layers import Module
from grad.replay import step
from grad.training import evaluate
from grad.workers import LINE, run


class Job(NamedTuple):
    """What is to be trained, and how: `steps` batches of so many rows of x and y, drawn by seed.

    The loss is a mean over rows. A model that draws random numbers draws the same in all workers.
    """

    model: Module
    loss: Callable
    x: np.ndarray
    y: np.ndarray
    lr: float
    rows: int
    steps: int
    seed: int = 0

    def batches(self):
        """Return the rows of every batch; the batches are full, and shuffled epoch by epoch."""
        each = len(self.x) // self.rows
        if not each:
            raise ValueError(f"a batch of {self.rows} rows cannot be drawn from {len(self.x)}")
        rng = np.random.default_rng(self.seed)
        epochs = [rng.permutation(len(self.x)) for _ in range(-(-self.steps // each))]
        full = [epoch[: each * self.rows].reshape(each, self.rows) for epoch in epochs]
        return np.concatenate(full)[: self.steps]


class Still(Optimizer):
    """An optimizer that moves nothing: after its step, the gradient lies in flat.grad."""

    def update(self):
        """Leave the parameters as they are."""


WARM = 10  # gradients before the clock runs: two to record the step, the others for the interpreter


def cut(n, pieces):
    """Cut n entries into so many slices, as equal as can be."""
    return [slice(n * i // pieces, n * (i + 1) // pieces) for i in range(pieces)]


class Seat:
    """The place of one worker: shared parameters, the gradient of its own, and its books.

    `params` is what all workers see, and `moves` has a row for what each subtracts from it. The
    model computes on `data`: on params itself, or on a copy of its own that a policy fills.
    """

    def __init__(self, me, job, policy, audit):
        self.me, self.job, self.policy, self.audit = me, job, policy, audit
        still = Still(job.model.parameters(), job.lr)
        n = still.flat.data.size
        self.params = me.share(n, still.flat.data.dtype)
        self.moves = me.share((me.size, n), self.params.dtype)
        self.counts = me.share((me.size, LINE), np.int64)  # a cache line for each
        if me.rank == 0:
            self.params[...] = still.flat.data
        me.meet()
        self.data = self.params.copy() if policy.copies else self.params
        still.flat.move(self.data, self.moves[me.rank])
        self.gradient = step(job.model, job.loss, still)
        self.rate = job.lr
        self.doors = list(zip(me.locks, cut(n, len(me.locks)), strict=True))
        self.part = cut(n, me.size)[me.rank]
        self.staleness = []
        self.moved, self.way = np.zeros(n if audit else 0), 0.0

    def mine(self, batches):
        """List the rows of those batches that are this worker's, or of its share of each."""
        me = self.me
        if not self.policy.shares:
            return list(batches[me.rank :: me.size])
        shares = [np.array_split(rows, me.size)[me.rank] for rows in batches]
        self.rate = self.job.lr * len(shares[0]) / self.job.rows
        return shares

    def read(self):
        """Note that the parameters are read from here on."""
        self.seen = self.counts.sum()

    def move(self, x, y):
        """Compute what a batch asks to subtract, and note how many updates have come in between."""
        self.gradient(x, y)
        move = self.moves[self.me.rank]
        move *= self.rate
        if self.audit:
            self.moved += move
            self.way += np.abs(move).sum(dtype=np.float64)
        self.staleness.append(int(self.counts.sum() - self.seen))
        return move

    def wrote(self):
        """Count an update of this worker."""
        self.counts[self.me.rank, 0] += 1
        self.me.beat()


def hogwild(seat, x, y):
    """Wait for nobody (Niu et al. 2011, arXiv:1106.5730)."""
    seat.read()
    seat.params -= seat.move(x, y)
    seat.wrote()


def lock(seat, x, y):
    """Do the whole step, from reading to writing, while nobody else may."""
    with seat.me.locks[0]:
        hogwild(seat, x, y)


def parts(seat, x, y):
    """Copy the parameters and move them part by part, under one lock for each; compute without."""
    seat.read()
    for door, part in seat.doors:
        with door:
            seat.data[part] = seat.params[part]
    move = seat.move(x, y)
    for door, part in seat.doors:
        with door:
            seat.params[part] -= move[part]
    seat.wrote()


def reduce(seat, x, y):
    """Compute a share of one batch with all others, wait for them, and add up a part of the moves.

    Every entry is moved by one worker, in the order of ranks, so a run can be repeated to the bit.
    """
    me = seat.me
    seat.read()
    seat.move(x, y)
    me.meet()
    for move in seat.moves:
        seat.params[seat.part] -= move[seat.part]
    seat.wrote()
    me.meet()


class Policy(NamedTuple):
    """A way to take turns: what a worker does with a batch, turn(seat, x, y).

    `shares`: it is a share of a batch that all work on. `copies`: the model computes on a copy.
    `locks`: the fewest it needs.
    """

    turn: Callable
    shares: bool = False
    copies: bool = False
    locks: int = 0


POLICIES = {
    "alone": Policy(hogwild),
    "lock": Policy(lock, locks=1),
    "parts": Policy(parts, copies=True, locks=1),
    "hogwild": Policy(hogwild),
    "reduce": Policy(reduce, shares=True),
}


def work(me, policy, job, batches, audit):
    """Train as one of the workers; return when, staleness, the moves added up, and the end."""
    seat = Seat(me, job, policy, audit)
    mine = seat.mine(batches)
    for i in range(WARM):
        rows = batches[i % len(batches)][: len(mine[0])]
        seat.gradient(job.x[rows], job.y[rows])
    me.meet()
    begin = perf_counter()
    for rows in mine:
        policy.turn(seat, job.x[rows], job.y[rows])
    times = begin, perf_counter()
    me.meet()
    end = seat.params.copy() if me.rank == 0 else None
    return times, seat.staleness, seat.moved, seat.way, end


class Report(NamedTuple):
    """What came of a training: the parameters, and the loss over all the data with them.

    `seconds` pass from the first step of whoever is first to the last of whoever is last.
    `staleness` lists for every step how many updates of others fell between its reading and its
    writing. `lost`, None without an audit, is how far the parameters are from the sum of all moves,
    as a share of the way moved: at least so much was lost, for losses of opposite sign cancel.
    Rounding is in it.
    """

    params: np.ndarray
    loss: float
    seconds: float
    staleness: list
    lost: float | None


def train(name, size, job, *, locks=1, audit=False, method="spawn", timeout=60.0):
    """Train a job with `size` workers under the policy of that name; return a Report.

    Every policy sees the same examples: worker r takes the batches r, r + size, ..., or its share
    of each. `locks` are what "parts" cuts the parameters into. An audit adds up all moves, which
    takes time: do not compare its seconds. The job's model stays as it is.
    """
    if name not in POLICIES:
        raise ValueError(f"there is no policy {name!r}, but {', '.join(POLICIES)}")
    policy = POLICIES[name]
    if name == "alone" and size != 1:
        raise ValueError(f"alone is one worker, not {size}")
    if locks < policy.locks:
        raise ValueError(f"{name} needs {policy.locks} lock, and is given {locks}")
    most, of = (job.rows, "rows") if policy.shares else (job.steps, "batches")
    if not 1 <= size <= most:
        raise ValueError(f"{most} {of} are work for 1 to {most} workers, not for {size}")
    plan = policy, job, job.batches(), audit
    found = run(work, size, *plan, locks=locks, method=method, timeout=timeout)
    times, staleness, moved, way, ends = zip(*found, strict=True)
    begins, dones = zip(*times, strict=True)  # of one clock
    model = deepcopy(job.model)
    flat = Flat(model.parameters())
    lost = np.abs(flat.data - sum(moved) - ends[0]).sum() / sum(way) if audit else None
    flat.data[...] = ends[0]
    loss = evaluate(model, job.x, job.y, job.loss)
    return Report(ends[0], loss, max(dones) - min(begins), [*chain(*staleness)], lost)


def delayed(job, delay):
    """Train a job with each gradient of the parameters of `delay` steps ago; return the losses.

    They are those that the gradients came with. On a parabola of curvature c, training is stable
    while lr * c < 2 * sin(pi / (2 * (2 * delay + 1))).
    """
    model = deepcopy(job.model)
    still = Still(model.parameters(), job.lr)
    gradient, flat = step(model, job.loss, still), still.flat
    now, losses = flat.data.copy(), []
    past = deque([now.copy()], maxlen=delay + 1)
    for rows in job.batches():
        flat.data[...] = past[0]
        losses.append(gradient(job.x[rows], job.y[rows]))
        now -= job.lr * flat.grad
        past.append(now.copy())
    return losses
