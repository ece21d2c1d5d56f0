"""Wrong answers to the exercises on ownership: the mistakes someone would make."""

SINCOS = """
def sincos(x):
    s, c = math.sin(x.data), math.cos(x.data)
    sine = Node(s, (x,), lambda g: (g * c,), "sin")
    cosine = Node(c, (x,), lambda g: (-g * s,), "cos")
    return sine, cosine
"""

CURVE = """
def at(curve, x):
    slope = curve.slope(x.data)
    return Node(curve.height(x.data), (x,), lambda g: (g * slope,), "curve")
"""

LEFT = """
def left(step):
    gc.disable()
    for _ in range(10):
        step()
    gc.collect()
    before = len(alive())
    for _ in range(10):
        step()
    after = len(alive())
    gc.collect()
    holds = len(alive()) - before
    gc.enable()
    return after - before - holds, holds
"""

REMEMBER = """
def remember(op):
    memory = weakref.WeakValueDictionary()

    def remembered(x):
        if not is_recording():
            return op(x)
        out = memory.get(x)
        if out is None:
            out = memory[x] = op(x)
        return out

    return remembered
"""

JOINT = """
def joint(model, loss, points):
    with no_grad():
        scores = [Value(model(x).data) for x in points]
    out = loss(scores)
    out.backward()
    for x, score in zip(points, scores, strict=True):
        model(x).backward(score.grad)
    return out.data
"""

FROZEN = """
class Constant(Value):
    __slots__ = ()
    grad = property(lambda self: 0.0, lambda self, g: None)

    def __new__(cls, data, parents=(), pullback=nothing, op=""):
        if all(isinstance(parent, Constant) for parent in parents):
            return super().__new__(cls)
        return Value(data, parents, pullback, op)

    def __init__(self, data, *past):
        super().__init__(data)


@contextmanager
def frozen(*leaves):
    kinds = [type(leaf) for leaf in leaves]
    for leaf in leaves:
        leaf.__class__ = Constant
    try:
        yield
    finally:
        for leaf, kind in zip(leaves, kinds, strict=True):
            leaf.__class__ = kind
"""

SEGMENTS = """
def chain(fs, x, size):
    for i in range(0, len(fs), size):
        x = checkpoint(partial(straight, fs[i : i + size]), x)
    return x


def nested(fs, x):
    if len(fs) == 1:
        return fs[0](x)
    half = len(fs) // 2
    for part in fs[:half], fs[half:]:
        x = checkpoint(partial(nested, part), x)
    return x
"""

ARENA = """
class Arena:
    def __init__(self):
        self.data, self.op, self.left, self.right = [], [], [], []

    def leaf(self, data):
        return self.put(data, "", 0, 0)

    def add(self, i, j):
        return self.put(self.data[i] + self.data[j], "add", i, j)

    def mul(self, i, j):
        return self.put(self.data[i] * self.data[j], "mul", i, j)

    def put(self, *row):
        for column, item in zip((self.data, self.op, self.left, self.right), row, strict=True):
            column.append(item)
        return len(self.data) - 1

    def backward(self, root):
        grad = [0.0] * len(self.data)
        grad[root] = 1.0
        for i in range(root, -1, -1):
            left, right, g = self.left[i], self.right[i], grad[i]
            if self.op[i] == "add":
                grad[left] += g
                grad[right] += g
            elif self.op[i] == "mul":
                grad[left] += g * self.data[right]
                grad[right] += g * self.data[left]
        return grad

    def release(self, n):
        for column in (self.data, self.op, self.left, self.right):
            del column[n:]
"""


def slip(source, *changes):
    """A right answer with one slip in it: pairs of what it says and what is said instead."""
    for old, new in changes:
        assert source.count(old) == 1, (old, source.count(old))
        source = source.replace(old, new)
    return source


PLANTED = {
    "sincos": [
        (
            "the ring of the draft, begun at the other end",
            """
def sincos(x):
    s = Node(math.sin(x.data), (x,), lambda g: (g * c.data,), "sin")
    c = Node(math.cos(x.data), (x,), lambda g: (-g * s.data,), "cos")
    return s, c
""",
        ),
        (
            "half a ring is no ring, and holds the cosine",
            slip(SINCOS, ("(g * c,)", "(g * cosine.data,)")),
        ),
        (
            "a weak reference to the cosine",
            slip(
                SINCOS,
                ("(g * c,)", "(g * weak().data,)"),
                ("return", "weak = weakref.ref(cosine)\n    return"),
            ),
        ),
        (
            "each node holds itself",
            slip(
                SINCOS,
                ("(g * c,)", "(g * math.sqrt(1 - sine.data**2),)"),
                ("(-g * s,)", "(-g * math.sqrt(1 - cosine.data**2),)"),
            ),
        ),
        (
            "asks x again on the way back",
            slip(SINCOS, ("(g * c,)", "(g * math.cos(x.data),)")),
        ),
        ("the minus is lost", slip(SINCOS, ("-g * s", "g * s"))),
        ("the sine forgets g", slip(SINCOS, ("(g * c,)", "(c,)"))),
    ],
    "curve": [
        (
            "names the table instead of the curve",
            """
def at(curve, x):
    heights, i = curve.heights, curve.start(x.data)
    return Node(
        curve.height(x.data), (x,), lambda g: (g * (heights[i + 1] - heights[i]),), "curve"
    )
""",
        ),
        (
            "a bound method holds the curve",
            """
def at(curve, x):
    slope, where = curve.slope, x.data
    return Node(curve.height(where), (x,), lambda g: (g * slope(where),), "curve")
""",
        ),
        (
            "a weak reference to the curve",
            """
def at(curve, x):
    weak, where = weakref.ref(curve), x.data
    return Node(curve.height(where), (x,), lambda g: (g * weak().slope(where),), "curve")
""",
        ),
        (
            "a copy of the table",
            """
def at(curve, x):
    mine, where = Curve(list(curve.heights)), x.data
    return Node(curve.height(where), (x,), lambda g: (g * mine.slope(where),), "curve")
""",
        ),
        (
            "two heights where one number is enough",
            """
def at(curve, x):
    i = curve.start(x.data)
    low, high = curve.heights[i : i + 2]
    return Node(curve.height(x.data), (x,), lambda g: (g * (high - low),), "curve")
""",
        ),
        ("the pullback forgets g", slip(CURVE, ("(g * slope,)", "(slope,)"))),
    ],
    "left": [
        (
            "no warm-up",
            slip(
                LEFT,
                ("    for _ in range(10):\n        step()\n    gc.collect()\n    b", "    b"),
                ("    gc.disable()\n", "    gc.collect()\n    gc.disable()\n"),
            ),
        ),
        (
            "the rings of the warm-up are counted as well",
            slip(
                LEFT,
                ("    gc.collect()\n    before", "    before"),
            ),
        ),
        (
            "counts over the warm-up, too",
            """
def left(step):
    gc.collect()
    before = len(alive())
    gc.disable()
    for _ in range(20):
        step()
    after = len(alive())
    gc.collect()
    gc.enable()
    holds = len(alive()) - before
    return after - before - holds, holds
""",
        ),
        (
            "the second number is all that is left, rings and all",
            slip(LEFT, ("- before - holds, holds", "- before - holds, after - before")),
        ),
        (
            "the two numbers the wrong way round",
            slip(LEFT, ("after - before - holds, holds", "holds, after - before - holds")),
        ),
        ("the collector stays off", slip(LEFT, ("    gc.enable()\n", ""))),
        ("the collector stays on", slip(LEFT, ("    gc.disable()\n", ""))),
        ("nodes for each step", slip(LEFT, ("- holds, holds", "- holds, holds / 10"))),
    ],
    "remember": [
        (
            "the leak of the draft",
            slip(REMEMBER, ("weakref.WeakValueDictionary()", "{}")),
        ),
        (
            "weak keys, and values that hold them",
            slip(REMEMBER, ("weakref.WeakValueDictionary()", "weakref.WeakKeyDictionary()")),
        ),
        (
            "a cache of one result still owns it",
            """
def remember(op):
    last = [None, None]

    def remembered(x):
        if not is_recording():
            return op(x)
        if last[0] is not x:
            last[:] = x, op(x)
        return last[1]

    return remembered
""",
        ),
        (
            "the result dies between two lines",
            """
def remember(op):
    memory = weakref.WeakValueDictionary()

    def remembered(x):
        if not is_recording():
            return op(x)
        if x not in memory:
            memory[x] = op(x)
        return memory[x]

    return remembered
""",
        ),
        (
            "remembered by number, not by node",
            slip(
                REMEMBER, ("memory.get(x)", "memory.get(x.data)"), ("memory[x]", "memory[x.data]")
            ),
        ),
        (
            "remembers under no_grad as well",
            slip(REMEMBER, ("        if not is_recording():\n            return op(x)\n", "")),
        ),
        (
            "one memory for all operations",
            slip(
                REMEMBER,
                ("    memory = weakref.WeakValueDictionary()\n", ""),
                (
                    "def remember(op):",
                    "memory = weakref.WeakValueDictionary()\n\n\ndef remember(op):",
                ),
            ),
        ),
        (
            "remembers nothing",
            """
def remember(op):
    return lambda x: op(x)
""",
        ),
    ],
    "joint": [
        (
            "all the graphs at once",
            """
def joint(model, loss, points):
    out = loss([model(x) for x in points])
    out.backward()
    return out.data
""",
        ),
        (
            "the loss of each score alone",
            """
def joint(model, loss, points):
    total = 0.0
    for x in points:
        out = loss([model(x)])
        out.backward()
        total += out.data
    return total
""",
        ),
        ("every example begins with 1", slip(JOINT, ("score.grad)", "1.0)"))),
        (
            "the loss is computed without a graph, too",
            slip(JOINT, ("    out = loss", "        out = loss")),
        ),
        (
            "the last example lives while the next is built",
            slip(
                JOINT,
                ("model(x).backward(score.grad)", "y = model(x)\n        y.backward(score.grad)"),
            ),
        ),
        (
            "the first run makes graphs, and drops them",
            slip(JOINT, ("    with no_grad():\n        scores", "    scores")),
        ),
        (
            "the scores keep their graphs",
            """
def joint(model, loss, points):
    outs = [model(x) for x in points]
    scores = [Value(y.data) for y in outs]
    out = loss(scores)
    out.backward()
    for y, score in zip(outs, scores, strict=True):
        y.backward(score.grad)
    return out.data
""",
        ),
        (
            "the loss once for each example",
            """
def joint(model, loss, points):
    for i, x in enumerate(points):
        with no_grad():
            scores = [Value(model(other).data) for other in points]
        out = loss(scores)
        out.backward()
        model(x).backward(scores[i].grad)
    return out.data
""",
        ),
    ],
    "frozen": [
        (
            "a Constant whenever the first parent is one",
            slip(FROZEN, ("if all(isinstance(parent, Constant) for parent in parents)", "if True")),
        ),
        (
            "a Constant where any parent is one",
            slip(
                FROZEN,
                ("if all(", "if not parents or any("),
            ),
        ),
        (
            "never a Constant but by name",
            slip(
                FROZEN,
                ("all(isinstance(parent, Constant) for parent in parents)", "not parents"),
            ),
        ),
        ("the Value has no past", slip(FROZEN, ("(data, parents, pullback, op)", "(data)"))),
        (
            "an error leaves the leaves frozen",
            slip(
                FROZEN,
                (
                    """\
    try:
        yield
    finally:
        for leaf, kind in zip(leaves, kinds, strict=True):
            leaf.__class__ = kind
""",
                    """\
    yield
    for leaf, kind in zip(leaves, kinds, strict=True):
        leaf.__class__ = kind
""",
                ),
            ),
        ),
        (
            "every leaf comes back as a Value",
            slip(FROZEN, ("leaf.__class__ = kind", "leaf.__class__ = Value")),
        ),
        (
            "asks for the classes when they have changed",
            slip(
                FROZEN,
                ("    kinds = [type(leaf) for leaf in leaves]\n", ""),
                ("    try:", "    kinds = [type(leaf) for leaf in leaves]\n    try:"),
            ),
        ),
        (
            "under no_grad nothing else learns either",
            FROZEN[: FROZEN.index("@contextmanager")]
            + """@contextmanager
def frozen(*leaves):
    with no_grad():
        yield
""",
        ),
        (
            "the gradients are cleared on the way out",
            slip(
                FROZEN,
                ("leaf.__class__ = kind", "leaf.__class__ = kind\n            leaf.grad = 0.0"),
            ),
        ),
    ],
    "segments": [
        (
            "a lambda in a loop",
            slip(
                SEGMENTS,
                ("partial(straight, fs[i : i + size])", "lambda v: straight(fs[i : i + size], v)"),
            ),
        ),
        (
            "the last segment is lost where it is short",
            slip(SEGMENTS, ("len(fs), size", "len(fs) - size + 1, size")),
        ),
        (
            "as many segments as a segment should have functions",
            slip(
                SEGMENTS,
                ("range(0, len(fs), size):", "range(0, len(fs), -(-len(fs) // size)):"),
                ("i + size]", "i + -(-len(fs) // size)]"),
            ),
        ),
        (
            "no checkpoints",
            slip(
                SEGMENTS,
                (
                    "checkpoint(partial(straight, fs[i : i + size]), x)",
                    "straight(fs[i : i + size], x)",
                ),
            ),
        ),
        (
            "the halves are not cut again",
            slip(SEGMENTS, ("partial(nested, part)", "partial(straight, part)")),
        ),
        (
            "the halves are cut, but not checkpointed",
            slip(SEGMENTS, ("checkpoint(partial(nested, part), x)", "nested(part, x)")),
        ),
        (
            "one function is halved into none and one, for ever",
            slip(SEGMENTS, ("len(fs) == 1", "len(fs) == 0"), ("return fs[0](x)", "return x")),
        ),
        (
            "the odd one out is lost",
            slip(SEGMENTS, ("fs[half:]:", "fs[half : 2 * half]:")),
        ),
        (
            "only the first half is a checkpoint",
            slip(
                SEGMENTS,
                (
                    """\
    for part in fs[:half], fs[half:]:
        x = checkpoint(partial(nested, part), x)
    return x
""",
                    """\
    x = checkpoint(partial(nested, fs[:half]), x)
    return straight(fs[half:], x)
""",
                ),
            ),
        ),
    ],
    "arena": [
        (
            "the second gradient takes the place of the first",
            ARENA.replace("] += g", "] = g"),
        ),
        (
            "a product gives each its own data",
            slip(
                ARENA,
                (
                    """\
                grad[left] += g * self.data[right]
                grad[right] += g * self.data[left]
""",
                    """\
                grad[left] += g * self.data[left]
                grad[right] += g * self.data[right]
""",
                ),
            ),
        ),
        (
            "a list of gradients that ends at the root",
            slip(ARENA, ("[0.0] * len(self.data)", "[0.0] * (root + 1)")),
        ),
        ("forwards", slip(ARENA, ("range(root, -1, -1)", "range(root + 1)"))),
        (
            "release frees the data alone",
            slip(
                ARENA,
                (
                    "for column in (self.data, self.op, self.left, self.right):\n            del",
                    "for column in [self.data]:\n            del",
                ),
            ),
        ),
        ("release keeps one too many", slip(ARENA, ("del column[n:]", "del column[n + 1 :]"))),
        (
            "gradients are kept, and add up from one way back to the next",
            slip(
                ARENA,
                (
                    "self.right = [], [], [], []",
                    "self.right = [], [], [], []\n        self.grad = []",
                ),
                (
                    "        grad = [0.0] * len(self.data)\n        grad[root] = 1.0\n",
                    "        grad = self.grad\n"
                    "        grad += [0.0] * (len(self.data) - len(grad))\n"
                    "        grad[root] += 1.0\n",
                ),
            ),
        ),
        (
            "a tuple for each node",
            """
class Arena:
    def __init__(self):
        self.data, self.rows = [], []

    def put(self, data, *row):
        self.data.append(data)
        self.rows.append(row)
        return len(self.data) - 1

    def leaf(self, data):
        return self.put(data)

    def add(self, i, j):
        return self.put(self.data[i] + self.data[j], "add", i, j)

    def mul(self, i, j):
        return self.put(self.data[i] * self.data[j], "mul", i, j)

    def backward(self, root):
        grad = [0.0] * len(self.data)
        grad[root] = 1.0
        for i in range(root, -1, -1):
            if self.rows[i]:
                op, left, right = self.rows[i]
                grad[left] += grad[i] * (1.0 if op == "add" else self.data[right])
                grad[right] += grad[i] * (1.0 if op == "add" else self.data[left])
        return grad

    def release(self, n):
        del self.data[n:], self.rows[n:]
""",
        ),
        (
            "recursive, once for each path",
            slip(
                ARENA,
                (
                    """\
        for i in range(root, -1, -1):
            left, right, g = self.left[i], self.right[i], grad[i]
            if self.op[i] == "add":
                grad[left] += g
                grad[right] += g
            elif self.op[i] == "mul":
                grad[left] += g * self.data[right]
                grad[right] += g * self.data[left]
        return grad
""",
                    """\
        paths = [0]

        def visit(i, g):
            paths[0] += 1
            if paths[0] > 10_000:
                raise RecursionError("too many paths")
            grad[i] += g
            left, right = self.left[i], self.right[i]
            if self.op[i] == "add":
                visit(left, g)
                visit(right, g)
            elif self.op[i] == "mul":
                visit(left, g * self.data[right])
                visit(right, g * self.data[left])

        grad[root] = 0.0
        visit(root, 1.0)
        return grad
""",
                ),
            ),
        ),
    ],
}
