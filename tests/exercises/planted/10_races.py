"""Wrong answers to the exercises on races: the mistakes someone would make."""


def slip(source, old, new):
    """A right answer with one slip in it."""
    assert source.count(old) == 1, (old, source.count(old))
    return source.replace(old, new)


PLAY = """
def play(workers, schedule, memory):
    waiting, log = {}, []

    def go_on(letter, answer):
        try:
            waiting[letter] = workers[letter].send(answer)
        except StopIteration:
            waiting.pop(letter, None)

    for letter in workers:
        go_on(letter, None)
    for letter in schedule:
        if letter in waiting:
            name, *args = waiting[letter]
            answer = OPERATIONS[name](memory, *args)
            log.append((letter, waiting[letter], answer))
            go_on(letter, answer)
    return log
"""

OUTCOMES = """
def outcomes(*rounds):
    nobody = (0,) * len(rounds)
    states = {(0, nobody, nobody): (1, "")}
    for _ in range(2 * sum(rounds)):
        after = {}
        for (cell, done, seen), (ways, schedule) in states.items():
            for i, n in enumerate(rounds):
                if done[i] < 2 * n:
                    writes = done[i] % 2
                    then = (
                        seen[i] + 1 if writes else cell,
                        (*done[:i], done[i] + 1, *done[i + 1 :]),
                        (*seen[:i], 0 if writes else cell, *seen[i + 1 :]),
                    )
                    before, _ = after.get(then, (0, ""))
                    after[then] = before + ways, schedule + chr(ord("A") + i)
        states = after
    return {cell: found for (cell, _, _), found in states.items()}
"""

GUARDED = """
def locked(rounds):
    for _ in range(rounds):
        while (yield "swap", "lock", 1):
            pass
        seen = yield "read", "w"
        yield "write", "w", seen + 1
        yield "write", "lock", 0


def lock_free(rounds):
    for _ in range(rounds):
        done = False
        while not done:
            seen = yield "read", "w"
            done = yield "compare", "w", seen, seen + 1
"""

MEETING = """
def witness():
    return "ABBB"


def meet(size):
    come = yield "add", "come", 1
    due = (come // size + 1) * size
    while (yield "read", "come") < due:
        pass
"""

WITNESS = """
def witness():
    return "ABBB"


"""

NUMBERED = (
    WITNESS
    + """def meet(size):
    number = yield "read", "number"
    come = yield "add", "come", 1
    if come == size - 1:
        yield "write", "come", 0
        yield "write", "number", number + 1
    else:
        while (yield "read", "number") == number:
            pass
"""
)

GRAIN = """
def bound(todo):
    busy = Counter()
    for plan in todo:
        for lock, time in plan:
            if lock is not None:
                busy[lock] += time
    return max(*(sum(time for _, time in plan) for plan in todo), *busy.values(), 0)


def finish(todo):
    free, at, ends = Counter(), [0] * len(todo), [0] * len(todo)
    come = [(0, rank) for rank in range(len(todo))]
    while come:
        now, rank = heapq.heappop(come)
        if at[rank] == len(todo[rank]):
            ends[rank] = now
            continue
        lock, time = todo[rank][at[rank]]
        begin = now if lock is None else max(now, free[lock])
        if lock is not None:
            free[lock] = begin + time
        at[rank] += 1
        heapq.heappush(come, (begin + time, rank))
    return ends


def grain(size, steps, cells, compute, toll, most):
    def last(parts):
        return max(finish(plans(size, steps, cells, parts, compute, toll)))

    return min(range(1, most + 1), key=last)
"""

DIAL = """
def limit(delay, momentum):
    low, high = 0.0, 4.0
    while high - low > 1e-4 * high:
        rate = (low + high) / 2
        polynomial = np.zeros(max(delay + 2, 3))
        polynomial[:3] += 1.0, -1.0 - momentum, momentum
        polynomial[delay + 1] += rate
        if np.abs(np.roots(polynomial)).max() < 1.0:
            low = rate
        else:
            high = rate
    return low
"""

EVERY = """
def every(k):
    def turn(seat, x, y):
        seat.read()
        seat.data -= seat.move(x, y)
        if len(seat.staleness) % k == 0:
            seat.moves[seat.me.rank] = seat.data
            seat.me.meet()
            seat.params[seat.part] = seat.moves[:, seat.part].mean(axis=0)
            seat.wrote()
            seat.me.meet()
            seat.data[...] = seat.params

    return Policy(turn, copies=True)
"""

PLANTED = {
    "play": [
        (
            "the answer never arrives",
            slip(PLAY, "go_on(letter, answer)\n    return", "go_on(letter, None)\n    return"),
        ),
        (
            "the first request is carried out before the schedule",
            slip(
                PLAY,
                "        go_on(letter, None)\n",
                """        go_on(letter, None)
        if letter in waiting:
            name, *args = waiting[letter]
            go_on(letter, OPERATIONS[name](memory, *args))
""",
            ),
        ),
        (
            "who has ended asks again",
            slip(PLAY, "waiting.pop(letter, None)", "pass"),
        ),
        (
            "a worker that asks for nothing",
            slip(
                PLAY,
                "        go_on(letter, None)\n",
                "        waiting[letter] = next(workers[letter])\n",
            ),
        ),
        (
            "the letter of one that has ended goes to another",
            slip(
                PLAY,
                "        if letter in waiting:\n",
                """        if waiting:
            letter = letter if letter in waiting else min(waiting)
""",
            ),
        ),
        (
            "all go on to their ends when the schedule is over",
            slip(
                PLAY,
                "    for letter in schedule:\n",
                '    for letter in [*schedule, *"".join(workers) * 20]:\n',
            ),
        ),
        (
            "a letter is a whole addition",
            slip(
                PLAY,
                "        if letter in waiting:\n",
                "        for _ in range(2 * (letter in waiting)):\n",
            ),
        ),
        (
            "works on a copy of memory",
            slip(
                PLAY,
                "    waiting, log = {}, []\n",
                "    waiting, log, memory = {}, [], memory.copy()\n",
            ),
        ),
        (
            "two operations, and no table",
            slip(
                PLAY,
                "            answer = OPERATIONS[name](memory, *args)\n",
                """            answer = memory[args[0]]
            if name == "write":
                memory[args[0]], answer = args[1], None
""",
            ),
        ),
        (
            "five operations, and no table",
            slip(
                PLAY,
                "OPERATIONS[name](memory, *args)",
                "{f.__name__: f for f in (read, write, swap, compare, add)}[name](memory, *args)",
            ),
        ),
    ],
    "outcomes": [
        ("ways are counted once", slip(OUTCOMES, "before + ways", "ways")),
        (
            "states are counted, and not the ways to them",
            slip(OUTCOMES, "before + ways", "before + 1"),
        ),
        (
            "what was read is not in the state",
            slip(OUTCOMES, "0 if writes else cell, *seen", "0, *seen"),
        ),
        (
            "what was read stays in the state",
            slip(OUTCOMES, "0 if writes else cell, *seen", "seen[i] if writes else cell, *seen"),
        ),
        (
            "an addition in one piece",
            slip(OUTCOMES, "seen[i] + 1 if writes else cell,", "cell + 1 if writes else cell,"),
        ),
        ("two workers only", slip(OUTCOMES, "enumerate(rounds)", "enumerate(rounds[:2])")),
        (
            "all have the rounds of the first",
            slip(
                slip(OUTCOMES, "if done[i] < 2 * n:", "if done[i] < 2 * rounds[0]:"),
                "range(2 * sum(rounds))",
                "range(2 * rounds[0] * len(rounds))",
            ),
        ),
        (
            "the schedule backwards",
            slip(OUTCOMES, 'schedule + chr(ord("A") + i)', 'chr(ord("A") + i) + schedule'),
        ),
        (
            "a letter for each addition",
            slip(
                OUTCOMES,
                'schedule + chr(ord("A") + i)',
                'schedule + chr(ord("A") + i) * (not writes)',
            ),
        ),
        (
            "one after another, as a schedule for all ends",
            slip(
                OUTCOMES,
                "return {cell: found for (cell, _, _), found in states.items()}",
                """whole = "".join(chr(ord("A") + i) * 2 * n for i, n in enumerate(rounds))
    return {cell: (ways, whole) for (cell, _, _), (ways, _) in states.items()}""",
            ),
        ),
    ],
    "guarded": [
        (
            "a look, and then the lock",
            slip(
                GUARDED,
                """        while (yield "swap", "lock", 1):
            pass
""",
                """        while (yield "read", "lock"):
            pass
        yield "write", "lock", 1
""",
            ),
        ),
        (
            "the lock is given back too early",
            slip(
                GUARDED,
                """        yield "write", "w", seen + 1
        yield "write", "lock", 0
""",
                """        yield "write", "lock", 0
        yield "write", "w", seen + 1
""",
            ),
        ),
        ("the lock is kept", slip(GUARDED, '        yield "write", "lock", 0\n', "")),
        (
            "the cell is read before the lock is taken",
            slip(
                slip(
                    GUARDED,
                    '        seen = yield "read", "w"\n        yield "write"',
                    '        yield "write"',
                ),
                '        while (yield "swap", "lock", 1):\n',
                '        seen = yield "read", "w"\n        while (yield "swap", "lock", 1):\n',
            ),
        ),
        (
            "the lock is taken once",
            slip(
                GUARDED,
                'while (yield "swap", "lock", 1):\n            pass',
                'yield "swap", "lock", 1',
            ),
        ),
        (
            "swap is asked the wrong way round",
            slip(GUARDED, 'while (yield "swap", "lock", 1)', 'while not (yield "swap", "lock", 1)'),
        ),
        (
            "a sum in one request",
            slip(
                GUARDED,
                """        seen = yield "read", "w"
        yield "write", "w", seen + 1
""",
                '        yield "add", "w", 1\n',
            ),
        ),
        (
            "refused, and done",
            slip(
                GUARDED,
                """        done = False
        while not done:
            seen = yield "read", "w"
            done = yield "compare", "w", seen, seen + 1
""",
                """        seen = yield "read", "w"
        yield "compare", "w", seen, seen + 1
""",
            ),
        ),
        (
            "refused, and asked the same again",
            slip(
                GUARDED,
                """        while not done:
            seen = yield "read", "w"
""",
                """        seen = yield "read", "w"
        while not done:
""",
            ),
        ),
        (
            "refused, and the old sum is offered again",
            slip(
                GUARDED,
                """        done = False
        while not done:
            seen = yield "read", "w"
            done = yield "compare", "w", seen, seen + 1
""",
                """        seen = yield "read", "w"
        more = seen + 1
        while not (yield "compare", "w", seen, more):
            seen = yield "read", "w"
""",
            ),
        ),
        (
            "a lock made of compare",
            slip(
                GUARDED,
                """        done = False
        while not done:
            seen = yield "read", "w"
            done = yield "compare", "w", seen, seen + 1
""",
                """        while not (yield "compare", "lock", 0, 1):
            pass
        seen = yield "read", "w"
        yield "compare", "w", seen, seen + 1
        yield "compare", "lock", 1, 0
""",
            ),
        ),
    ],
    "meeting": [
        (
            "as hasty",
            WITNESS
            + """def meet(size):
    yield from hasty(size)
""",
        ),
        (
            "waits until all are there, the first time",
            WITNESS
            + """def meet(size):
    yield "add", "come", 1
    while (yield "read", "come") < size:
        pass
""",
        ),
        (
            "waits for a multiple of size",
            WITNESS
            + """def meet(size):
    yield "add", "come", 1
    while (yield "read", "come") % size:
        pass
""",
        ),
        (
            "set back by the first to leave",
            WITNESS
            + """def meet(size):
    yield "add", "come", 1
    while 0 < (yield "read", "come") < size:
        pass
    yield "write", "come", 0
""",
        ),
        (
            "the number of the last to come is rounded wrongly",
            slip(MEETING, "(come // size + 1) * size", "-(-come // size) * size"),
        ),
        (
            "one more than needed",
            slip(MEETING, '(yield "read", "come") < due', '(yield "read", "come") <= due'),
        ),
        (
            "exactly the number, which goes by",
            slip(MEETING, '(yield "read", "come") < due', '(yield "read", "come") != due'),
        ),
        (
            "a read and a write to come",
            slip(
                MEETING,
                '    come = yield "add", "come", 1\n',
                '    come = yield "read", "come"\n    yield "write", "come", come + 1\n',
            ),
        ),
        (
            "the number is read after coming",
            slip(
                slip(NUMBERED, '    number = yield "read", "number"\n', ""),
                '    come = yield "add", "come", 1\n',
                '    come = yield "add", "come", 1\n    number = yield "read", "number"\n',
            ),
        ),
        (
            "the next meeting is open before the counter is set back",
            slip(
                NUMBERED,
                """        yield "write", "come", 0
        yield "write", "number", number + 1
""",
                """        yield "write", "number", number + 1
        yield "write", "come", 0
""",
            ),
        ),
        ("a schedule after which all is well", slip(MEETING, '"ABBB"', '"AABBA"')),
        ("they take turns", slip(MEETING, '"ABBB"', '"ABABABAB"')),
        ("longer than asked", slip(MEETING, '"ABBB"', '"AAAAAAAABBB"')),
    ],
    "grain": [
        (
            "no lock is a lock",
            slip(
                GRAIN,
                "            if lock is not None:\n                busy",
                "            if True:\n                busy",
            ),
        ),
        (
            "the bound is of all plans together",
            slip(GRAIN, "max(*(sum(", "max(sum(sum(").replace(
                "for plan in todo), *busy.values(), 0)", "for plan in todo), *busy.values())"
            ),
        ),
        (
            "the locks are forgotten in the bound",
            slip(GRAIN, "*busy.values(), 0)", "0)"),
        ),
        (
            "one worker after another",
            slip(
                GRAIN,
                "        heapq.heappush(come, (begin + time, rank))\n",
                "        heapq.heappush(come, (begin + time, rank))\n"
                "        come.sort(key=lambda c: c[1])\n",
            ),
        ),
        (
            "a round for each pair, by ranks",
            GRAIN[: GRAIN.index("def finish")]
            + """def finish(todo):
    free, ends = Counter(), [0] * len(todo)
    for i in range(max(map(len, todo))):
        for rank, plan in enumerate(todo):
            if i < len(plan):
                lock, time = plan[i]
                begin = ends[rank] if lock is None else max(ends[rank], free[lock])
                ends[rank] = begin + time
                if lock is not None:
                    free[lock] = ends[rank]
    return ends


"""
            + GRAIN[GRAIN.index("def grain") :],
        ),
        (
            "one lock for all",
            slip(
                slip(GRAIN, "max(now, free[lock])", "max(now, free[0])"),
                "free[lock] = begin",
                "free[0] = begin",
            ),
        ),
        (
            "who comes last is next",
            slip(GRAIN, "heapq.heappop(come)", "come.pop()"),
        ),
        (
            "a lock is free when it was taken",
            slip(GRAIN, "free[lock] = begin + time", "free[lock] = begin"),
        ),
        (
            "the first worker's end",
            slip(GRAIN, "return max(finish(", "return (finish(").replace(
                "compute, toll)))", "compute, toll))[0])"
            ),
        ),
        (
            "the bound is taken for the truth",
            slip(GRAIN, "return max(finish(", "return (bound("),
        ),
        (
            "most is left out",
            slip(GRAIN, "range(1, most + 1)", "range(1, most)").replace(
                "key=last)", "key=last, default=1)"
            ),
        ),
        (
            "of several, the largest",
            slip(GRAIN, "min(range(1, most + 1), key=last)", "min(range(most, 0, -1), key=last)"),
        ),
    ],
    "dial": [
        (
            "the formula of the chapter, whatever the momentum",
            """
def limit(delay, momentum):
    return 2.0 * math.sin(math.pi / (2 * (2 * delay + 1)))
""",
        ),
        (
            "the formula, and momentum makes steps longer",
            """
def limit(delay, momentum):
    return 2.0 * (1.0 - momentum) * math.sin(math.pi / (2 * (2 * delay + 1)))
""",
        ),
        (
            "one update too late",
            slip(
                DIAL,
                "def limit(delay, momentum):\n",
                "def limit(delay, momentum):\n    delay += 1\n",
            ),
        ),
        (
            "the gradient counts as a mean",
            slip(DIAL, "+= rate", "+= rate * (1.0 - momentum)"),
        ),
        (
            "everything that is small is stable",
            """
def limit(delay, momentum):
    low, high = 0.0, 4.0
    while high - low > 1e-3 * high:
        rate = (low + high) / 2
        past, v = [1.0] * (delay + 1), 0.0
        for _ in range(50):
            v = momentum * v + past[-1 - delay]
            past.append(past[-1] - rate * v)
        low, high = (rate, high) if abs(past[-1]) < 100 else (low, rate)
    return low
""",
        ),
        (
            "momentum is late too",
            slip(
                DIAL,
                "polynomial[:3] += 1.0, -1.0 - momentum, momentum",
                "polynomial[:2] += 1.0, -1.0\n"
                "        polynomial[delay : delay + 2] += -momentum, momentum",
            ),
        ),
        (
            "the largest root is taken with its sign",
            slip(DIAL, "np.abs(np.roots(polynomial)).max()", "np.roots(polynomial).real.max()"),
        ),
        (
            "the first rate below four",
            slip(DIAL, "            low = rate\n", "            return rate\n"),
        ),
    ],
    "every": [
        (
            "the mean is taken before all have come",
            slip(
                EVERY,
                "            seat.moves[seat.me.rank] = seat.data\n            seat.me.meet()\n",
                "            seat.moves[seat.me.rank] = seat.data\n",
            ),
        ),
        (
            "copied before all have written",
            slip(
                EVERY,
                "            seat.me.meet()\n            seat.data[...] = seat.params\n",
                "            seat.data[...] = seat.params\n            seat.me.meet()\n",
            ),
        ),
        (
            "no second meeting",
            slip(
                EVERY, "            seat.me.meet()\n            seat.data", "            seat.data"
            ),
        ),
        (
            "meets at every step",
            slip(EVERY, "        if len(", "        seat.me.meet()\n        if len("),
        ),
        (
            "the mean of the moves",
            slip(
                slip(EVERY, "            seat.moves[seat.me.rank] = seat.data\n", ""),
                "seat.params[seat.part] = ",
                "seat.params[seat.part] -= ",
            ),
        ),
        (
            "the sum, and not the mean",
            slip(EVERY, ".mean(axis=0)", ".sum(axis=0)"),
        ),
        (
            "everybody keeps the own copy",
            slip(EVERY, "            seat.data[...] = seat.params\n", ""),
        ),
        (
            "the model does not see the mean",
            slip(EVERY, "seat.data[...] = seat.params\n", "seat.data = seat.params.copy()\n"),
        ),
        (
            "works on what all see",
            slip(EVERY, "Policy(turn, copies=True)", "Policy(turn)"),
        ),
        (
            "everybody writes everything",
            slip(
                EVERY,
                "seat.params[seat.part] = seat.moves[:, seat.part].mean(axis=0)",
                "seat.params[...] = seat.moves.mean(axis=0)",
            ),
        ),
        (
            "rank 0 writes everything",
            slip(
                EVERY,
                "            seat.params[seat.part] = seat.moves[:, seat.part].mean(axis=0)\n",
                "            if seat.me.rank == 0:\n"
                "                seat.params[...] = seat.moves.mean(axis=0)\n",
            ),
        ),
        (
            "one step too many before the mean",
            slip(EVERY, "len(seat.staleness) % k == 0", "len(seat.staleness) % (k + 1) == 0"),
        ),
        (
            "the rate is shared out",
            slip(
                EVERY, "seat.data -= seat.move(x, y)", "seat.data -= seat.move(x, y) / seat.me.size"
            ),
        ),
        (
            "counts an update at every step",
            slip(
                slip(EVERY, "            seat.wrote()\n", ""),
                "        if len(",
                "        seat.wrote()\n        if len(",
            ),
        ),
        ("counts no update", slip(EVERY, "            seat.wrote()\n", "")),
        (
            "counts the steps in the policy",
            slip(
                slip(EVERY, "len(seat.staleness) % k", "taken[seat.me.rank] % k"),
                "        seat.read()",
                "        taken[seat.me.rank] += 1\n        seat.read()",
            ).replace("    def turn", "    taken = Counter()\n\n    def turn", 1),
        ),
        ("shares its batches", slip(EVERY, "copies=True)", "shares=True, copies=True)")),
        ("a turn, and no policy", slip(EVERY, "Policy(turn, copies=True)", "turn")),
    ],
}
