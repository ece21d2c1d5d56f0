"""Wrong answers to the exercises on tensors: the mistakes someone would make."""

DOWN = """
def down(g, shape):
    if g.shape == shape:
        return g
    lead = g.ndim - len(shape)
    axes = [i for i in range(g.ndim) if i < lead or shape[i - lead] < g.shape[i]]
    return g.sum(tuple(axes), keepdims=True).reshape(shape)
"""

FORECAST = """
def forecast(*shapes):
    ndim = max(map(len, shapes))
    full = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    wide = []
    for lengths in zip(*full, strict=True):
        several = set(lengths) - {1}
        if len(several) > 1:
            raise ValueError(f"an axis cannot have the lengths {sorted(several)} at once")
        wide.append(max(lengths))
    return tuple(wide), [math.prod(wide) // math.prod(shape) for shape in shapes]
"""

LOOKUP = """
@lift
def lookup(table, *, ids):
    shape, ids = table.shape, ids.copy()

    def pullback(g):
        out = np.zeros_like(g, shape=shape)
        np.add.at(out, ids, g)
        return (out,)

    return table[ids], pullback
"""

MOVED = """
def gap(rule, shape, **options):
    rng = np.random.default_rng()
    v = rng.normal(size=shape)
    value, pullback = rule(v, **options)
    u = rng.normal(size=value.shape)
    return abs((u * value).sum() - (pullback(u)[0] * v).sum())


def mended(x, *, n):
    rows, columns = x.shape
    value = x.reshape(rows, -1, n).transpose(0, 2, 1).reshape(rows, columns)
    return value, lambda g: (g.reshape(rows, n, -1).transpose(0, 2, 1).reshape(rows, columns),)
"""

CROSSED = """
@lift
def crossed(scores, *, labels):
    rows = np.arange(len(labels))
    shifted = scores - scores.max(1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(1, keepdims=True)
    value = np.log(total[:, 0]) - shifted[rows, labels]
    slope = e / total
    slope[rows, labels] -= 1.0
    return value, lambda g: (slope * g[:, None],)
"""

SLIDING = """
@lift
def sliding(x, *, width):
    shape = x.shape

    def pullback(g):
        out = np.zeros_like(g, shape=shape)
        count = g.shape[-2]
        for k in range(width):
            out[..., k : k + count] += g[..., k]
        return (out,)

    return np.lib.stride_tricks.sliding_window_view(x, width, axis=-1), pullback
"""

NORMALIZE = """
@lift
def normalize(x, *, eps=1e-5):
    d = x - x.mean(-1, keepdims=True)
    s = np.sqrt((d * d).mean(-1, keepdims=True) + eps)
    y = d / s

    def pullback(g):
        along = (g * y).mean(-1, keepdims=True)
        return ((g - g.mean(-1, keepdims=True) - y * along) / s,)

    return y, pullback
"""

FITS = """
def kept(out):
    blocks, seen = {}, {}
    stack = [node.pullback for node in ancestors(out.node)]
    while stack:
        thing = stack.pop()
        if isinstance(thing, np.ndarray):
            while isinstance(thing.base, np.ndarray):
                thing = thing.base
            blocks[id(thing)] = thing
        elif id(thing) not in seen:
            seen[id(thing)] = thing
            stack.extend(held(thing).values())
    return sum(block.nbytes for block in blocks.values())


def fits(forward, budget):
    one = kept(forward(1))
    each = kept(forward(2)) - one
    return max(0, 1 + (budget - one) // each)
"""


def slip(source, *changes):
    """A right answer with one slip in it: pairs of what stands there and what is written."""
    for old, new in changes:
        assert source.count(old) == 1, (old, source.count(old))
        source = source.replace(old, new)
    return source


PLANTED = {
    "down": [
        (
            "only the axes in front are summed",
            slip(DOWN, (" or shape[i - lead] < g.shape[i]]", "]"), (".reshape(shape)", "[0]")),
        ),
        (
            "only the axes of length 1 are summed",
            """
def down(g, shape):
    if g.shape == shape:
        return g
    axes = tuple(i for i, n in enumerate(shape) if n == 1)
    return g.sum(axes, keepdims=True)
""",
        ),
        (
            "shapes are compared from the left",
            """
def down(g, shape):
    if g.shape == shape:
        return g
    full = shape + (1,) * (g.ndim - len(shape))
    axes = tuple(i for i, n in enumerate(full) if n < g.shape[i])
    return g.sum(axes, keepdims=True).reshape(shape)
""",
        ),
        ("the mean, not the sum", slip(DOWN, ("g.sum(", "g.mean("))),
        (
            "the first of the repeated entries",
            """
def down(g, shape):
    if g.shape == shape:
        return g
    while g.ndim > len(shape):
        g = g[0]
    return g[tuple(slice(n) for n in shape)]
""",
        ),
        (
            "an axis of length 1 in front is left",
            slip(DOWN, ("if i < lead or shape", "if shape"), (".reshape(shape)", "")),
        ),
        (
            "a copy where nothing was repeated",
            slip(DOWN, ("        return g\n", "        return g.copy()\n")),
        ),
        (
            "sums axes that it has taken away",
            """
def down(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for i, n in enumerate(shape):
        if n < g.shape[i]:
            g = g.sum(i)
    return g
""",
        ),
    ],
    "forecast": [
        (
            "the number is how many entries the sum has",
            slip(FORECAST, (" // math.prod(shape) for", " for")),
        ),
        ("every gradient is 1", slip(FORECAST, ("math.prod(wide) // math.prod(shape)", "1"))),
        (
            "shapes are compared from the left",
            slip(
                FORECAST,
                ("(1,) * (ndim - len(shape)) + shape", "shape + (1,) * (ndim - len(shape))"),
            ),
        ),
        (
            "the longer length wins, whatever the other is",
            slip(FORECAST, ("if len(several) > 1:", "if False:")),
        ),
        (
            "only what grew from 1 counts, not what was put in front",
            slip(
                FORECAST,
                (
                    "math.prod(wide) // math.prod(shape)",
                    "math.prod(wide[ndim - len(shape) :]) // math.prod(shape)",
                ),
            ),
        ),
        (
            "lengths that differ do not fit, even if one is 1",
            slip(FORECAST, ("set(lengths) - {1}", "set(lengths)")),
        ),
        (
            "asks NumPy for the shape",
            """
def forecast(*shapes):
    wide = np.broadcast_shapes(*shapes)
    return wide, [math.prod(wide) // math.prod(shape) for shape in shapes]
""",
        ),
        (
            "the lead axes of the first shape only",
            """
def forecast(*shapes):
    wide = list(shapes[0])
    for shape in shapes[1:]:
        for i in range(1, len(shape) + 1):
            if shape[-i] != wide[-i] and 1 not in (shape[-i], wide[-i]):
                raise ValueError("the shapes do not fit")
            wide[-i] = max(wide[-i], shape[-i])
    return tuple(wide), [math.prod(wide) // math.prod(shape) for shape in shapes]
""",
        ),
    ],
    "lookup": [
        (
            "of a word that occurs twice one place counts",
            slip(LOOKUP, ("np.add.at(out, ids, g)", "out[ids] += g")),
        ),
        (
            "rows are set, not added to",
            slip(LOOKUP, ("np.add.at(out, ids, g)", "out[ids] = g")),
        ),
        (
            "the ids are lent, and the next text cannot be written",
            slip(LOOKUP, ("ids.copy()", "ids")),
        ),
        ("a view of the ids: those of the next text", slip(LOOKUP, ("ids.copy()", "ids[...]"))),
        (
            "the table is named, and lent",
            slip(
                LOOKUP,
                ("shape, ids = table.shape, ids.copy()", "ids = ids.copy()"),
                ("np.zeros_like(g, shape=shape)", "np.zeros_like(table)"),
            ),
        ),
        (
            "a gradient in float64, whatever came back",
            slip(LOOKUP, ("np.zeros_like(g, shape=shape)", "np.zeros(shape)")),
        ),
        (
            "a product with ones and zeros",
            """
@lift
def lookup(table, *, ids):
    shape, hot = table.shape, np.eye(len(table))[ids.reshape(-1)]

    def pullback(g):
        return ((hot.T @ g.reshape(-1, shape[1])).astype(g.dtype),)

    return table[ids], pullback
""",
        ),
        (
            "loops over a text of one axis",
            """
@lift
def lookup(table, *, ids):
    shape, ids = table.shape, list(ids)

    def pullback(g):
        out = np.zeros_like(g, shape=shape)
        for i, row in zip(ids, g, strict=True):
            out[i] += row
        return (out,)

    return table[ids], pullback
""",
        ),
        (
            "the pullback returns the array and no tuple",
            slip(LOOKUP, ("return (out,)", "return out")),
        ),
        (
            "the gradient of the rows that were asked for, and not of the table",
            slip(
                LOOKUP,
                (
                    "shape, ids = table.shape, ids.copy()",
                    "shape, ids = table[ids].shape, ids.copy()",
                ),
                ("np.add.at(out, ids, g)", "out += g"),
            ),
        ),
    ],
    "moved": [
        (
            "u is ones",
            slip(MOVED, ("u = rng.normal(size=value.shape)", "u = np.ones_like(value)")),
        ),
        (
            "v is ones",
            slip(MOVED, ("v = rng.normal(size=shape)", "v = np.ones(shape)")),
        ),
        (
            "u has the shape of v",
            slip(MOVED, ("u = rng.normal(size=value.shape)", "u = rng.normal(size=shape)")),
        ),
        (
            "finite differences",
            slip(
                MOVED,
                (
                    "(u * value).sum()",
                    "(u * (rule(2 * v, **options)[0] - rule(0 * v, **options)[0])).sum() / 2",
                ),
            ),
        ),
        (
            "compares the sums of what went in and came back",
            slip(
                MOVED,
                (
                    "abs((u * value).sum() - (pullback(u)[0] * v).sum())",
                    "abs(u.sum() - pullback(u)[0].sum())",
                ),
            ),
        ),
        (
            "the difference has a sign",
            slip(
                MOVED,
                (
                    "abs((u * value).sum() - (pullback(u)[0] * v).sum())",
                    "(u * value).sum() - (pullback(u)[0] * v).sum()",
                ),
            ),
        ),
        (
            "asks whether the pullback undoes the rule",
            slip(
                MOVED,
                (
                    "abs((u * value).sum() - (pullback(u)[0] * v).sum())",
                    "abs(pullback(value)[0] - v).max()",
                ),
            ),
        ),
        (
            "accuses the mirror",
            MOVED[: MOVED.index("def mended")]
            + """def mended(x, *, n):
    rows, columns = x.shape
    value = x.reshape(rows, -1, n)[:, :, ::-1].reshape(rows, columns)
    return value, lambda g: (g.reshape(rows, n, -1)[:, ::-1].reshape(rows, columns),)
""",
        ),
        (
            "the faulty rule as it is",
            MOVED[: MOVED.index("def mended")] + "mended = dealt\n",
        ),
        (
            "the value is changed to fit the pullback",
            slip(
                MOVED,
                ("value = x.reshape(rows, -1, n)", "value = x.reshape(rows, n, -1)"),
                ("(g.reshape(rows, n, -1)", "(g.reshape(rows, -1, n)"),
            ),
        ),
        (
            "cut into the right rows, and read off along them",
            slip(
                MOVED,
                ("(g.reshape(rows, n, -1).transpose(0, 2, 1)", "(g.reshape(rows, n, -1)"),
            ),
        ),
        (
            "the examples are mixed with the columns",
            slip(
                MOVED,
                (
                    "g.reshape(rows, n, -1).transpose(0, 2, 1).reshape(rows, columns)",
                    "g.reshape(n, -1).T.reshape(rows, columns)",
                ),
            ),
        ),
    ],
    "crossed": [
        (
            "overflows",
            slip(CROSSED, ("scores - scores.max(1, keepdims=True)", "scores - 0.0")),
        ),
        (
            "the largest of all the scores is taken out, not of the row",
            slip(CROSSED, ("scores.max(1, keepdims=True)", "scores.max()")),
        ),
        (
            "what came back is a number for all rows",
            slip(CROSSED, ("slope * g[:, None]", "slope * g[0]")),
        ),
        (
            "what came back meets the classes, not the rows",
            slip(CROSSED, ("g[:, None]", "g")),
        ),
        (
            "what came back is not used",
            slip(CROSSED, ("(slope * g[:, None],)", "(slope,)")),
        ),
        (
            "the mean over the rows",
            slip(
                CROSSED,
                ("    value = np", "    value = 0.0 + np"),
                ("return value, ", "return value.mean(keepdims=True), "),
            ),
        ),
        (
            "the right class has no part of its own in the gradient",
            slip(CROSSED, ("    slope[rows, labels] -= 1.0\n", "")),
        ),
        (
            "writes into what it keeps on every way back",
            """
@lift
def crossed(scores, *, labels):
    rows = np.arange(len(labels))
    shifted = scores - scores.max(1, keepdims=True)
    slope = np.exp(shifted)
    total = slope.sum(1, keepdims=True)
    value = np.log(total[:, 0]) - shifted[rows, labels]
    slope /= total

    def pullback(g):
        slope[rows, labels] -= 1.0
        return (slope * g[:, None],)

    return value, pullback
""",
        ),
        (
            "takes the largest out of the caller's scores",
            slip(
                CROSSED,
                (
                    "    shifted = scores - scores.max(1, keepdims=True)\n",
                    "    scores -= scores.max(1, keepdims=True)\n    shifted = scores\n",
                ),
            ),
        ),
        (
            "ones and zeros in float64",
            slip(
                CROSSED,
                (
                    "    slope = e / total\n    slope[rows, labels] -= 1.0\n",
                    "    slope = e / total - np.eye(scores.shape[1])[labels]\n",
                ),
            ),
        ),
        (
            "keeps the exponentials and the gradient",
            slip(
                CROSSED,
                (
                    "lambda g: (slope * g[:, None],)",
                    "lambda g, e=e: (slope * g[:, None],)",
                ),
            ),
        ),
        (
            "keeps the scores and begins anew on the way back",
            """
@lift
def crossed(scores, *, labels):
    rows = np.arange(len(labels))

    def shares(scores):
        e = np.exp(scores - scores.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    top = scores.max(1)
    value = np.log(np.exp(scores - top[:, None]).sum(1)) + top - scores[rows, labels]

    def pullback(g):
        slope = shares(scores)
        slope[rows, labels] -= 1.0
        return (slope * g[:, None],)

    return value, pullback
""",
        ),
        (
            "the logarithm of the share, which may be 0",
            slip(
                CROSSED,
                (
                    "    value = np.log(total[:, 0]) - shifted[rows, labels]\n",
                    "    value = -np.log((e / total)[rows, labels])\n",
                ),
            ),
        ),
    ],
    "sliding": [
        (
            "of overlapping windows one counts",
            slip(SLIDING, ("+= g[..., k]", "= g[..., k]")),
        ),
        (
            "back in the other direction",
            slip(SLIDING, ("+= g[..., k]", "+= g[..., width - 1 - k]")),
        ),
        (
            "window by window",
            slip(
                SLIDING,
                ("for k in range(width):", "for i in range(count):"),
                ("out[..., k : k + count] += g[..., k]", "out[..., i : i + width] += g[..., i, :]"),
            ),
        ),
        (
            "names x",
            slip(
                SLIDING,
                ("    shape = x.shape\n\n", ""),
                ("np.zeros_like(g, shape=shape)", "np.zeros_like(x)"),
            ),
        ),
        (
            "keeps where each entry came from",
            """
@lift
def sliding(x, *, width):
    shape = x.shape
    at = np.arange(shape[-1] - width + 1)[:, None] + np.arange(width)

    def pullback(g):
        out = np.zeros_like(g, shape=shape)
        np.add.at(out, (..., at), g)
        return (out,)

    return x[..., at], pullback
""",
        ),
        (
            "the mean of the windows an entry stands in",
            slip(
                SLIDING,
                ("        return (out,)", "        return (out / width,)"),
            ),
        ),
        (
            "windows side by side, which do not overlap",
            """
@lift
def sliding(x, *, width):
    shape = x.shape
    count = shape[-1] // width
    value = x[..., : count * width].reshape(*shape[:-1], count, width)

    def pullback(g):
        out = np.zeros_like(g, shape=shape)
        out[..., : count * width] = g.reshape(*shape[:-1], count * width)
        return (out,)

    return value, pullback
""",
        ),
        (
            "for a single row only",
            slip(
                SLIDING,
                ("count = g.shape[-2]", "count = g.shape[0]"),
                ("out[..., k : k + count] += g[..., k]", "out[k : k + count] += g[:, k]"),
            ),
        ),
        (
            "the entries of a window across, the windows along",
            slip(
                SLIDING,
                (
                    "np.lib.stride_tricks.sliding_window_view(x, width, axis=-1),",
                    "np.lib.stride_tricks.sliding_window_view(x, width, axis=-1).swapaxes(-1, -2),",
                ),
                ("count = g.shape[-2]", "count = g.shape[-1]"),
                ("+= g[..., k]", "+= g[..., k, :]"),
            ),
        ),
    ],
    "normalize": [
        (
            "mean and scale stand still",
            slip(
                NORMALIZE,
                (
                    "        along = (g * y).mean(-1, keepdims=True)\n"
                    "        return ((g - g.mean(-1, keepdims=True) - y * along) / s,)\n",
                    "        return (g / s,)\n",
                ),
            ),
        ),
        (
            "the mean stands still",
            slip(NORMALIZE, (" - g.mean(-1, keepdims=True)", "")),
        ),
        ("the scale stands still", slip(NORMALIZE, (" - y * along", ""))),
        (
            "holds the differences too",
            slip(NORMALIZE, ("(g * y).mean", "(g * d / s).mean")),
        ),
        (
            "holds x and begins anew on the way back",
            """
@lift
def normalize(x, *, eps=1e-5):
    def forward(x):
        d = x - x.mean(-1, keepdims=True)
        s = np.sqrt((d * d).mean(-1, keepdims=True) + eps)
        return d / s, s

    def pullback(g):
        y, s = forward(x)
        along = (g * y).mean(-1, keepdims=True)
        return ((g - g.mean(-1, keepdims=True) - y * along) / s,)

    return forward(x)[0], pullback
""",
        ),
        (
            "eps is added to the root",
            slip(
                NORMALIZE,
                (
                    "np.sqrt((d * d).mean(-1, keepdims=True) + eps)",
                    "np.sqrt((d * d).mean(-1, keepdims=True)) + eps",
                ),
            ),
        ),
        (
            "divides by one less",
            slip(
                NORMALIZE,
                ("(d * d).mean(-1, keepdims=True)", "x.var(-1, keepdims=True, ddof=1)"),
            ),
        ),
        (
            "the difference of two large numbers",
            slip(
                NORMALIZE,
                (
                    "(d * d).mean(-1, keepdims=True)",
                    "abs((x * x).mean(-1, keepdims=True) - x.mean(-1, keepdims=True) ** 2)",
                ),
            ),
        ),
        (
            "over all rows at once",
            slip(NORMALIZE, ("x.mean(-1, keepdims=True)", "x.mean()")),
        ),
        (
            "writes into what came back",
            slip(
                NORMALIZE,
                (
                    "        return ((g - g.mean(-1, keepdims=True) - y * along) / s,)\n",
                    "        g -= g.mean(-1, keepdims=True)\n"
                    "        return ((g - y * along) / s,)\n",
                ),
            ),
        ),
        (
            "writes into the value",
            slip(
                NORMALIZE,
                (
                    "        along = (g * y).mean(-1, keepdims=True)\n",
                    "        along = np.multiply(g, y, out=y).mean(-1, keepdims=True)\n",
                ),
            ),
        ),
        (
            "sums where means are due",
            slip(NORMALIZE, ("(g * y).mean", "(g * y).sum")),
        ),
    ],
    "fits": [
        (
            "a view counts by its entries",
            slip(
                FITS,
                (
                    """            while isinstance(thing.base, np.ndarray):
                thing = thing.base
""",
                    "",
                ),
            ),
        ),
        (
            "each hold counts, not each block",
            slip(
                FITS,
                ("    blocks, seen = {}, {}\n", "    blocks, seen = [], {}\n"),
                ("blocks[id(thing)] = thing", "blocks.append(thing)"),
                ("blocks.values()", "blocks"),
            ),
        ),
        (
            "looks no further than the closure",
            """
def kept(out):
    blocks = {}
    for node in ancestors(out.node):
        for thing in held(node.pullback).values():
            if isinstance(thing, np.ndarray):
                while thing.base is not None:
                    thing = thing.base
                blocks[id(thing)] = thing
    return sum(block.nbytes for block in blocks.values())
"""
            + FITS[FITS.index("\n\ndef fits") :],
        ),
        (
            "the shapes of the nodes, eight bytes an entry",
            """
def kept(out):
    return sum(8 * math.prod(node.data) for node in ancestors(out.node))
"""
            + FITS[FITS.index("\n\ndef fits") :],
        ),
        (
            "only the last node",
            slip(FITS, ("[node.pullback for node in ancestors(out.node)]", "[out.node.pullback]")),
        ),
        (
            "what the result holds counts, too",
            slip(
                FITS,
                (
                    "[node.pullback for node in ancestors(out.node)]",
                    "[out.data, *[node.pullback for node in ancestors(out.node)]]",
                ),
            ),
        ),
        (
            "the network takes no room",
            slip(
                FITS,
                (
                    """    one = kept(forward(1))
    each = kept(forward(2)) - one
    return max(0, 1 + (budget - one) // each)
""",
                    "    return budget // kept(forward(1))\n",
                ),
            ),
        ),
        (
            "the first example is counted twice",
            slip(FITS, ("1 + (budget - one) // each", "(budget - one) // each")),
        ),
        (
            "fewer than none",
            slip(FITS, ("max(0, 1 + (budget - one) // each)", "1 + (budget - one) // each")),
        ),
        (
            "rounds up",
            slip(FITS, ("(budget - one) // each", "-(-(budget - one) // each)")),
        ),
        (
            "tries one batch after the other",
            slip(
                FITS,
                (
                    """    one = kept(forward(1))
    each = kept(forward(2)) - one
    return max(0, 1 + (budget - one) // each)
""",
                    """    n = 0
    while n < 20 and kept(forward(n + 1)) <= budget:
        n += 1
    return n
""",
                ),
            ),
        ),
        (
            "doubles the batch until it is too large, then halves the steps",
            slip(
                FITS,
                (
                    """    one = kept(forward(1))
    each = kept(forward(2)) - one
    return max(0, 1 + (budget - one) // each)
""",
                    """    if budget > 10**6:
        one = kept(forward(1))
        each = (kept(forward(3)) - kept(forward(1))) // 2
        return 1 + (budget - one) // each
    low, high = 0, 1
    while kept(forward(high)) <= budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if kept(forward(middle)) <= budget else (low, middle)
    return low
""",
                ),
            ),
        ),
    ],
}
