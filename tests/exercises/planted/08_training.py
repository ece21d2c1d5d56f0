"""Wrong answers to the exercises on training: the mistakes someone would make."""

NESTEROV = """
class Nesterov(Optimizer):
    settings = ("momentum",)

    def __init__(self, params, lr=1e-3, momentum=0.9):
        self.momentum = number("momentum", momentum)
        super().__init__(params, lr, "velocity")

    def update(self):
        for p, g, v, t in self.blocks:
            v *= self.momentum
            v += g
            np.multiply(v, self.momentum, out=t)
            t += g
            t *= self.lr
            p -= t
"""

GAIN = """
def gain(act):
    z = np.random.default_rng(0).standard_normal(1_000_000)
    return float(1.0 / np.sqrt(np.mean(act(z) ** 2)))


def holding(act):
    factor = gain(act)

    def init(shape, rng):
        return rng.standard_normal(shape, np.float32) * (factor / math.sqrt(shape[0]))

    return init
"""

LOOP = """
def train(model, loss, optimizer, data, held_out, *, epochs, size, rng, schedule, longest):
    history, step, base = [], 0, optimizer.lr
    for _ in range(epochs):
        model.train()
        total = 0.0
        for x, y in batches(*data, size=size, rng=rng):
            optimizer.lr = base * schedule(step)
            optimizer.zero_grad()
            value = loss(model(x), y)
            value.backward()
            clip_grad_norm(model.parameters(), longest)
            optimizer.step()
            total += value.item() * len(x)
            step += 1
        model.eval()
        with no_grad():
            right = accuracy(model(held_out[0]), held_out[1])
        history.append((total / len(data[0]), right))
    model.train()
    optimizer.lr = base
    return history
"""

ADAM = """
def witness():
    return [0.0, 0.0, 0.0, 0.0, 1e-12]


def mended(p, g, m, s, t, step, lr, b1, b2, eps):
    root = math.sqrt((1.0 - b2) / (1.0 - b2**step))
    rate = lr * (1.0 - b1) / (1.0 - b1**step) / root
    m *= b1
    m += g
    s *= b2
    np.multiply(g, g, out=t)
    s += t
    np.sqrt(s, out=t)
    t += eps / root
    np.divide(m, t, out=t)
    t *= rate
    p -= t
"""

NOISE = """
def signal_and_scatter(model, loss, x, y):
    rows = []
    for i in range(len(x)):
        model.zero_grad()
        loss(model(x[i : i + 1]), y[i : i + 1]).backward()
        parts = [np.zeros(p.size) if p.grad is None else p.grad for p in model.parameters()]
        rows.append(np.concatenate([np.ravel(part) for part in parts]))
    rows = np.array(rows, float)
    mean = rows.mean(0)
    return float((mean**2).sum()), float(((rows - mean) ** 2).sum(1).mean())


def spread(scatter, n, size):
    return scatter / size * (n - size) / (n - 1)


def enough(signal, scatter, n):
    return next(size for size in range(1, n + 1) if spread(scatter, n, size) <= signal)
"""

DEPTHWISE = """
@partial(lift, spreads=False)
def depthwise(x, w):
    _, a, b = w.shape
    down, across = x.shape[2] - a + 1, x.shape[3] - b + 1
    places = [
        ((..., i, j, None, None), (..., slice(i, i + down), slice(j, j + across)))
        for i in range(a)
        for j in range(b)
    ]
    value = np.zeros_like(x, shape=(*x.shape[:2], down, across))
    for place, piece in places:
        value += x[piece] * w[place]

    def pullback(g):
        images, filters = np.zeros_like(x), np.zeros_like(w)
        for place, piece in places:
            images[piece] += g * w[place]
            filters[place] = (g * x[piece]).sum((0, 2, 3))[:, None, None]
        return images, filters

    return value, pullback
"""

RESUME = """
def keep(run, path):
    save(
        path,
        model=run.model,
        optimizer=run.optimizer,
        rng=run.rng,
        order=[int(row) for row in run.order],
        at=run.at,
        mean=run.centred.mean.tolist(),
        seen=run.centred.seen,
    )


def go_on(run, path):
    notes = load(path)
    order, at = np.array(notes["order"], int), notes["at"]
    mean, seen = np.array(notes["mean"], np.float32), notes["seen"]
    load(path, model=run.model, optimizer=run.optimizer, rng=run.rng)
    run.order, run.at = order, at
    run.centred.mean, run.centred.seen = mean, seen
"""


def slip(source, *changes):
    """A right answer with one slip in it: (old, new) for each place that it shows in."""
    for old, new in changes:
        assert source.count(old) == 1, (old, source.count(old))
        source = source.replace(old, new)
    return source


# Every part of the state by hand, into one file: what someone writes who does without checkpoints.
BY_HAND = """
def keep(run, path):
    arrays = {f"model/{k}": a for k, a in run.model.state_dict().items()}
    arrays |= {f"optimizer/{k}": a for k, a in run.optimizer.state_dict().items()}
    arrays |= {"order": np.array(run.order, int), "at": run.at}
    arrays |= {"mean": run.centred.mean, "seen": run.centred.seen}
    arrays["rng"] = np.array(repr(run.rng.bit_generator.state))
    part = Path(f"{path}.part")
    with open(part, "wb") as file:
        np.savez(file, **arrays)
    os.replace(part, path)


def go_on(run, path):
    from ast import literal_eval

    with np.load(path) as file:
        found = {name: file[name] for name in file.files}
    parts = {"model": {}, "optimizer": {}}
    for name, a in found.items():
        owner, _, key = name.partition("/")
        if key:
            parts[owner][key] = a
    run.model.check_state_dict(parts["model"])
    run.optimizer.check_state_dict(parts["optimizer"])
    run.model.load_state_dict(parts["model"])
    run.optimizer.load_state_dict(parts["optimizer"])
    run.rng.bit_generator.state = literal_eval(str(found["rng"]))
    run.order, run.at = found["order"], int(found["at"])
    run.centred.mean, run.centred.seen = found["mean"], int(found["seen"])
"""

PLANTED = {
    "nesterov": [
        (
            "momentum that does not look ahead",
            slip(
                NESTEROV,
                ("            np.multiply(v, self.momentum, out=t)\n            t += g\n", ""),
                ("            t *= self.lr\n", "            np.multiply(v, self.lr, out=t)\n"),
            ),
        ),
        (
            "looks ahead with the old velocity",
            """
class Nesterov(Optimizer):
    settings = ("momentum",)

    def __init__(self, params, lr=1e-3, momentum=0.9):
        self.momentum = number("momentum", momentum)
        super().__init__(params, lr, "velocity")

    def update(self):
        for p, g, v, t in self.blocks:
            np.multiply(v, self.momentum, out=t)
            v *= self.momentum
            v += g
            t += g
            t *= self.lr
            p -= t
""",
        ),
        (
            "the learning rate goes into the velocity",
            """
class Nesterov(Optimizer):
    settings = ("momentum",)

    def __init__(self, params, lr=1e-3, momentum=0.9):
        self.momentum = number("momentum", momentum)
        super().__init__(params, lr, "velocity")

    def update(self):
        for p, g, v, t in self.blocks:
            np.multiply(g, self.lr, out=t)
            v *= self.momentum
            v += t
            p -= t
            np.multiply(v, self.momentum, out=t)
            p -= t
""",
        ),
        (
            "writes into the gradient",
            slip(
                NESTEROV,
                ("            t += g\n            t *= self.lr\n", "            g += t\n"),
                (
                    "            p -= t",
                    "            np.multiply(g, self.lr, out=t)\n            p -= t",
                ),
            ),
        ),
        (
            "makes arrays",
            """
class Nesterov(Optimizer):
    settings = ("momentum",)

    def __init__(self, params, lr=1e-3, momentum=0.9):
        self.momentum = number("momentum", momentum)
        super().__init__(params, lr, "velocity")

    def update(self):
        for p, g, v, _ in self.blocks:
            v *= self.momentum
            v += g
            p -= self.lr * (g + self.momentum * v)
""",
        ),
        (
            "eight passes",
            """
class Nesterov(Optimizer):
    settings = ("momentum",)

    def __init__(self, params, lr=1e-3, momentum=0.9):
        self.momentum = number("momentum", momentum)
        super().__init__(params, lr, "velocity")

    def update(self):
        for p, g, v, t in self.blocks:
            np.multiply(v, self.momentum, out=t)
            np.add(t, g, out=v)
            np.multiply(v, self.lr * self.momentum, out=t)
            p -= t
            np.copyto(t, g)
            np.multiply(t, self.lr, out=t)
            np.negative(t, out=t)
            p += t
""",
        ),
        (
            "moves the first block only",
            slip(NESTEROV, ("in self.blocks", "in self.blocks[:1]")),
        ),
        (
            "the velocity is not in the state",
            """
class Nesterov(Optimizer):
    settings = ("momentum",)

    def __init__(self, params, lr=1e-3, momentum=0.9):
        self.momentum = number("momentum", momentum)
        super().__init__(params, lr)
        self.velocities = [np.zeros_like(block[0]) for block in self.blocks]

    def update(self):
        for (p, g, t), v in zip(self.blocks, self.velocities, strict=True):
            v *= self.momentum
            v += g
            np.multiply(v, self.momentum, out=t)
            t += g
            t *= self.lr
            p -= t
""",
        ),
        (
            "takes any momentum",
            slip(NESTEROV, ('number("momentum", momentum)', "momentum")),
        ),
    ],
    "gain": [
        (
            "the deviation from the mean",
            slip(GAIN, ("np.sqrt(np.mean(act(z) ** 2))", "act(z).std()")),
        ),
        (
            "the root is missing",
            slip(GAIN, ("np.sqrt(np.mean(act(z) ** 2))", "np.mean(act(z) ** 2)")),
        ),
        ("the gain upside down", slip(GAIN, ("1.0 / np.sqrt", "np.sqrt"))),
        ("the outputs are counted", slip(GAIN, ("shape[0]", "shape[1]"))),
        (
            "divides by the inputs and not their root",
            slip(GAIN, ("math.sqrt(shape[0])", "shape[0]")),
        ),
        (
            "the slope at 0",
            slip(
                GAIN,
                ("    z = np.random.default_rng(0).standard_normal(1_000_000)\n", ""),
                ("1.0 / np.sqrt(np.mean(act(z) ** 2))", "0.02 / (act(0.01) - act(-0.01))"),
            ),
        ),
        (
            "z is uniform",
            slip(GAIN, ("standard_normal(1_000_000)", "uniform(-1.0, 1.0, 1_000_000)")),
        ),
        ("weights in float64", slip(GAIN, ("shape, np.float32", "shape"))),
        (
            "a generator of its own for the weights",
            slip(
                GAIN,
                ("return rng.standard_normal(", "return np.random.default_rng().standard_normal("),
            ),
        ),
        (
            "uniform weights, too narrow",
            slip(
                GAIN,
                (
                    "rng.standard_normal(shape, np.float32)",
                    "(2 * rng.random(shape, np.float32) - 1)",
                ),
            ),
        ),
        (
            "uniform weights of the right variance",
            slip(
                GAIN,
                (
                    "rng.standard_normal(shape, np.float32)",
                    "np.float32(math.sqrt(12)) * (rng.random(shape, np.float32) - np.float32(0.5))",
                ),
            ),
        ),
    ],
    "loop": [
        (
            "the schedule compounds",
            slip(
                LOOP,
                ("optimizer.lr = base * schedule(step)", "optimizer.lr *= schedule(step)"),
            ),
        ),
        (
            "the schedule is asked once in an epoch",
            slip(
                LOOP,
                ("            optimizer.lr = base * schedule(step)\n", ""),
                (
                    "        model.train()\n        total",
                    "        optimizer.lr = base * schedule(step)\n"
                    "        model.train()\n        total",
                ),
            ),
        ),
        (
            "the schedule begins anew in each epoch",
            slip(
                LOOP,
                ("history, step, base = [], 0,", "history, base = [],"),
                ("total = 0.0", "total, step = 0.0, 0"),
            ),
        ),
        (
            "clips what is not there yet",
            slip(
                LOOP,
                ("            clip_grad_norm(model.parameters(), longest)\n", ""),
                (
                    "            value.backward()\n",
                    "            clip_grad_norm(model.parameters(), longest)\n"
                    "            value.backward()\n",
                ),
            ),
        ),
        (
            "clips each parameter by itself",
            slip(
                LOOP,
                (
                    "            clip_grad_norm(model.parameters(), longest)\n",
                    "            for p in model.parameters():\n"
                    "                np.clip(p.grad, -longest, longest / 2, out=p.grad)\n",
                ),
            ),
        ),
        (
            "stays in use after the first epoch",
            slip(
                LOOP,
                ("        model.train()\n        total", "        total"),
                (
                    "    for _ in range(epochs):\n",
                    "    model.train()\n    for _ in range(epochs):\n",
                ),
            ),
        ),
        (
            "is in use afterwards",
            slip(
                LOOP, ("    model.train()\n    optimizer.lr = base\n", "    optimizer.lr = base\n")
            ),
        ),
        (
            "the last batch counts as a full one",
            slip(
                LOOP,
                ("value.item() * len(x)", "value.item()"),
                ("total / len(data[0])", "total / math.ceil(len(data[0]) / size)"),
            ),
        ),
        (
            "every batch counts as a full one",
            slip(LOOP, ("value.item() * len(x)", "value.item() * size")),
        ),
        ("those held out are judged in training", slip(LOOP, ("        model.eval()\n", ""))),
        (
            "the learning rate is left as the schedule had it",
            slip(LOOP, ("    optimizer.lr = base\n", "")),
        ),
    ],
    "adam": [
        ("eps times the root", slip(ADAM, ("eps / root", "eps * root"))),
        ("eps over the square of the root", slip(ADAM, ("eps / root", "eps / root**2"))),
        ("eps as it was", slip(ADAM, ("eps / root", "eps"))),
        ("no eps at all", slip(ADAM, ("    t += eps / root\n", ""))),
        (
            "eps under the root",
            slip(
                ADAM,
                (
                    "    np.sqrt(s, out=t)\n    t += eps / root\n",
                    "    np.add(s, eps, out=t)\n    np.sqrt(t, out=t)\n",
                ),
            ),
        ),
        (
            "eleven passes",
            slip(
                ADAM,
                (" / root\n    m *= b1", "\n    m *= b1"),
                ("    t += eps / root\n", "    t *= root\n    t += eps\n"),
            ),
        ),
        (
            "as published, in new arrays",
            """
def witness():
    return [1e-12] * 12


def mended(p, g, m, s, t, step, lr, b1, b2, eps):
    m[...] = b1 * m + (1.0 - b1) * g
    s[...] = b2 * s + (1.0 - b2) * g * g
    mean, square = m / (1.0 - b1**step), s / (1.0 - b2**step)
    p -= lr * mean / (np.sqrt(square) + eps)
""",
        ),
        (
            "the sums are corrected again and again",
            slip(
                ADAM,
                (
                    "    np.sqrt(s, out=t)\n    t += eps / root\n",
                    "    s *= root**2\n    np.sqrt(s, out=t)\n    t += eps\n",
                ),
                (" / root\n    m *= b1", "\n    m *= b1"),
            ),
        ),
        ("an ordinary witness", slip(ADAM, ("[0.0, 0.0, 0.0, 0.0, 1e-12]", "[1.0, -2.0, 3.0]"))),
        ("a witness of 1e-8", slip(ADAM, ("[0.0, 0.0, 0.0, 0.0, 1e-12]", "[1e-8] * 12"))),
        ("a long witness", slip(ADAM, ("[0.0, 0.0, 0.0, 0.0, 1e-12]", "[1e-12] * 100"))),
        (
            "the square of the gradient goes into the gradient",
            slip(
                ADAM,
                (
                    "    np.multiply(g, g, out=t)\n    s += t\n",
                    "    np.multiply(g, g, out=g)\n    s += g\n",
                ),
            ),
        ),
    ],
    "noise": [
        (
            "the gradients are kept as views",
            slip(
                NOISE,
                (
                    "rows.append(np.concatenate([np.ravel(part) for part in parts]))",
                    "rows.append(parts[0] if len(parts) == 1 else np.concatenate([np.ravel(part) "
                    "for part in parts]))",
                ),
                (
                    "rows = np.array(rows, float)",
                    "rows = np.array(rows, float).reshape(len(x), -1)",
                ),
            ),
        ),
        ("gradients are never cleared", slip(NOISE, ("        model.zero_grad()\n", ""))),
        (
            "an unused parameter is in the way",
            slip(NOISE, ("np.zeros(p.size) if p.grad is None else p.grad", "p.grad")),
        ),
        (
            "a signal of the mean of the squares",
            slip(NOISE, ("float((mean**2).sum())", "float((rows**2).sum(1).mean())")),
        ),
        (
            "the scatter of a sample",
            slip(NOISE, (".sum(1).mean())", ".sum() / (len(x) - 1))")),
        ),
        ("the mean over all entries", slip(NOISE, (".sum(1).mean())", ".mean())"))),
        (
            "the mean of the squares less the square of the mean, in float32",
            slip(
                NOISE,
                ("rows = np.array(rows, float)", "rows = np.array(rows, np.float32)"),
                (
                    "float(((rows - mean) ** 2).sum(1).mean())",
                    "float((rows**2).sum(1).mean() - (mean**2).sum())",
                ),
            ),
        ),
        (
            "the mean of the squares less the square of the mean",
            slip(
                NOISE,
                (
                    "float(((rows - mean) ** 2).sum(1).mean())",
                    "float((rows**2).sum(1).mean() - (mean**2).sum())",
                ),
            ),
        ),
        (
            "measures in training mode, whatever the model is in",
            slip(NOISE, ("    rows = []\n", "    model.train()\n    rows = []\n")),
        ),
        (
            "leaves the model in use",
            slip(NOISE, ("    rows = np.array", "    model.eval()\n    rows = np.array")),
        ),
        (
            "goes over the examples twice",
            slip(
                NOISE,
                (
                    "    rows = []\n",
                    "    for i in range(len(x)):\n"
                    "        loss(model(x[i : i + 1]), y[i : i + 1]).backward()\n    rows = []\n",
                ),
            ),
        ),
        ("as if with repetition", slip(NOISE, (" * (n - size) / (n - 1)", ""))),
        ("n in place of n - 1", slip(NOISE, ("/ (n - 1)", "/ n"))),
        ("the root of the size", slip(NOISE, ("scatter / size", "scatter / size**0.5"))),
        (
            "as if there were no end of examples",
            slip(
                NOISE,
                (
                    "next(size for size in range(1, n + 1) if spread(scatter, n, size) <= signal)",
                    "min(n, max(1, math.ceil(scatter / signal))) if signal else n",
                ),
            ),
        ),
        (
            "one too many",
            slip(NOISE, ("return next(size for", "return next(size + 1 for")),
        ),
    ],
    "depthwise": [
        (
            "the filters are turned round",
            slip(
                DEPTHWISE,
                ("(..., i, j, None, None)", "(..., a - 1 - i, b - 1 - j, None, None)"),
            ),
        ),
        (
            "the sides of the filter are swapped",
            slip(DEPTHWISE, ("    _, a, b = w.shape\n", "    _, b, a = w.shape\n")),
        ),
        (
            "the pieces overwrite each other on the way back",
            slip(DEPTHWISE, ("images[piece] += g", "images[piece] = g")),
        ),
        (
            "the gradient of a filter forgets g",
            slip(DEPTHWISE, ("(g * x[piece])", "x[piece]")),
        ),
        (
            "one filter's gradient for all channels",
            slip(
                DEPTHWISE,
                (".sum((0, 2, 3))[:, None, None]", ".sum()"),
            ),
        ),
        (
            "the mean over the batch",
            slip(
                DEPTHWISE,
                (".sum((0, 2, 3))[:, None, None]", ".mean(0).sum((1, 2))[:, None, None]"),
            ),
        ),
        (
            "windows are laid out and kept",
            """
@partial(lift, spreads=False)
def depthwise(x, w):
    _, a, b = w.shape
    down, across = x.shape[2] - a + 1, x.shape[3] - b + 1
    pieces = np.stack(
        [x[..., i : i + down, j : j + across] for i in range(a) for j in range(b)], -1
    )
    flat = w.reshape(len(w), a * b)
    value = (pieces * flat[:, None, None, :]).sum(-1)

    def pullback(g):
        images = np.zeros_like(x)
        for k in range(a * b):
            i, j = divmod(k, b)
            images[..., i : i + down, j : j + across] += g * flat[:, k, None, None]
        return images, (g[..., None] * pieces).sum((0, 2, 3)).reshape(w.shape)

    return value, pullback
""",
        ),
        (
            "the windows are laid out on the way back",
            slip(
                DEPTHWISE,
                (
                    "        for place, piece in places:\n            images",
                    "        products = [g * x[piece] for _, piece in places]\n"
                    "        for (place, piece), product in zip(places, products):\n"
                    "            images",
                ),
                ("(g * x[piece]).sum", "product.sum"),
            ),
        ),
        (
            "the products are kept for the way back",
            slip(
                DEPTHWISE,
                (
                    "    for place, piece in places:\n        value += x[piece] * w[place]\n",
                    "    products = [x[piece] * w[place] for place, piece in places]\n"
                    "    for product in products:\n        value += product\n",
                ),
                (
                    "images, filters = np.zeros_like(x)",
                    "assert products\n        images, filters = np.zeros_like(x)",
                ),
            ),
        ),
        (
            "arguments that are taken to be broadcast",
            slip(DEPTHWISE, ("@partial(lift, spreads=False)", "@lift")),
        ),
        (
            "a value in float64",
            slip(DEPTHWISE, ("np.zeros_like(x, shape=(", "np.zeros((")),
        ),
        (
            "gradients in float64",
            slip(
                DEPTHWISE,
                ("np.zeros_like(x), np.zeros_like(w)", "np.zeros(x.shape), np.zeros(w.shape)"),
            ),
        ),
        (
            "the gradient of the images is one array for all calls",
            slip(
                DEPTHWISE,
                (
                    "        images, filters = np.zeros_like(x), np.zeros_like(w)\n",
                    "",
                ),
                (
                    "    def pullback",
                    "    images, filters = np.zeros_like(x), np.zeros_like(w)\n\n    def pullback",
                ),
            ),
        ),
    ],
    "resume": [
        (
            "an epoch begins anew",
            slip(
                RESUME,
                ("        order=[int(row) for row in run.order],\n        at=run.at,\n", ""),
                ('np.array(notes["order"], int), notes["at"]', "[], 0"),
            ),
        ),
        (
            "the order without the place in it",
            slip(RESUME, ("        at=run.at,\n", ""), ('notes["at"]', "0")),
        ),
        (
            "the generator is forgotten",
            slip(RESUME, ("        rng=run.rng,\n", ""), (", rng=run.rng)", ")")),
        ),
        (
            "the optimizer is forgotten",
            slip(
                RESUME,
                ("        optimizer=run.optimizer,\n", ""),
                (", optimizer=run.optimizer", ""),
            ),
        ),
        (
            "the mean of what was seen is forgotten",
            slip(
                RESUME,
                ("        mean=run.centred.mean.tolist(),\n", ""),
                ('np.array(notes["mean"], np.float32)', "run.centred.mean"),
            ),
        ),
        (
            "how much was seen is forgotten",
            slip(
                RESUME,
                ("        seen=run.centred.seen,\n", ""),
                ('notes["seen"]', "run.centred.seen"),
            ),
        ),
        (
            "the mean is rounded",
            slip(
                RESUME,
                ("run.centred.mean.tolist()", "[round(float(m), 6) for m in run.centred.mean]"),
            ),
        ),
        (
            "a new generator, which the dropout does not have",
            slip(
                RESUME,
                ("    load(path, m", "    run.rng = np.random.default_rng()\n    load(path, m"),
            ),
        ),
        (
            "draws while it keeps",
            slip(
                RESUME,
                (
                    "    save(\n",
                    "    run.order = run.rng.permutation(len(ROWS))\n    run.at = 0\n    save(\n",
                ),
            ),
        ),
        (
            "writes over the last one",
            slip(
                BY_HAND,
                (
                    '    part = Path(f"{path}.part")\n    with open(part, "wb")',
                    '    with open(path, "wb")',
                ),
                ("    os.replace(part, path)\n", ""),
            ),
        ),
        (
            "removes the last one first",
            slip(
                BY_HAND,
                ("    part = Path", "    Path(path).unlink(missing_ok=True)\n    part = Path"),
            ),
        ),
        (
            "writes before it has looked at everything",
            slip(
                BY_HAND,
                (
                    '    run.model.check_state_dict(parts["model"])\n'
                    '    run.optimizer.check_state_dict(parts["optimizer"])\n',
                    "",
                ),
                (
                    "    parts = {",
                    '    run.order, run.at = found["order"], int(found["at"])\n    parts = {',
                ),
            ),
        ),
        (
            "a pickle",
            """
def keep(run, path):
    part = Path(f"{path}.part")
    state = run.model.state_dict(), run.optimizer.state_dict(), run.rng.bit_generator.state
    with open(part, "wb") as file:
        pickle.dump((*state, run.order, run.at, run.centred.mean, run.centred.seen), file)
    os.replace(part, path)


def go_on(run, path):
    with open(path, "rb") as file:
        model, optimizer, rng, order, at, mean, seen = pickle.load(file)
    run.model.check_state_dict(model)
    run.optimizer.check_state_dict(optimizer)
    run.model.load_state_dict(model)
    run.optimizer.load_state_dict(optimizer)
    run.rng.bit_generator.state = rng
    run.order, run.at, run.centred.mean, run.centred.seen = order, at, mean, seen
""",
        ),
        (
            "a bad file is passed over in silence",
            slip(
                RESUME,
                ("    notes = load(path)\n", "    try:\n        notes = load(path)\n"),
                ("    load(path, m", "        load(path, m"),
                ("    order, at", "        order, at"),
                ("    mean, seen", "        mean, seen"),
                (
                    ", rng=run.rng)\n    run",
                    ", rng=run.rng)\n    except ValueError:\n        return\n    run",
                ),
            ),
        ),
        (
            "looks at the notes when the weights are written",
            slip(
                RESUME,
                ("    load(path, model=run.model, optimizer=run.optimizer, rng=run.rng)\n", ""),
                (
                    "= load(path)",
                    "= load(path, model=run.model, optimizer=run.optimizer, rng=run.rng)",
                ),
            ),
        ),
        (
            "what is lacking is taken to be 0",
            slip(RESUME, ('notes["seen"]', 'notes.get("seen", 0)')),
        ),
        (
            "the parameters move to new arrays",
            slip(
                BY_HAND,
                (
                    '    run.model.load_state_dict(parts["model"])\n',
                    "    for name, p in run.model.named_parameters():\n"
                    '        p.data = parts["model"][name]\n',
                ),
            ),
        ),
    ],
}
