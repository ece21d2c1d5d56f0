"""All-reduce by hand: plans of messages, what they cost, and how far they scale."""

from collections import Counter
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np


class Message(NamedTuple):
    """One rank sends a part of its array to another, which adds it or puts it in place."""

    source: int
    target: int
    part: slice
    add: bool

    @property
    def entries(self):
        """How many numbers travel."""
        return self.part.stop - self.part.start


def chunks(n, size):
    """Cut n entries into `size` neighbouring slices, the first n % size of them one longer."""
    length, longer = divmod(n, size)
    ends = [i * length + min(i, longer) for i in range(size + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


def and_back(up):
    """Follow rounds that bring a sum to rank 0 with their mirror image, which spreads it."""
    down = [[Message(m.target, m.source, m.part, False) for m in sent] for sent in reversed(up)]
    return up + down


def gather_broadcast(size, n):
    """Plan that all send all to rank 0, which adds in the order of ranks and sends back.

    2 (size - 1) messages in 2 rounds; rank 0 receives (size - 1) n entries, and sends as many.
    """
    return and_back([[Message(r, 0, slice(0, n), True) for r in range(1, size)]])


def tree(size, n):
    """Plan sums of pairs, of pairs of pairs, and so on, and the same way back.

    2 (size - 1) messages in 2 ceil(log2 size) rounds; rank 0 receives ceil(log2 size) n entries,
    and sends as many.
    """
    gaps = [1 << k for k in range((size - 1).bit_length())]
    everything = slice(0, n)
    return and_back(
        [[Message(r, r - g, everything, True) for r in range(g, size, 2 * g)] for g in gaps]
    )


def ring(size, n):
    """Plan that each rank talks to the next one only, in chunks: reduce-scatter, then all-gather.

    Chunk c starts at rank c + 1 and is complete at rank c after size - 1 rounds; in as many rounds
    more the sum goes around. 2 (size - 1) min(size, n) messages in 2 (size - 1) rounds; every rank
    sends 2 n entries less two chunks, about 2 n (size - 1) / size, however many ranks there are.
    """
    parts = chunks(n, size)
    rounds = [
        [Message(r, (r + 1) % size, parts[(r - 1 - k) % size], k < size - 1) for r in range(size)]
        for k in range(2 * (size - 1))
    ]
    return [[m for m in sent if m.entries] for sent in rounds]


ALGORITHMS = {f.__name__: f for f in (gather_broadcast, tree, ring)}


def check(schedule, size, n):
    """Refuse a plan that `size` ranks with n entries each can't carry out, or only by luck."""
    for k, sent in enumerate(schedule):
        arriving = {}
        for m in sent:
            if not (0 <= m.source < size and 0 <= m.target < size) or m.source == m.target:
                raise ValueError(f"round {k}: {m} is not between two of {size} ranks")
            if m.part != slice(*m.part.indices(n)[:2]) or m.entries < 0:
                raise ValueError(f"round {k}: {m.part} is not slice(start, stop) of {n} entries")
            for other in arriving.setdefault(m.target, []):
                first = max(m.part.start, other.part.start)
                last = min(m.part.stop, other.part.stop) - 1
                if first <= last and not (m.add and other.add):
                    where = f"entries {first} to {last} of rank {m.target}"
                    both = f"ranks {other.source} and {m.source}"
                    raise ValueError(f"round {k}: {both} both write {where}: a race")
            arriving[m.target].append(m)


def carry_out(schedule, arrays):
    """Let the arrays, one for each rank, send and add as planned, in place.

    All messages of a round travel at the same time: they carry what was there before it. What
    arrives at one rank is added in the order of the plan. A bad plan is refused before it starts.
    """
    kinds = {f"{a.dtype} of shape {a.shape}" for a in arrays}
    if len(kinds) != 1 or arrays[0].ndim != 1:
        raise ValueError(f"ranks need flat arrays of one length and dtype, not {sorted(kinds)}")
    if any(np.may_share_memory(a, b) for a, b in combinations(arrays, 2)):
        raise ValueError("two ranks hold the same memory: give each an array of its own")
    check(schedule, len(arrays), arrays[0].size)
    for sent in schedule:
        letters = [arrays[m.source][m.part].copy() for m in sent]
        for m, letter in zip(sent, letters, strict=True):
            if m.add:
                arrays[m.target][m.part] += letter
            else:
                arrays[m.target][m.part] = letter


class Traffic(NamedTuple):
    """What a plan sends: rounds and messages, and the bytes by rank in either direction."""

    rounds: int
    messages: int
    sent: Counter
    received: Counter

    @property
    def bytes(self):
        """All the bytes that travel."""
        return self.sent.total()

    @property
    def busiest(self):
        """The most bytes that any one rank sends, or receives."""
        return max([*self.sent.values(), *self.received.values()], default=0)


def traffic(schedule, itemsize=4):
    """Count what a plan sends, for entries of so many bytes."""
    sent, received = Counter(), Counter()
    for m in (m for messages in schedule for m in messages):
        sent[m.source] += m.entries * itemsize
        received[m.target] += m.entries * itemsize
    return Traffic(sum(map(bool, schedule)), sum(map(len, schedule)), sent, received)


class Network(NamedTuple):
    """A network in two numbers: seconds that every message costs, and bytes per second."""

    latency: float
    bandwidth: float

    def seconds(self, messages, nbytes):
        """How long messages of so many bytes in all take, one after the other."""
        return messages * self.latency + nbytes / self.bandwidth


def cost(schedule, network, itemsize=4):
    """Return the seconds that a plan takes on a network: those of the slowest rank in each round.

    A rank has one port each way: it sends and receives at the same time, but sends one message
    after the other, and receives likewise. Adding is free.
    """
    total = 0.0
    for sent in schedule:
        ports = Counter()
        for m in sent:
            seconds = network.seconds(1, m.entries * itemsize)
            ports["out", m.source] += seconds
            ports["in", m.target] += seconds
        total += max(ports.values(), default=0.0)
    return total


# What passes one after the other through the slowest ports: messages, and entries in all of them.
LONGEST = {
    "gather_broadcast": lambda size, n: (2 * (size - 1), 2 * (size - 1) * n),
    "tree": lambda size, n: (2 * (size - 1).bit_length(), 2 * (size - 1).bit_length() * n),
    "ring": lambda size, n: (2 * (size - 1), 2 * (size - 1) * -(-n // size)),
}


def formula(algorithm, size, n, network, itemsize=4):
    """Return the cost of an algorithm, by name, without a plan: for any number of ranks, n >= 1.

    With latency L, bandwidth B, and S bytes in each array:
    gather_broadcast 2 (size - 1) (L + S / B), tree 2 ceil(log2 size) (L + S / B),
    ring 2 (size - 1) (L + S / (size B)), where the chunks are equal.
    """
    if algorithm not in LONGEST:
        raise ValueError(f"no algorithm is called {algorithm!r}, only {[*LONGEST]}")
    messages, entries = LONGEST[algorithm](size, n)
    return network.seconds(messages, entries * itemsize)


def scaling(algorithm, sizes, n, rows, compute, network, weak=False):
    """Return the speed-up of each number of workers: examples per second, over those of one.

    A step computes the gradient of n float32 parameters, compute(rows) seconds long for a worker
    with so many rows, and then reduces it. The workers share `rows` among them (strong scaling),
    or have so many each (weak scaling).
    """
    alone = rows / compute(rows)
    speedups = []
    for size in sizes:
        share = rows if weak else -(-rows // size)  # who has the most rows is waited for
        seconds = compute(share) + formula(algorithm, size, n, network)
        speedups.append((rows * size if weak else rows) / seconds / alone)
    return speedups


def fit_network(sizes, times):
    """Find the Network on which single messages of so many bytes take such times.

    Least squares of the relative error, so that short times count as much as long ones.
    A latency below 0 is not believed: then it is 0, and the bandwidth alone is fitted.
    """
    sizes, times = np.asarray(sizes, float), np.asarray(times, float)
    if len(set(sizes)) < 2 or not (times > 0).all():
        raise ValueError("a fit needs messages of at least two sizes, and times above 0")
    rows = np.stack((1 / times, sizes / times), axis=1)
    (latency, per_byte), *_ = np.linalg.lstsq(rows, np.ones(len(rows)))
    if per_byte <= 0:
        raise ValueError("these times do not grow with the size: measure larger messages too")
    if latency < 0:
        latency, per_byte = 0.0, rows[:, 1].sum() / (rows[:, 1] ** 2).sum()
    return Network(float(latency), float(1 / per_byte))
