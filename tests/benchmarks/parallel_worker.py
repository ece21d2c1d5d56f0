"""One alone and two at work, by turns: `parallel_worker threads|mpi|blas CONFIG`, or a worker.

A way of being two is measured by every one of the two, and rank 0 returns the seconds of blocks
of steps: {"alone": [...], "both": [...]}, one of each for every round.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from itertools import cycle
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from grad import replay, together
from grad.cluster import Local, join
from grad.descent import SGD
from grad.layers import MLP
from grad.losses import cross_entropy, mse
from grad.policies import POLICIES, Job, Seat
from grad.workers import settle
from tests.benchmarks.peers import MOMENTUM, RATE
from tests.benchmarks.tensor_worker import problem

PACE = {"a": (25, 200), "b": (25, 100), "c": (25, 20), "d": (11, 4)}  # rounds, steps in a block
WARM = 10


class Side(NamedTuple):
    """One of the two: its rank, and two ways to wait for the other one.

    Where they `meet` they go on at the same time. Who waits in `rest` leaves the machine alone,
    so that the other is as fast as it would be without company.
    """

    rank: int
    meet: Callable
    rest: Callable


def start(name):
    """Return (model, loss, batches) of a configuration, the same wherever it is called."""
    sizes, _, batches = problem(name)
    model = MLP(sizes[0], sizes[1:], rng=np.random.default_rng(0))
    return model, cross_entropy if sizes[-1] > 1 else mse, batches


def repeat(step, batches):
    """Return a function of n that takes n steps on the next batches, and lists their losses."""
    fed = cycle(batches)
    return lambda n: [step(*next(fed)) for _ in range(n)]


def single(name):
    """One process as fast as it can be: a replayed step, SGD with momentum."""
    model, loss, batches = start(name)
    optimizer = SGD(model.parameters(), RATE, MOMENTUM)
    return repeat(replay.step(model, loss, optimizer), batches)


def joint(name, group):
    """The same step, taken by a group."""
    model, loss, batches = start(name)
    optimizer = SGD(model.parameters(), RATE, MOMENTUM)
    return repeat(together.step(model, loss, optimizer, group, replayed=True), batches)


def seconds(side, block, n):
    """Return how long a block takes both, from the moment they begin until both are done.

    On the wall clock: processor time would count the waiting, and twice whatever two do at once.
    """
    block(1)  # brings its arrays back into the caches
    side.meet()
    begin = time.perf_counter()
    block(n)
    side.meet()
    return time.perf_counter() - begin


def measure(name, side, alone, both, equal=True):
    """Time the blocks alone(n) of rank 0 and both(n) by turns; their losses must be `equal`."""
    rounds, block = PACE[name]
    seen = {"alone": [], "both": []}
    lone = Side(0, lambda: None, lambda: None)
    side.rest()
    losses = alone(WARM) if side.rank == 0 else None
    side.rest()
    ours = both(WARM)
    if equal and losses and not np.allclose(ours, losses, rtol=2e-5, atol=0.0):
        raise AssertionError(f"({name}) two have losses {ours}, one has {losses}")
    for _ in range(rounds):
        side.rest()
        if side.rank == 0:
            seen["alone"].append(seconds(lone, alone, block))
        side.rest()
        seen["both"].append(seconds(side, both, block))
    return seen


def beside(me):
    """Return the Side of a worker process."""
    arrivals = me.share((me.size, 8), np.int64)  # a cache line for each

    def rest():
        arrivals[me.rank, 0] += 1
        while arrivals[:, 0].min() < arrivals[me.rank, 0]:
            time.sleep(0.0005)

    return Side(me.rank, me.meet, rest)


def processes(me, name):
    """Two processes, data parallel, on memory in common."""
    return measure(name, beside(me), single(name), joint(name, Local(me)))


def hogwild(me, name):
    """Two processes that update the same parameters and wait for nobody; plain SGD.

    Each takes batches of its own, so one alone takes two for every one of theirs.
    """
    model, loss, batches = start(name)
    job = Job(model, loss, *batches[0], RATE, len(batches[0][0]), steps=1)
    policy = POLICIES["hogwild"]
    seat = Seat(me, job, policy, audit=False)
    for x, y in batches:
        seat.gradient(x, y)  # recorded before anybody moves the parameters
    me.meet()
    both = repeat(lambda x, y: policy.turn(seat, x, y), batches)
    return measure(name, beside(me), lambda n: both(2 * n), both, equal=False)


class ThreadWorker:
    """What cluster.Local asks of a worker, for two threads of one process."""

    size = 2

    def __init__(self, rank, barrier, shared):
        self.rank, self.barrier, self.shared = rank, barrier, shared

    def meet(self, what="meet"):
        """Wait for the other thread."""
        self.barrier.wait()

    def share(self, shape, dtype=np.float32):
        """Return an array of zeros that both threads have."""
        if self.rank == 0:
            self.shared.append(np.zeros(shape, dtype))
        self.meet()
        array = self.shared[-1]
        self.meet()
        return array


def threads(name):
    """Two threads of one interpreter, data parallel."""
    barrier, shared = threading.Barrier(2), []

    def work(rank):
        me = ThreadWorker(rank, barrier, shared)
        settle(rank, 2)
        both = joint(name, Local(me))
        return measure(name, Side(rank, me.meet, me.meet), single(name), both)

    threading.Thread(target=work, args=[1], daemon=True).start()
    return work(0)


def mpi(name):
    """Two ranks under mpiexec, data parallel; None for the second."""
    group = join()
    settle(group.rank, group.size)

    def rest():
        others = group.comm.Ibarrier()
        while not others.Test():  # MPI's own way to wait keeps a core busy
            time.sleep(0.0005)

    side = Side(group.rank, group.comm.Barrier, rest)
    seen = measure(name, side, single(name), joint(name, group))
    return seen if group.rank == 0 else None


def blas(name):
    """One process, in which BLAS has a second thread or not; None where nobody can tell BLAS.

    The process may run on all cores, for the threads that BLAS starts may run where it does.
    """
    pool = ThreadpoolController().select(user_api="blas")
    if not pool.lib_controllers:
        return None
    alone, twin = single(name), single(name)

    def both(n):
        with pool.limit(limits=2):
            return twin(n)

    def rest():
        time.sleep(0.05)  # a thread of BLAS looks out for more work for a while

    return measure(name, Side(0, lambda: None, rest), alone, both)


if __name__ == "__main__":
    way, name = sys.argv[1:]
    found = {"threads": threads, "mpi": mpi, "blas": blas}[way](name)
    if way != "mpi" or join().rank == 0:
        json.dump(found, sys.stdout)
