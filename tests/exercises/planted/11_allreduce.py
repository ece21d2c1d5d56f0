"""Wrong answers to the exercises on all-reduce: the mistakes someone would make."""


def slip(source, old, new):
    """A right answer with one slip in it."""
    assert source.count(old) == 1, (old, source.count(old))
    return source.replace(old, new)


SHARES = """
def weights(labels, size):
    counted = [label != -1 for label in labels]
    return [sum(counted[rows]) / sum(counted) for rows in dealt(len(labels), size)]


def combined(grads, weights):
    return sum(g * w for g, w in zip(grads, weights, strict=True) if w)
"""

HALVING = """
def halving(size, n):
    most = 1 << (size.bit_length() - 1)
    rounds = [[Message(r, r - most, slice(0, n), True) for r in range(most, size)]]
    mine, d = [(0, n)] * most, most // 2
    while d:
        sent = []
        for r, (start, stop) in enumerate(mine):
            middle = (start + stop) // 2
            halves = (start, middle), (middle, stop)
            keep, give = halves[::-1] if r & d else halves
            mine[r] = keep
            sent.append(Message(r, r ^ d, slice(*give), True))
        rounds.append([m for m in sent if m.entries])
        d //= 2
    return and_back([sent for sent in rounds if sent])


def passes(size, n):
    k = size.bit_length() - 1
    extra = size > 1 << k
    return 2 * (k + extra), 2 * (n - (n >> k) + extra * n)
"""

FIXED = """
def handed(rows, start, n):
    found, sums, k = {}, list(rows), 0
    while sums:
        nodes = -(-n // 2**k)
        if start % 2 or nodes == 1:
            found[k, start] = sums.pop(0)
            start += 1
        end = start + len(sums)
        if len(sums) % 2 and end < nodes:
            found[k, end - 1] = sums.pop()
        pairs = [a + b for a, b in zip(sums[::2], sums[1::2], strict=False)]
        sums = pairs + sums[len(sums) - len(sums) % 2 :]
        start, k = start // 2, k + 1
    return found


def finish(sums, n):
    def node(k, i):
        if (k, i) in sums:
            return sums[k, i]
        left, right = node(k - 1, 2 * i), 2 * i + 1
        return left + node(k - 1, right) if right << (k - 1) < n else left

    return node((n - 1).bit_length(), 0)
"""

WITNESS = """
def witness(ranks):
    rng = np.random.default_rng(0)
    for size in range(1, 9):
        for k in (1, 3, 5, 8, 12):
            for lengths in [(1,), (8,), (5, 5), (8, 3, 7), (2, 11, 2)]:
                batches = [(rng.uniform(-1, 1, (n, k)), rng.uniform(-1, 1, n)) for n in lengths]
                start = rng.uniform(-1, 1, k)
                due = alone(batches, start)
                if not all(np.allclose(w, due) for w in ranks(size).train(batches, start)):
                    return size, batches, start
    return None
"""

LINK = """
def measured(link):
    sizes = [4**k for k in range(14)]
    return fit_network(sizes, [min(link.send(n) for _ in range(28)) for n in sizes])


def fastest(network, n, rows, seconds):
    sizes = range(1, rows + 1)
    found = []
    for name in ALGORITHMS:
        speedups = scaling(name, sizes, n, rows, lambda mine: mine * seconds, network)
        found += [(-speedup, size, name) for speedup, size in zip(speedups, sizes, strict=True)]
    _, size, name = min(found, key=lambda entry: entry[:2])
    return name, size
"""

BUCKETS = """
def arrival(ready, sizes, ends, network):
    time, start = 0, 0
    for end in ends:
        time = max(time, ready[end - 1]) + network.seconds(1, sum(sizes[start:end]))
        start = end
    return time


def cut(ready, sizes, network):
    sums = np.cumsum([0, *sizes]).tolist()
    best = [(0, 0)]
    for j, there in enumerate(ready, 1):
        best.append(
            min(
                (max(time, there) + network.seconds(1, sums[j] - sums[i]), i)
                for i, (time, _) in enumerate(best)
            )
        )
    ends, j = [], len(ready)
    while j:
        ends.append(j)
        j = best[j][1]
    return ends[::-1]
"""

CLIPPED = """
def clipped(optimizer, max_norm):
    flat, group = optimizer.flat, optimizer.flat.group
    room = flat.room
    part = room.total[: flat.data[flat.part].size]
    squares = group.room(group.size, room.grad)

    def reduce():
        room.reduce()
        squares.grad[...] = np.dot(part, part)
        squares.reduce()
        norm = math.sqrt(squares.total[0])
        if norm > max_norm:
            np.multiply(part, max_norm / norm, out=part)

    flat.room = room._replace(reduce=reduce)
"""

PLANTED = {
    "shares": [
        (
            "the mean of means",
            slip(
                SHARES,
                "sum(counted[rows]) / sum(counted) for rows in",
                "1 / size for rows in",
            ),
        ),
        (
            "weights by rows, padding and all",
            slip(SHARES, "label != -1 for label", "True for label"),
        ),
        ("zero times nan", slip(SHARES, " if w)", ")")),
        (
            "divided by all rows",
            slip(SHARES, "/ sum(counted) for", "/ len(labels) for"),
        ),
        (
            "all ranks have as many rows",
            slip(
                SHARES,
                "dealt(len(labels), size)]",
                "dealt(len(labels) // size * size, size)]",
            ),
        ),
        (
            "the first gradient is written over",
            slip(
                SHARES,
                "    return sum(g * w for g, w in zip(grads, weights, strict=True) if w)",
                """    total = grads[0]
    total *= weights[0]
    for g, w in zip(grads[1:], weights[1:]):
        if w:
            total += g * w
    return total""",
            ),
        ),
        (
            "the mean of those that count",
            slip(SHARES, " if w)", " if w) / sum(w > 0 for w in weights)"),
        ),
    ],
    "halving": [
        (
            "everything travels in each round",
            HALVING.split("def halving")[0]
            + """
def halving(size, n):
    most, everything, rounds = 1 << (size.bit_length() - 1), slice(0, n), []
    rounds.append([Message(r, r - most, everything, True) for r in range(most, size)])
    for k in range(size.bit_length() - 1):
        rounds.append([Message(r, r ^ 1 << k, everything, True) for r in range(most)])
    rounds.append([Message(r - most, r, everything, False) for r in range(most, size)])
    return [sent for sent in rounds if sent]


def passes"""
            + HALVING.split("def passes")[1],
        ),
        ("both keep the lower half", slip(HALVING, "halves[::-1] if r & d else halves", "halves")),
        (
            "one end forgets the ranks beyond",
            slip(HALVING, "for r in range(most, size)]]", "for r in range(most, most)]]"),
        ),
        ("empty messages", slip(HALVING, "[m for m in sent if m.entries]", "sent")),
        (
            "odd halves lose an entry",
            slip(HALVING, "(middle, stop)\n", "(middle, 2 * middle - start)\n"),
        ),
        (
            "on the way back all is added",
            slip(
                HALVING,
                "return and_back([sent for sent in rounds if sent])",
                """up = [sent for sent in rounds if sent]
    return up + [[Message(m.target, m.source, m.part, True) for m in s] for s in up[::-1]]""",
            ),
        ),
        (
            "the way back is not reversed",
            slip(
                HALVING,
                "return and_back([sent for sent in rounds if sent])",
                """up = [sent for sent in rounds if sent]
    return up + [[Message(m.target, m.source, m.part, False) for m in s] for s in up]""",
            ),
        ),
        ("a ring", slip(HALVING, "    most = 1 <<", "    return ring(size, n)\n    most = 1 <<")),
        (
            "a tree",
            slip(
                HALVING,
                "    most = 1 <<",
                "    return ALGORITHMS['tree'](size, n)\n    most = 1 <<",
            ),
        ),
        ("one way only is counted", slip(HALVING, "2 * (n - (n >> k) +", "(n - (n >> k) +")),
        (
            "the ranks beyond are not counted",
            slip(HALVING, "extra = size > 1 << k", "extra = 0"),
        ),
        ("n entries each way", slip(HALVING, "(n - (n >> k) +", "(n * (k > 0) +")),
    ],
    "fixed": [
        (
            "pairs from the rank's own first row on",
            slip(FIXED, "        if start % 2 or nodes == 1:", "        if nodes == 1:"),
        ),
        (
            "every row is handed over",
            slip(
                FIXED,
                "    while sums:\n",
                "    return {(0, start + i): r for i, r in enumerate(rows)}\n    while sums:\n",
            ),
        ),
        (
            "an odd last one always goes up",
            slip(FIXED, "if len(sums) % 2 and end < nodes:", "if False:"),
        ),
        (
            "an odd last one never goes up",
            slip(FIXED, "if len(sums) % 2 and end < nodes:", "if len(sums) % 2:"),
        ),
        (
            "an odd last one is dropped",
            slip(FIXED, "pairs + sums[len(sums) - len(sums) % 2 :]", "pairs"),
        ),
        (
            "rows are added in place",
            slip(
                FIXED,
                "[a + b for a, b in zip(sums[::2], sums[1::2], strict=False)]",
                "[np.add(a, b, out=a) for a, b in zip(sums[::2], sums[1::2], strict=False)]",
            ),
        ),
        (
            "what arrives is added one after the other",
            FIXED.split("def finish")[0]
            + "def finish(sums, n):\n    return sum(sums[node] for node in sorted(sums))\n",
        ),
        (
            "in order of rows, one after the other",
            FIXED.split("def finish")[0] + "def finish(sums, n):\n"
            "    return sum(sums[k, i] for k, i in sorted(sums, key=lambda a: a[1] << a[0]))\n",
        ),
        (
            "the second child always exists",
            slip(FIXED, " if right << (k - 1) < n else left", ""),
        ),
        (
            "one sum for each rank",
            FIXED.split("def handed")[0] + "def handed(rows, start, n):\n"
            "    return {(0, start): tree_sum(rows)} if rows else {}\n\n\n"
            "def finish(sums, n):\n    return tree_sum([sums[node] for node in sorted(sums)])\n",
        ),
        (
            "sums in double precision",
            slip(FIXED, "list(rows), 0", "[r.astype(np.float64) for r in rows], 0"),
        ),
    ],
    "witness": [
        (
            "the ranks are compared with each other",
            slip(
                WITNESS,
                "if not all(np.allclose(w, due) for w in ranks(size).train(batches, start)):",
                "if len({w.tobytes() for w in ranks(size).train(batches, start)}) > 1:",
            ),
        ),
        ("to the last bit", slip(WITNESS, "np.allclose(w, due)", "np.array_equal(w, due)")),
        ("two ranks", slip(WITNESS, "range(1, 9)", "(1, 2)")),
        ("powers of two", slip(WITNESS, "range(1, 9)", "(1, 2, 4, 8)")),
        (
            "one lucky case",
            slip(
                slip(slip(WITNESS, "range(1, 9)", "(3,)"), "(1, 3, 5, 8, 12):", "(5,):"),
                "[(1,), (8,), (5, 5), (8, 3, 7), (2, 11, 2)]",
                "[(7, 7, 7)]",
            ),
        ),
        (
            "nan is not above anything",
            slip(
                WITNESS,
                "if not all(np.allclose(w, due) for w in ranks(size).train(batches, start)):",
                "if max(abs(w - due).max() for w in ranks(size).train(batches, start)) > 1e-6:",
            ),
        ),
        (
            "rows that go evenly",
            slip(WITNESS, "[(1,), (8,), (5, 5), (8, 3, 7), (2, 11, 2)]", "[(size, size, size)]"),
        ),
        ("parameters that go evenly", slip(WITNESS, "(1, 3, 5, 8, 12):", "(size,):")),
        (
            "one batch",
            slip(WITNESS, "[(1,), (8,), (5, 5), (8, 3, 7), (2, 11, 2)]", "[(1,), (7,), (11,)]"),
        ),
        (
            "all batches as long, and longer than ranks",
            slip(WITNESS, "[(1,), (8,), (5, 5), (8, 3, 7), (2, 11, 2)]", "[(11, 11), (9, 9)]"),
        ),
        (
            "all entries are 1",
            slip(
                slip(
                    WITNESS,
                    "rng.uniform(-1, 1, (n, k)), rng.uniform(-1, 1, n)",
                    "np.ones((n, k)), np.ones(n)",
                ),
                "rng.uniform(-1, 1, k)",
                "np.ones(k)",
            ),
        ),
        (
            "rank 0 alone is looked at",
            slip(
                WITNESS,
                "ranks(size).train(batches, start))",
                "ranks(size).train(batches, start)[:1])",
            ),
        ),
        (
            "the case is not the one that failed",
            slip(WITNESS, "return size, batches, start", "return 2, batches, start"),
        ),
        ("more ranks than one", slip(WITNESS, "range(1, 9)", "range(2, 9)")),
    ],
    "link": [
        (
            "the mean of the times",
            slip(
                LINK,
                "min(link.send(n) for _ in range(28))",
                "sum(link.send(n) for _ in range(28)) / 28",
            ),
        ),
        (
            "the middle one of the times",
            slip(
                LINK,
                "min(link.send(n) for _ in range(28))",
                "np.median([link.send(n) for _ in range(28)])",
            ),
        ),
        ("each size once", slip(LINK, "range(28)", "range(1)")),
        (
            "large messages only",
            slip(LINK, "4**k for k in range(14)", "2**20 * k for k in range(1, 14)"),
        ),
        (
            "small messages only",
            slip(LINK, "4**k for k in range(14)", "100 * k for k in range(1, 14)"),
        ),
        ("too many messages", slip(LINK, "range(28)", "range(100)")),
        (
            "a straight line through all times",
            LINK.split("def measured")[0]
            + """
def measured(link):
    sizes = [4**k for k in range(14)]
    times = [min(link.send(n) for _ in range(28)) for n in sizes]
    slope, latency = np.polyfit(sizes, times, 1)
    return Network(latency, 1 / slope)


def fastest"""
            + LINK.split("def fastest")[1],
        ),
        (
            "seconds per byte",
            slip(LINK, "    return fit_network(", "    found = fit_network(").replace(
                "for n in sizes])\n",
                "for n in sizes])\n    return Network(found.latency, 1 / found.bandwidth)\n",
            ),
        ),
        ("as many workers as rows", slip(LINK, "range(1, rows + 1)", "[1, rows]")),
        (
            "weak scaling",
            slip(LINK, "mine * seconds, network)", "mine * seconds, network, weak=True)"),
        ),
        ("rings only", slip(LINK, "for name in ALGORITHMS", "for name in ['ring']")),
        (
            "powers of two",
            slip(
                LINK,
                "sizes = range(1, rows + 1)",
                "sizes = [2**k for k in range(rows.bit_length())]",
            ),
        ),
        ("the slowest", slip(LINK, "(-speedup, size", "(speedup, size")),
    ],
    "buckets": [
        (
            "the network is always free",
            slip(BUCKETS, "time = max(time, ready[end - 1]) +", "time = ready[end - 1] +"),
        ),
        (
            "sets out with its first gradient",
            slip(BUCKETS, "ready[end - 1]", "ready[start]"),
        ),
        (
            "nobody waits for a gradient",
            slip(BUCKETS, "max(time, there) + network", "time + network"),
        ),
        (
            "what is there is sent",
            BUCKETS.split("def cut")[0]
            + """
def cut(ready, sizes, network):
    time, start, ends = 0, 0, []
    while start < len(ready):
        time, end = max(time, ready[start]), start
        while end < len(ready) and ready[end] <= time:
            end += 1
        time += network.seconds(1, sum(sizes[start:end]))
        ends.append(end)
        start = end
    return ends
""",
        ),
        (
            "all in one",
            BUCKETS.split("def cut")[0]
            + "def cut(ready, sizes, network):\n    return [len(ready)]\n",
        ),
        (
            "each by itself",
            BUCKETS.split("def cut")[0]
            + "def cut(ready, sizes, network):\n    return [*range(1, len(ready) + 1)]\n",
        ),
        (
            "the best of all buckets of one size",
            BUCKETS.split("def cut")[0]
            + """
def cut(ready, sizes, network):
    cuts = []
    for most in range(1, sum(sizes) + 1):
        ends, full = [], 0
        for i, size in enumerate(sizes, 1):
            full += size
            if full >= most or i == len(sizes):
                ends.append(i)
                full = 0
        cuts.append(ends)
    return min(cuts, key=lambda ends: arrival(ready, sizes, ends, network))
""",
        ),
        (
            "where buckets begin",
            slip(
                BUCKETS,
                "        ends.append(j)\n        j = best[j][1]",
                "        j = best[j][1]\n        ends.append(j)",
            ),
        ),
        ("the last bucket first", slip(BUCKETS, "ends[::-1]", "ends")),
        (
            "no latency",
            slip(BUCKETS, "there) + network.seconds(1, sums", "there) + network.seconds(0, sums"),
        ),
    ],
    "clipped": [
        (
            "the length of the rank's own part",
            slip(CLIPPED, "math.sqrt(squares.total[0])", "math.sqrt(np.dot(part, part))"),
        ),
        (
            "the rank's own rows, before they are summed",
            """
def clipped(optimizer, max_norm):
    flat = optimizer.flat
    room = flat.room

    def reduce():
        norm = np.linalg.norm(flat.grad)
        if norm > max_norm:
            flat.grad[...] *= max_norm / norm
        room.reduce()

    flat.room = room._replace(reduce=reduce)
""",
        ),
        (
            "lengths are added",
            slip(
                slip(CLIPPED, "= np.dot(part, part)", "= np.linalg.norm(part)"),
                "math.sqrt(squares.total[0])",
                "squares.total[0]",
            ),
        ),
        (
            "the loss belongs to the gradient",
            slip(CLIPPED, "room.total[: flat.data[flat.part].size]", "room.total"),
        ),
        ("always that long", slip(CLIPPED, "if norm > max_norm:", "if norm > 0:")),
        (
            "the square is compared",
            slip(CLIPPED, "math.sqrt(squares.total[0])", "squares.total[0]"),
        ),
        (
            "scaled before the sum is there",
            slip(
                CLIPPED,
                "        room.reduce()\n        squares",
                "        squares",
            ).replace("out=part)\n", "out=part)\n        room.reduce()\n"),
        ),
        (
            "each rank its own square",
            slip(CLIPPED, "squares.grad[...] =", "squares.grad[group.rank] ="),
        ),
        (
            "a new room in every step",
            slip(
                slip(CLIPPED, "    squares = group.room(group.size, room.grad)\n", ""),
                "        squares.grad[...]",
                "        squares = group.room(group.size, room.grad)\n        squares.grad[...]",
            ),
        ),
        (
            "all parts are collected in every step",
            """
def clipped(optimizer, max_norm):
    flat = optimizer.flat
    room = flat.room

    def reduce():
        room.reduce()
        norm = np.linalg.norm(flat.group.collect(room.total)[: flat.n])
        if norm > max_norm:
            room.total[: flat.data[flat.part].size] *= max_norm / norm

    flat.room = room._replace(reduce=reduce)
""",
        ),
        (
            "once only",
            slip(
                CLIPPED,
                "            np.multiply(part, max_norm / norm, out=part)",
                "            np.multiply(part, max_norm / norm, out=part)\n"
                "            flat.room = room",
            ),
        ),
        (
            "no part moves",
            slip(
                CLIPPED,
                "np.multiply(part, max_norm / norm, out=part)",
                "np.multiply(part, max_norm / norm)",
            ),
        ),
    ],
}
