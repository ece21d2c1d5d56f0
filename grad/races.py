"""Additions to shared cells, counted: how many there should be, and how many are lost."""

from contextlib import nullcontext
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

OPEN = nullcontext()  # a lock that keeps nobody out


def add(cells, picks, lock=OPEN):
    """Add 1 to what each of the picks chooses of the cells: an index, a slice, or indices."""
    for pick in picks:
        with lock:
            cells[pick] += 1


def count(me, rounds, cells, touched, seed=0):
    """Let every worker add 1 to so many of the shared cells, so many rounds.

    Which ones is drawn for each round. They add under the lock, if there is one. Returns how many
    additions are missing in the end.
    """
    shared = me.share(cells, np.float64)
    rng = np.random.default_rng([seed, me.rank])
    if touched < cells:
        picks = [rng.choice(cells, touched, replace=False) for _ in range(rounds)]
    else:
        picks = [slice(None) if cells > 1 else 0] * rounds
    me.meet()
    add(shared, picks, [*me.locks, OPEN][0])
    me.meet()
    return int(me.size * rounds * touched - shared.sum())


class Event(NamedTuple):
    """One addition: nanoseconds before the cell was read and after it was written, what was read.

    The clock is one for all processes of a machine.
    """

    before: int
    after: int
    read: int


def watched(cells, rounds, between=int, lock=OPEN):
    """Add 1 to the first cell, calling between() after it is read and before it is written.

    Returns an Event for each round.
    """
    events = []
    for _ in range(rounds):
        with lock:
            before = perf_counter_ns()
            read = cells.item(0)
            between()
            cells[0] = read + 1
            events.append(Event(before, perf_counter_ns(), read))
    return events


def timeline(me, rounds, between=int):
    """Let every worker add 1 to one shared cell, under the lock, if there is one.

    Returns the worker's Events, and what the cell holds in the end.
    """
    cell = me.share(1, np.int64)
    me.meet()
    events = watched(cell, rounds, between, [*me.locks, OPEN][0])
    me.meet()
    return events, cell.item(0)


def survivors(events, end):
    """List those of the Events, of all who added to a cell, that its end is the sum of.

    The cell began at 0. The way back goes from the last writer of `end` to the one whose number
    that one had read, and so on; where several wrote the same number, to the last before it was
    read, as far as the clock can tell. All other events were lost.
    """
    writers, found, now = {}, [], max(event.after for event in events)
    for event in events:
        writers.setdefault(event.read + 1, []).append(event)
    for number in range(end, 0, -1):
        late = [(event.after > now, abs(event.after - now), event) for event in writers[number]]
        found.append(min(late)[-1])
        now = found[-1].before
    return found[::-1]
