"""Wrong answers to the exercises on levels: the mistakes someone would make."""

WAVES = """
def waves(args):
    waiting = [len(needed) for needed in args]
    users = [[] for _ in args]
    for i, needed in enumerate(args):
        for a in needed:
            users[a].append(i)
    listed, wave = [], [i for i, n in enumerate(waiting) if n == 0]
    while wave:
        listed.append(wave)
        wave = []
        for a in listed[-1]:
            for user in users[a]:
                waiting[user] -= 1
                if waiting[user] == 0:
                    wave.append(user)
    return listed
"""

STEPS = """
from collections import Counter


def steps(tape, workers):
    widths = Counter(depth for depth in depths(tape) if depth)
    return sum(math.ceil(width / workers) for width in widths.values())


def most(tape):
    depth = depths(tape)
    return sum(d > 0 for d in depth) / max(depth)
"""

PULL = """
def pull(edges, targets, size):
    order = np.argsort(targets, kind="stable")
    first = np.searchsorted(targets[order], np.arange(size + 1))
    has = first[:-1] < first[1:]
    sums = np.zeros(size)
    sums[has] = np.add.reduceat(edges[order], first[:-1][has])
    return sums
"""

MELT = """
def witness(x):
    s = x + x
    return s + s


def mended(tape):
    uses = [0] * len(tape.ops)
    for args in tape.args:
        for a in args:
            uses[a] += 1
    terms, gone = list(tape.args), set()
    for i in reversed(range(len(terms))):
        if tape.ops[i] in SUMS and i not in gone:
            found, stack = [], list(terms[i])
            while stack:
                a = stack.pop()
                if tape.ops[a] not in SUMS or uses[a] > 1:
                    found.append(a)
                else:
                    gone.add(a)
                    stack.extend(terms[a])
            terms[i] = found[::-1]
    return rewritten(tape, terms, gone)
"""

SHARED = """
def shared(tape):
    short, at, written = Tape(), [], {}
    for i, (op, args) in enumerate(zip(tape.ops, tape.args, strict=True)):
        if i in tape.leaves:
            at.append(short.leaf(tape.leaves[i]))
            continue
        args = [at[a] for a in args]
        key = op, *(sorted(args) if op in ("add", "mul") else args)
        if key not in written:
            written[key] = short.emit(op, *args)
        at.append(written[key])
    return short
"""

PADDED = """
def bill(tape):
    return len(grouped(tape)), sum(map(len, tape.args))


def padded(tape):
    wide, zero, at = Tape(), None, []
    for i, (op, args) in enumerate(zip(tape.ops, tape.args, strict=True)):
        args = [at[a] for a in args]
        if op == "total":
            width = 1
            while width < len(args):
                width *= 2
            if zero is None and width > len(args):
                zero = wide.leaf(Value(0.0))
            args += [zero] * (width - len(args))
        at.append(wide.leaf(tape.leaves[i]) if i in tape.leaves else wide.emit(op, *args))
    return wide
"""

HUBER = """
@primitive
def huber(x):
    most = xp(x).maximum
    slope = most(-most(-x, -1.0), -1.0)
    return slope * (x - 0.5 * slope), lambda g: (g * slope,)
"""

TRAIN = """
def train(build, w, steps, rate):
    programs, losses = [], []
    for _ in range(steps):
        loss = build(w)
        for program in programs:
            try:
                program.check(loss)
                break
            except RuntimeError:
                pass
        else:
            program = record(loss, w=w)
            programs.append(program)
        losses.append(program.forward(w=[p.data for p in w]))
        for p, g in zip(w, program.backward()["w"], strict=True):
            p.data -= rate * float(g)
    return losses
"""


def slip(source, old, new):
    """A right answer with one slip in it."""
    assert source.count(old) == 1, (old, source.count(old))
    return source.replace(old, new)


EAGER = slip(
    slip(
        PADDED,
        "    wide, zero, at = Tape(), None, []\n",
        "    wide = Tape()\n    zero, at = wide.leaf(Value(0.0)), []\n",
    ),
    """            if zero is None and width > len(args):
                zero = wide.leaf(Value(0.0))
""",
    "",
)


PLANTED = {
    "waves": [
        (
            "goes through the list once, as if arguments stood first",
            """
def waves(args):
    depth = [0] * len(args)
    for i, needed in enumerate(args):
        depth[i] = 1 + max((depth[a] for a in needed), default=-1)
    return [[i for i, d in enumerate(depth) if d == level] for level in range(1 + max(depth))]
""",
        ),
        (
            "sweeps over all that is left, wave by wave",
            """
def waves(args):
    listed, done, left = [], set(), list(range(len(args)))
    while left:
        wave = [i for i in left if all(a in done for a in args[i])]
        listed.append(wave)
        done.update(wave)
        left = [i for i in left if i not in done]
    return listed
""",
        ),
        (
            "an entry that uses another twice waits for two and is let go once",
            slip(WAVES, "for a in needed:", "for a in set(needed):"),
        ),
        (
            "an entry comes as soon as one argument is there",
            slip(WAVES, "waiting[user] == 0:", "waiting[user] == len(args[user]) - 1:"),
        ),
        (
            "a level follows the last argument that is written, and the others are not looked at",
            slip(
                slip(WAVES, "len(needed) for", "len(needed[-1:]) for"),
                "for a in needed:",
                "for a in needed[-1:]:",
            ),
        ),
        (
            "leaves are left out",
            slip(WAVES, "return listed", "return listed[1:]"),
        ),
        (
            "recursive",
            """
from functools import cache


def waves(args):
    @cache
    def depth(i):
        return 1 + max((depth(a) for a in args[i]), default=-1)

    found = [[] for _ in range(1 + max(map(depth, range(len(args)))))]
    for i in range(len(args)):
        found[depth(i)].append(i)
    return found
""",
        ),
    ],
    "steps": [
        (
            "the last round of a level is forgotten",
            slip(STEPS, "math.ceil(width / workers)", "max(1, width // workers)"),
        ),
        ("leaves take steps, too", slip(STEPS, " if depth)", ")")),
        (
            "levels flow into each other",
            slip(
                STEPS,
                "sum(math.ceil(width / workers) for width in widths.values())",
                "max(len(widths), math.ceil(sum(widths.values()) / workers))",
            ),
        ),
        (
            "the widest level is the most",
            slip(STEPS, "sum(d > 0 for d in depth) / max(depth)", "max(Counter(depth).values())"),
        ),
        ("the leaves are counted as work", slip(STEPS, "sum(d > 0 for d in depth)", "len(depth)")),
        ("one level too many", slip(STEPS, "/ max(depth)", "/ (1 + max(depth))")),
    ],
    "pull": [
        (
            "fancy += loses a repeated index",
            """
def pull(edges, targets, size):
    sums = np.zeros(size)
    sums[targets] += edges
    return sums
""",
        ),
        (
            "scatters with np.add.at",
            """
def pull(edges, targets, size):
    sums = np.zeros(size)
    np.add.at(sums, targets, edges)
    return sums
""",
        ),
        (
            "counts with weights",
            """
def pull(edges, targets, size):
    return np.bincount(targets, weights=edges, minlength=size)
""",
        ),
        (
            "the empty runs of reduceat",
            """
def pull(edges, targets, size):
    if len(edges) == 0:
        return np.zeros(size)
    order = np.argsort(targets, kind="stable")
    first = np.searchsorted(targets[order], np.arange(size))
    return np.add.reduceat(edges[order], np.minimum(first, len(edges) - 1))
""",
        ),
        (
            "runs behind the end",
            """
def pull(edges, targets, size):
    order = np.argsort(targets, kind="stable")
    first = np.searchsorted(targets[order], np.arange(size + 1))
    sums = np.add.reduceat(edges[order], first[:-1])
    sums[first[:-1] == first[1:]] = 0.0
    return sums
""",
        ),
        ("the edges are not sorted", slip(PULL, "edges[order]", "edges")),
        (
            "only those entries that have edges",
            """
def pull(edges, targets, size):
    order = np.argsort(targets, kind="stable")
    _, first = np.unique(targets[order], return_index=True)
    return np.add.reduceat(edges[order], first)
""",
        ),
        (
            "differences of a running sum",
            """
def pull(edges, targets, size):
    order = np.argsort(targets, kind="stable")
    first = np.searchsorted(targets[order], np.arange(size + 1))
    running = np.concatenate([[0.0], np.cumsum(edges[order])])
    return running[first[1:]] - running[first[:-1]]
""",
        ),
        (
            "a loop over the edges, behind np.asarray",
            """
def pull(edges, targets, size):
    sums = np.zeros(size)
    for g, target in zip(np.asarray(edges), targets, strict=True):
        sums[target] += g
    return sums
""",
        ),
        (
            "scatters with np.add.at, behind np.asarray",
            """
def pull(edges, targets, size):
    sums = np.zeros(size)
    np.add.at(sums, targets, np.asarray(edges))
    return sums
""",
        ),
        (
            "a dense product, behind np.asarray",
            """
def pull(edges, targets, size):
    return (targets == np.arange(size)[:, None]) @ np.asarray(edges)
""",
        ),
        (
            "a dense product",
            """
def pull(edges, targets, size):
    return (targets == np.arange(size)[:, None]) @ edges
""",
        ),
        (
            "a loop over the entries",
            """
def pull(edges, targets, size):
    return np.array([edges[targets == i].sum() for i in range(size)])
""",
        ),
    ],
    "melt": [
        (
            "every sum melts, wherever it is used",
            slip(MELT, "if tape.ops[a] not in SUMS or uses[a] > 1:", "if tape.ops[a] not in SUMS:"),
        ),
        (
            "a sum used twice by one other melts twice",
            MELT[: MELT.index("def mended")]
            + """def mended(tape):
    users = [set() for _ in tape.ops]
    for i, args in enumerate(tape.args):
        for a in args:
            users[a].add(i)
    terms, gone = list(tape.args), set()
    for i in reversed(range(len(terms))):
        if tape.ops[i] in SUMS and i not in gone:
            found, stack = [], list(terms[i])
            while stack:
                a = stack.pop()
                if tape.ops[a] not in SUMS or len(users[a]) > 1:
                    found.append(a)
                else:
                    gone.add(a)
                    stack.extend(terms[a])
            terms[i] = found[::-1]
    return rewritten(tape, terms, gone)
""",
        ),
        (
            "nothing melts",
            slip(MELT, "if tape.ops[a] not in SUMS or uses[a] > 1:", "if True:"),
        ),
        (
            "a second use of a sum in the same one finds it gone and keeps it",
            MELT[: MELT.index("def mended")]
            + """def mended(tape):
    users = [set() for _ in tape.ops]
    for i, args in enumerate(tape.args):
        for a in args:
            users[a].add(i)
    terms, gone = list(tape.args), set()
    for i in reversed(range(len(terms))):
        if tape.ops[i] in SUMS and i not in gone:
            found, stack = [], list(terms[i])
            while stack:
                a = stack.pop()
                if tape.ops[a] not in SUMS or len(users[a]) > 1 or a in gone:
                    found.append(a)
                else:
                    gone.add(a)
                    stack.extend(terms[a])
            terms[i] = found[::-1]
    return rewritten(tape, terms, gone)
""",
        ),
        (
            "terms that occur twice are kept once",
            slip(MELT, "terms[i] = found[::-1]", "terms[i] = list(dict.fromkeys(found[::-1]))"),
        ),
        (
            "a witness that is none: two sums use the sum",
            slip(MELT, "return s + s", "return (s + x) + (s + 1.0)"),
        ),
        (
            "a witness of more operations than it takes",
            slip(MELT, "return s + s", "return s + s + x"),
        ),
        ("the draft as it is", MELT[: MELT.index("def mended")] + "mended = draft\n"),
    ],
    "shared": [
        (
            "looks up the arguments of the old tape",
            slip(
                slip(SHARED, "        args = [at[a] for a in args]\n", ""),
                "short.emit(op, *args)",
                "short.emit(op, *[at[a] for a in args])",
            ),
        ),
        (
            "every operation may turn its arguments round",
            slip(SHARED, '(sorted(args) if op in ("add", "mul") else args)', "sorted(args)"),
        ),
        (
            "none may",
            slip(SHARED, '(sorted(args) if op in ("add", "mul") else args)', "args"),
        ),
        (
            "a total may turn its arguments round, too",
            slip(SHARED, '("add", "mul")', '("add", "mul", "total")'),
        ),
        (
            "leaves of equal data become one",
            slip(
                SHARED,
                "            at.append(short.leaf(tape.leaves[i]))\n",
                """            key = tape.leaves[i].data
            if key not in written:
                written[key] = short.leaf(tape.leaves[i])
            at.append(written[key])
""",
            ),
        ),
        (
            "forgets which operation it was",
            slip(SHARED, "key = op, *", "key = 1, *"),
        ),
        (
            "entries of equal numbers become one",
            slip(
                slip(
                    SHARED,
                    "at, written = Tape(), [], {}",
                    "at, written, told = Tape(), [], {}, values(tape)",
                ),
                '        key = op, *(sorted(args) if op in ("add", "mul") else args)\n',
                "        key = told[i]\n",
            ),
        ),
        (
            "a leaf becomes a copy of itself",
            slip(SHARED, "short.leaf(tape.leaves[i])", "short.leaf(Value(tape.leaves[i].data))"),
        ),
    ],
    "padded": [
        (
            "every sum is as long as the longest",
            slip(
                PADDED,
                """            width = 1
            while width < len(args):
                width *= 2
""",
                """            width = max(map(len, tape.args))
""",
            ),
        ),
        (
            "a power of two gets doubled as well",
            slip(PADDED, "while width < len(args):", "while width <= len(args):"),
        ),
        ("a zero, needed or not", EAGER),
        (
            "a new zero for each",
            slip(
                slip(EAGER, "zero, at = wide.leaf(Value(0.0)), []", "at = []"),
                "args += [zero] * (width - len(args))",
                "args += [wide.leaf(Value(0.0)) for _ in range(width - len(args))]",
            ),
        ),
        (
            "a leaf that is 0 serves as the zero",
            slip(
                slip(EAGER, "zero, at = wide.leaf(Value(0.0)), []", "at = []"),
                "args += [zero] *",
                "args += [next(i for i in wide.leaves if wide.leaves[i].data == 0.0)] *",
            ),
        ),
        (
            "the zero comes last, after those that use it",
            slip(
                slip(EAGER, "zero, at = wide.leaf(Value(0.0)), []", "zero, at = len(tape.ops), []"),
                "    return wide",
                "    wide.leaf(Value(0.0))\n    return wide",
            ),
        ),
        (
            "padded with the last argument",
            slip(
                slip(EAGER, "zero, at = wide.leaf(Value(0.0)), []", "at = []"),
                "[zero] *",
                "args[-1:] *",
            ),
        ),
        (
            "entries are counted for edges",
            slip(PADDED, "sum(map(len, tape.args))", "len(tape.args)"),
        ),
        (
            "groups are counted without their number of arguments",
            slip(PADDED, "len(grouped(tape))", "len({key[:2] for key in grouped(tape)})"),
        ),
    ],
    "huber": [
        (
            "the if is still there",
            """
@primitive
def huber(x):
    if abs(x) <= 1.0:
        return 0.5 * x * x, lambda g: (g * x,)
    if x > 0.0:
        return x - 0.5, lambda g: (g,)
    return -x - 0.5, lambda g: (-g,)
""",
        ),
        (
            "the square overflows on the side that is not wanted",
            """
@primitive
def huber(x):
    near, sign = abs(x) <= 1.0, (x > 0.0) * 2.0 - 1.0
    far = 1.0 - near
    return near * (0.5 * x * x) + far * (abs(x) - 0.5), lambda g: (g * (near * x + far * sign),)
""",
        ),
        (
            "np.clip makes a float64 of a float",
            """
@primitive
def huber(x):
    slope = np.clip(x, -1.0, 1.0)
    return slope * (x - 0.5 * slope), lambda g: (g * slope,)
""",
        ),
        (
            "the slope outside has lost its sign",
            slip(HUBER, "(g * slope,)", "(g * abs(slope),)"),
        ),
        ("the pullback forgets g", slip(HUBER, "(g * slope,)", "(slope,)")),
        (
            "goes one way for the whole array",
            """
@primitive
def huber(x):
    near = np.all(np.abs(x) <= 1.0)
    slope = x if near else x / abs(x)
    return slope * (x - 0.5 * slope), lambda g: (g * slope,)
""",
        ),
        (
            "the line does not meet the square",
            slip(
                HUBER, "slope * (x - 0.5 * slope)", "slope * x - 0.5 * (abs(x) < 1.0) * x * slope"
            ),
        ),
    ],
    "train": [
        (
            "records once and never asks",
            """
def train(build, w, steps, rate):
    program, losses = record(build(w), w=w), []
    for _ in range(steps):
        losses.append(program.forward(w=[p.data for p in w]))
        for p, g in zip(w, program.backward()["w"], strict=True):
            p.data -= rate * float(g)
    return losses
""",
        ),
        (
            "records every step",
            """
def train(build, w, steps, rate):
    losses = []
    for _ in range(steps):
        program = record(build(w), w=w)
        losses.append(program.forward())
        for p, g in zip(w, program.backward()["w"], strict=True):
            p.data -= rate * float(g)
    return losses
""",
        ),
        (
            "keeps only the last program",
            slip(TRAIN, "programs.append(program)", "programs = [program]"),
        ),
        (
            "goes back through the graph, without a replay",
            """
def train(build, w, steps, rate):
    losses = []
    for _ in range(steps):
        for p in w:
            p.grad = 0.0
        loss = build(w)
        loss.backward()
        losses.append(loss.data)
        for p in w:
            p.data -= rate * p.grad
    return losses
""",
        ),
        (
            "replays with the numbers of the day of the recording",
            slip(TRAIN, "program.forward(w=[p.data for p in w])", "program.forward()"),
        ),
        (
            "moves with the gradient",
            slip(TRAIN, "p.data -= rate", "p.data += rate"),
        ),
        (
            "asks about the graph of the start",
            slip(
                slip(TRAIN, "        loss = build(w)\n", ""),
                "    programs, losses = [], []\n",
                "    programs, losses, loss = [], [], build(w)\n",
            ),
        ),
        (
            "asks after the step, and uses a refused program once",
            """
def train(build, w, steps, rate):
    programs, losses = [record(build(w), w=w)], []
    program = programs[0]
    for _ in range(steps):
        losses.append(program.forward(w=[p.data for p in w]))
        loss = build(w)
        for p, g in zip(w, program.backward()["w"], strict=True):
            p.data -= rate * float(g)
        for program in programs:
            try:
                program.check(loss)
                break
            except RuntimeError:
                pass
        else:
            program = record(loss, w=w)
            programs.append(program)
    return losses
""",
        ),
        (
            "does not write the numbers back",
            """
def train(build, w, steps, rate):
    program, losses = record(build(w), w=w), []
    numbers = np.array([p.data for p in w])
    for _ in range(steps):
        try:
            program.check(build(w))
        except RuntimeError:
            program = record(build(w), w=w)
        losses.append(program.forward(w=numbers))
        numbers -= rate * program.backward()["w"]
    return losses
""",
        ),
    ],
}
