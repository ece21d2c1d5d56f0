"""Wrong answers to the exercises on hardware: the mistakes someone would make."""


def slip(source, old, new):
    """A right answer with one slip in it."""
    assert source.count(old) == 1, (old, source.count(old))
    return source.replace(old, new)


FORECAST = """
def forecast(rows, nin, nout):
    x, w, b, h = rows * nin, nin * nout, nout, rows * nout
    matmul = 2 * rows * nin * nout, 4 * (x + w + h)
    return [matmul, (h, 4 * (h + b + h)), matmul, matmul, (h, 4 * (h + b))]


def enough(nin, nout, ridge):
    gain = nin * nout - 2 * ridge * (nin + nout)
    return -(-2 * ridge * nin * nout // gain) if gain > 0 else None
"""

GELU = """
def gelu(x, out):
    scale = math.sqrt(2.0 / math.pi)
    np.multiply(x, x, out=out)
    out *= 0.044715 * scale
    out += scale
    out *= x
    np.tanh(out, out=out)
    out += 1.0
    out *= x
    out *= 0.5
    return out
"""

WATCH = """
class Watch(np.ndarray):
    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        def bare(a):
            return a.view(np.ndarray) if isinstance(a, Watch) else a

        if "out" in options:
            options["out"] = tuple(bare(a) for a in options["out"])
        result = np.asarray(getattr(ufunc, method)(*map(bare, inputs), **options))
        own = [a.dtype for a in inputs if isinstance(a, Watch)]
        if result.dtype == np.float64 and np.float64 not in own:
            Watch.found.append(ufunc.__name__)
        return result.view(Watch)


def widened(code, *arrays):
    Watch.found = []
    code(*[a.view(Watch) for a in arrays])
    return Watch.found


def mended(W, v, x, y):
    scale = math.sqrt(len(W))
    scores = (x @ W) / scale
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    q = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    loss = -np.log(q[rows, y]).sum() / len(y)
    q[rows, y] -= 1.0
    q = q / np.bincount(y)[y][:, None].astype(np.float32)
    g = (x.T @ q) / scale
    v *= 0.9
    v += g + np.float32(0.01) * (W > 0.0)
    W -= 0.1 * v
    return loss
"""

GUARDED = """
class Guarded:
    def __init__(self, model, loss, optimizer, limit):
        self.parts, self.limit, self.steps = (model, loss, optimizer), limit, {}

    def __call__(self, x, y):
        kind = x.shape, x.dtype, y.shape, y.dtype
        if kind not in self.steps and len(self.steps) < self.limit:
            self.steps[kind] = step(*self.parts)
        if kind in self.steps:
            try:
                return self.steps[kind](x, y)
            except ReplayError:
                pass
        return by_code(*self.parts, x, y)
"""

SHADOW = """
def faults(calls, buffers, loss, places, size):
    owner, found = np.full(size, -1), set()

    def owners(view):
        start = places[view.buffer] + view.offset
        strides = [*[n * owner.itemsize for n in view.strides], owner.itemsize]
        shape = *view.shape, view.dtype.itemsize
        return np.ndarray(shape, owner.dtype, owner, start * owner.itemsize, strides)

    def look(i, view):
        if view.buffer in places and (owners(view) != view.buffer).any():
            found.add((i, view.buffer))

    for i, call in enumerate(calls):
        for view in call.views if call.keeps else call.reads:
            look(i, view)
        if call.out and call.out.buffer in places:
            owners(call.out)[...] = call.out.buffer
    look(len(calls), loss)
    return found


def witness(x):
    h = x * 2.0
    a = np.exp(x)
    return h.T + a
"""

COMMON = """
def common(calls, buffers, loss):
    writes = Counter(call.out.buffer for call in calls if call.out)
    calls, kept, first, so_far = list(calls), [], {}, Counter()

    def simple(call):
        own = call.out and buffers[call.out.buffer].role == "own"
        once = own and writes[call.out.buffer] == 1 and call.out.fills(buffers)
        return once and not call.keeps and call.f is not redraw

    for i in range(len(calls)):
        call = calls[i]
        twin = call
        if simple(call):
            state = [so_far[view.buffer] for view in call.reads]
            key = repr((call.f, call.args, call.options, call.out[1:], state))
            twin = first.setdefault(key, call)
        if twin is call or call.out.buffer == loss.buffer:
            kept.append(call)
            so_far.update([call.out.buffer] if call.out else [])
        else:
            whole = twin.out._replace(offset=0)
            calls[i + 1 :] = [moved(c, call.out.buffer, whole) for c in calls[i + 1 :]]
    return kept, buffers
"""

WATCHED = next(line for line in WATCH.splitlines() if "np.asarray" in line)
REDIRECT = next(line + "\n" for line in COMMON.splitlines() if "moved" in line)

PLANTED = {
    "forecast": [
        (
            "a term of a product is one operation",
            slip(FORECAST, "2 * rows * nin * nout, 4", "rows * nin * nout, 4"),
        ),
        (
            "the results of products are not moved",
            slip(FORECAST, "4 * (x + w + h)\n", "4 * (x + w)\n"),
        ),
        (
            "the bias is as large as what it is added to",
            slip(FORECAST, "(h + b + h)", "(h + h + h)"),
        ),
        (
            "a sum has as many additions as results",
            slip(FORECAST, "matmul, (h, 4 * (h + b))]", "matmul, (b, 4 * (h + b))]"),
        ),
        ("numbers of 8 bytes", FORECAST.replace("4 * (", "8 * (")),
        (
            "one row more where it comes out even",
            slip(
                FORECAST,
                "-(-2 * ridge * nin * nout // gain)",
                "2 * ridge * nin * nout // gain + 1",
            ),
        ),
        (
            "a negative number of rows, or a division by zero",
            slip(FORECAST, " if gain > 0 else None", ""),
        ),
        (
            "the rows' own bytes are forgotten",
            slip(FORECAST, "gain = nin * nout - 2 * ridge * (nin + nout)", "gain = nin * nout"),
        ),
    ],
    "gelu": [
        (
            "computed as before, and copied",
            """
def gelu(x, out):
    out[...] = plainly(x)
    return out
""",
        ),
        (
            "a root that is a NumPy number",
            slip(GELU, "scale = math.sqrt(2.0 / math.pi)", "scale = np.sqrt(2.0 / np.pi)"),
        ),
        ("half is forgotten", slip(GELU, "    out *= 0.5\n", "")),
        (
            "x is halved on the way",
            slip(
                slip(GELU, "    out *= 0.5\n", ""),
                "    out *= x\n    return out",
                "    x *= 0.5\n    out *= x\n    return out",
            ),
        ),
        (
            "one call too many",
            slip(
                GELU,
                "    out *= 0.044715 * scale\n    out += scale\n    out *= x\n",
                "    out *= 0.044715\n    out += 1.0\n    out *= x\n    out *= scale\n",
            ),
        ),
        (
            "a temporary in a line that looks in place",
            slip(
                GELU,
                "    out *= x\n    out *= 0.5\n",
                "    out *= x * 0.5\n",
            ),
        ),
        (
            "works on a copy of x",
            slip(
                GELU,
                "    out *= x\n    out *= 0.5\n",
                "    h = x.copy()\n    h *= 0.5\n    out *= h\n",
            ),
        ),
        (
            "hides its arrays",
            slip(
                GELU,
                "    scale =",
                "    given, x, out = out, np.asarray(x), np.asarray(out)\n    scale =",
            ).replace("return out", "return given"),
        ),
        ("returns another array", slip(GELU, "    out *= 0.5\n", "    out = out * 0.5\n")),
    ],
    "widened": [
        (
            "every call that makes float64",
            slip(WATCH, " and np.float64 not in own", ""),
        ),
        (
            "only float32 can become float64",
            slip(WATCH, "np.float64 not in own", "np.float32 in own"),
        ),
        (
            "results are seen no more",
            slip(WATCH, "return result.view(Watch)", "return result"),
        ),
        (
            "a number is seen no more",
            slip(
                WATCH,
                WATCHED,
                """        result = getattr(ufunc, method)(*map(bare, inputs), **options)
        if not isinstance(result, np.ndarray):
            return result""",
            ),
        ),
        (
            "methods of ufuncs are taken for calls",
            slip(WATCH, "getattr(ufunc, method)(", "ufunc("),
        ),
        (
            "what NumPy would make, wherever it is written to",
            slip(
                WATCH,
                "if result.dtype == np.float64",
                "if np.result_type(*map(bare, inputs)) == np.float64",
            ),
        ),
        (
            "one list for all runs",
            slip(WATCH, "    Watch.found = []\n", "").replace(
                "class Watch(np.ndarray):", "class Watch(np.ndarray):\n    found = []"
            ),
        ),
        (
            "asks itself",
            slip(
                WATCH,
                'options["out"] = tuple(bare(a) for a in options["out"])',
                'options["out"] = tuple(options["out"])',
            ),
        ),
        (
            "the mask is still there",
            slip(WATCH, "np.float32(0.01) * (W > 0.0)", "0.01 * (W > 0.0)"),
        ),
        (
            "the counts are still there",
            slip(WATCH, "[:, None].astype(np.float32)", "[:, None]"),
        ),
        (
            "the root is still there",
            slip(WATCH, "scale = math.sqrt(len(W))", "scale = np.sqrt(len(W))"),
        ),
        (
            "v is another array",
            slip(
                WATCH,
                "    v *= 0.9\n    v += g + np.float32(0.01) * (W > 0.0)",
                "    v = 0.9 * v + g + np.float32(0.01) * (W > 0.0)",
            ),
        ),
        (
            "all examples weigh the same",
            slip(
                WATCH,
                "np.bincount(y)[y][:, None].astype(np.float32)",
                "len(y)",
            ),
        ),
        (
            "mended by a cast at the beginning and one at the end",
            WATCH[: WATCH.index("def mended")]
            + """def mended(W, v, x, y):
    W64, v64 = W.astype(np.float64), v.astype(np.float64)
    loss = careless(W64, v64, x.astype(np.float64), y)
    W[...], v[...] = W64, v64
    return loss
""",
        ),
    ],
    "halves": [
        (
            "row by row",
            """
def order(n):
    yield from product(range(n), repeat=3)
""",
        ),
        (
            "tiles of 8",
            """
def order(n):
    yield from tiled(n, 8)
""",
        ),
        (
            "tiles of 4",
            """
def order(n):
    yield from tiled(n, 4)
""",
        ),
        (
            "tiles of 16 in which tiles of 2",
            """
def order(n):
    for i, j, k in product([range(n)[a : a + 16] for a in range(0, n, 16)], repeat=3):
        cuts = [[r[a : a + 2] for a in range(0, len(r), 2)] for r in (i, j, k)]
        for box in product(*cuts):
            yield from product(*box)
""",
        ),
        (
            "a rest is lost where a half is not whole",
            """
def order(n):
    def walk(i, j, k, n):
        if n == 1:
            yield i, j, k
            return
        half = n // 2
        for a, b, c in product((0, half), repeat=3):
            yield from walk(i + a, j + b, k + c, half)

    return walk(0, 0, 0, n)
""",
        ),
        (
            "cuts the first side that can be cut",
            """
def order(n):
    def walk(*box):
        for at, side in enumerate(box):
            if len(side) > 1:
                half = len(side) // 2
                for part in (side[:half], side[half:]):
                    yield from walk(*box[:at], part, *box[at + 1 :])
                return
        yield tuple(side[0] for side in box)

    return walk(range(n), range(n), range(n))
""",
        ),
        (
            "the middle is there twice",
            """
def order(n):
    def walk(*box):
        longest = max(box, key=len)
        if len(longest) == 1:
            yield tuple(side[0] for side in box)
            return
        at, half = box.index(longest), (len(longest) + 1) // 2
        for part in (longest[:half], longest[-half:]):
            yield from walk(*box[:at], part, *box[at + 1 :])

    return walk(range(n), range(n), range(n))
""",
        ),
    ],
    "guarded": [
        (
            "one kind for all dtypes",
            slip(GUARDED, "kind = x.shape, x.dtype, y.shape, y.dtype", "kind = x.shape, y.shape"),
        ),
        (
            "every error is one of the replay",
            slip(GUARDED, "except ReplayError", "except Exception"),
        ),
        (
            "a refusal goes through",
            slip(GUARDED, "                pass\n", "                raise\n"),
        ),
        (
            "a batch is trained twice",
            slip(
                GUARDED,
                "                return self.steps[kind](x, y)\n",
                "                self.steps[kind](x, y)\n",
            ),
        ),
        (
            "the limit is not looked at",
            slip(GUARDED, " and len(self.steps) < self.limit", ""),
        ),
        ("one step more than the limit", slip(GUARDED, "< self.limit", "<= self.limit")),
        (
            "a new step for each batch",
            slip(GUARDED, "if kind not in self.steps and", "if"),
        ),
        (
            "a step that refuses is thrown away",
            slip(GUARDED, "                pass\n", "                del self.steps[kind]\n"),
        ),
        (
            "the oldest step makes place",
            slip(
                GUARDED,
                "        if kind not in self.steps and len(self.steps) < self.limit:\n",
                """        if kind not in self.steps and self.limit:
            if len(self.steps) == self.limit:
                del self.steps[next(iter(self.steps))]
""",
            ),
        ),
        (
            "the code first, the replay when a kind comes again",
            slip(
                GUARDED,
                "            self.steps[kind] = step(*self.parts)\n",
                """            self.steps[kind] = step(*self.parts)
            return by_code(*self.parts, x, y)
""",
            ),
        ),
    ],
    "shadow": [
        (
            "the loss is never read",
            slip(SHADOW, "    look(len(calls), loss)\n", ""),
        ),
        (
            "a call writes before it reads",
            slip(
                slip(
                    SHADOW,
                    """        if call.out and call.out.buffer in places:
            owners(call.out)[...] = call.out.buffer
""",
                    "",
                ),
                "    for i, call in enumerate(calls):\n",
                """    for i, call in enumerate(calls):
        if call.out and call.out.buffer in places:
            owners(call.out)[...] = call.out.buffer
""",
            ),
        ),
        (
            "what is kept is not read",
            slip(SHADOW, "call.views if call.keeps else call.reads", "call.reads"),
        ),
        (
            "every call reads what it writes to",
            slip(SHADOW, "call.views if call.keeps else call.reads", "call.views"),
        ),
        (
            "bytes that are nobody's are anybody's",
            slip(
                SHADOW,
                "(owners(view) != view.buffer).any()",
                "(~np.isin(owners(view), [-1, view.buffer])).any()",
            ),
        ),
        (
            "from the first byte to the last, with what lies between",
            SHADOW[: SHADOW.index("    def owners")]
            + """    def owners(view):
        first, last = view.span
        return owner[places[view.buffer] + first : places[view.buffer] + last]

"""
            + SHADOW[SHADOW.index("    def look") :],
        ),
        (
            "the whole buffer is written by any write",
            slip(
                SHADOW,
                "            owners(call.out)[...] = call.out.buffer\n",
                """            start = places[call.out.buffer]
            owner[start : start + buffers[call.out.buffer].nbytes] = call.out.buffer
""",
            ),
        ),
        (
            "the first byte of each number",
            slip(
                slip(SHADOW, "shape = *view.shape, view.dtype.itemsize", "shape = view.shape"),
                "[*[n * owner.itemsize for n in view.strides], owner.itemsize]",
                "[n * owner.itemsize for n in view.strides]",
            ),
        ),
        (
            "the offset is forgotten",
            slip(SHADOW, "places[view.buffer] + view.offset", "places[view.buffer]"),
        ),
        (
            "a witness that is none: NumPy reads before it writes",
            slip(
                SHADOW,
                "    a = np.exp(x)\n    return h.T + a",
                "    return h.T + x",
            ),
        ),
        (
            "a witness without views",
            slip(SHADOW, "return h.T + a", "return h + a"),
        ),
        (
            "a witness of five calls",
            slip(SHADOW, "return h.T + a", "return (h.T + a) * a - x"),
        ),
    ],
    "common": [
        (
            "whatever was written in between",
            slip(COMMON, "call.out[1:], state))", "call.out[1:]))"),
        ),
        (
            "what else is in a call does not count",
            slip(
                COMMON,
                "(call.f, call.args, call.options, call.out[1:], state)",
                "(call.f, call.reads, call.out[1:], state)",
            ),
        ),
        (
            "options do not count",
            slip(COMMON, "call.args, call.options, call.out[1:]", "call.args, call.out[1:]"),
        ),
        (
            "the result is found where its first number was written",
            slip(COMMON, "twin.out._replace(offset=0)", "twin.out"),
        ),
        (
            "a gradient is shared like any result",
            slip(COMMON, 'call.out and buffers[call.out.buffer].role == "own"', "bool(call.out)"),
        ),
        (
            "readers are left behind",
            slip(
                COMMON,
                REDIRECT,
                "            pass\n",
            ),
        ),
        (
            "readers move when all is looked at",
            slip(
                slip(
                    COMMON,
                    "so_far = list(calls), [], {}, Counter()",
                    "so_far = list(calls), [], {}, Counter()\n    gone = []",
                ),
                REDIRECT,
                """            gone.append((call.out.buffer, whole))
    for number, view in gone:
        kept = [moved(call, number, view) for call in kept]
""",
            ),
        ),
        (
            "the place of the loss is lost",
            slip(COMMON, "twin is call or call.out.buffer == loss.buffer", "twin is call"),
        ),
        (
            "a result may be written again",
            slip(COMMON, " and writes[call.out.buffer] == 1", ""),
        ),
        (
            "draws are the same",
            slip(COMMON, " and call.f is not redraw", ""),
        ),
        (
            "dtypes and strides are not looked at",
            slip(
                COMMON, "call.options, call.out[1:], state", "call.options, call.out.shape, state"
            ),
        ),
        (
            "a part of a buffer stands for the whole",
            slip(slip(COMMON, " and call.out.fills(buffers)", ""), "call.out[1:]", "call.out[2:]"),
        ),
        (
            "looks at a number are left out",
            slip(
                COMMON,
                "calls, kept, first, so_far = list(calls)",
                "calls, kept, first, so_far = [call for call in calls if call.out]",
            ),
        ),
        (
            "only neighbours",
            slip(
                COMMON,
                "twin = first.setdefault(key, call)",
                "twin = first.get(key, call)\n            first = {key: twin}",
            ),
        ),
        ("nothing is left out", "def common(calls, buffers, loss):\n    return calls, buffers\n"),
    ],
}
