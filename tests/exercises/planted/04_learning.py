"""Wrong answers to the exercises on learning: the mistakes someone would make."""

HAND = """
def step(parameters, loss, lr):
    for p in parameters:
        p.grad = 0.0
    value = loss()
    value.backward()
    for p in parameters:
        p.data -= lr * p.grad
    return value.data
"""

NODES = """
def created(model, x):
    out = model(x)
    outs = out if isinstance(out, list) else [out]
    found = {node for one in outs for node in ancestors(one)}
    return len(found - {*model.parameters(), *x})


def predicted(nin, nouts):
    neurons = sum(nouts)
    return nin + neurons, neurons
"""

CONFUSION = """
def confusion(model, rows, labels):
    table = [[0, 0], [0, 0]]
    for row, label in zip(rows, labels):
        table[label > 0][model(row).data > 0] += 1
    return table
"""

DESCENT = """
class Descent:
    def __init__(self, params, lr, momentum=0.0, decay=0.0):
        for name, x in (("lr", lr), ("momentum", momentum), ("decay", decay)):
            if not 0.0 <= x < math.inf:
                raise ValueError(f"{name} must be a finite number >= 0, not {x!r}")
        self.params = list(params)
        self.lr, self.momentum, self.decay = lr, momentum, decay
        self.velocity = [0.0] * len(self.params)

    def step(self):
        for i, p in enumerate(self.params):
            g = p.grad + self.decay * p.data
            self.velocity[i] = self.momentum * self.velocity[i] + g
            p.data -= self.lr * self.velocity[i]
"""

LOOP = """
def train(model, loss, steps, lr):
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(model)
        value.backward()
        optimizer.step()
        losses.append(value.data)
    return losses
"""

PARTS = """
def accumulate(model, points, labels, size):
    model.zero_grad()
    for i in range(0, len(points), size):
        some = points[i : i + size]
        share = len(some) / len(points)
        (hinge(model, some, labels[i : i + size]) * share).backward()
"""

ENTROPY = """
@primitive
def logsumexp(*xs):
    m = max(xs)
    powers = [math.exp(x - m) for x in xs]
    whole = sum(powers)
    return m + math.log(whole), lambda g: [g * power / whole for power in powers]


def cross_entropy(scores, label):
    return logsumexp(*scores) - scores[label]
"""

RESIDUAL = """
class Residual(Module):
    def __init__(self, inner):
        self.inner = inner
        self.gate = Value(0.0)

    def __call__(self, x):
        y = self.inner(x)
        y = y if isinstance(y, list) else [y]
        return [a + self.gate * b for a, b in zip(x, y, strict=True)]

    def parameters(self):
        return [*self.inner.parameters(), self.gate]
"""

FIT = """
def fit(model, points, labels, goal=0.15, limit=200):
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    for taken in range(limit + 1):
        loss = hinge(model, points, labels)
        if loss.data <= goal:
            return taken
        if taken < limit:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    raise RuntimeError(f"after {limit} steps the loss is {loss.data:.3g}, not {goal}")
"""


def slip(source, old, new):
    """A right answer with one slip in it."""
    assert source.count(old) == 1, (old, source.count(old))
    return source.replace(old, new)


PLANTED = {
    "hand": [
        (
            "the gradients are never cleared",
            slip(HAND, "    for p in parameters:\n        p.grad = 0.0\n", ""),
        ),
        (
            "the gradients are cleared after the step only",
            slip(
                slip(HAND, "    for p in parameters:\n        p.grad = 0.0\n", ""),
                "    return",
                "    for p in parameters:\n        p.grad = 0.0\n    return",
            ),
        ),
        ("uphill", slip(HAND, "p.data -=", "p.data +=")),
        (
            "gives new Values the parameters' names",
            slip(HAND, "p.data -= lr * p.grad", "p = p - lr * p.grad"),
        ),
        ("returns the Value", slip(HAND, "return value.data", "return value")),
        ("returns the loss from after the move", slip(HAND, "value.data", "loss().data")),
        (
            "goes back anew for each parameter",
            """
def step(parameters, loss, lr):
    before = loss().data
    for p in parameters:
        p.grad = 0.0
        loss().backward()
        p.data -= lr * p.grad
    return before
""",
        ),
    ],
    "nodes": [
        ("parameters count as made", slip(NODES, "{*model.parameters(), *x}", "{*x}")),
        (
            "Values of x count as made",
            slip(NODES, "{*model.parameters(), *x}", "{*model.parameters()}"),
        ),
        (
            "what outputs share is counted for each",
            """
def created(model, x):
    out = model(x)
    outs = out if isinstance(out, list) else [out]
    known = {*model.parameters(), *x}
    return sum(len(set(ancestors(one)) | known) - len(known) for one in outs)


def predicted(nin, nouts):
    return nin + sum(nouts), sum(nouts)
""",
        ),
        (
            "a number becomes a leaf for every neuron",
            slip(NODES, "nin + neurons", "nin * nouts[0] + neurons"),
        ),
        (
            "a node for every multiplication",
            slip(NODES, "neurons = sum(nouts)", "neurons = nin * nouts[0] + sum(nouts)"),
        ),
        ("one output only", slip(NODES, "out if isinstance(out, list) else [out]", "[out[0]]")),
    ],
    "leak": [
        (
            "the fault is still there",
            {
                "leak": """
def prepare(rows, labels, seed=0):
    return split(scaler(rows)(rows), labels, seed=seed)
""",
                "leak-2": CONFUSION,
            },
        ),
        (
            "the rows held out are scaled by their own mean and spread",
            {
                "leak": """
def prepare(rows, labels, seed=0):
    rows, labels, held, held_labels = split(rows, labels, seed=seed)
    return scaler(rows)(rows), labels, scaler(held)(held), held_labels
""",
                "leak-2": CONFUSION,
            },
        ),
        (
            "the rows held out are not scaled",
            {
                "leak": """
def prepare(rows, labels, seed=0):
    rows, labels, held, held_labels = split(rows, labels, seed=seed)
    return scaler(rows)(rows), labels, held, held_labels
""",
                "leak-2": CONFUSION,
            },
        ),
        (
            "rows and columns of the table are exchanged",
            {
                "leak-2": slip(
                    CONFUSION,
                    "table[label > 0][model(row).data > 0]",
                    "table[model(row).data > 0][label > 0]",
                )
            },
        ),
        (
            "a score of 0 is called 1",
            {"leak-2": slip(CONFUSION, ".data > 0", ".data >= 0")},
        ),
        (
            "compares a Value",
            {"leak-2": slip(CONFUSION, "model(row).data > 0", "model(row) > 0")},
        ),
    ],
    "descent": [
        (
            "the learning rate goes into the velocity",
            slip(
                slip(DESCENT, "self.velocity[i] + g", "self.velocity[i] + self.lr * g"),
                "self.lr * self.velocity[i]\n",
                "self.velocity[i]\n",
            ),
        ),
        (
            "the velocity is an average",
            slip(DESCENT, "self.velocity[i] + g", "self.velocity[i] + (1 - self.momentum) * g"),
        ),
        (
            "one velocity for all parameters",
            DESCENT.replace("velocity[i]", "velocity[0]"),
        ),
        (
            "walks a generator again at each step",
            slip(
                slip(DESCENT, "self.params = list(params)", "self.params = params"),
                "[0.0] * len(self.params)",
                "[0.0] * 99",
            ),
        ),
        (
            "the decay is outside of the velocity",
            slip(
                slip(DESCENT, "p.grad + self.decay * p.data", "p.grad"),
                "p.data -= self.lr * self.velocity[i]",
                "p.data -= self.lr * (self.velocity[i] + self.decay * p.data)",
            ),
        ),
        (
            "refuses what is negative, and lets nan through",
            slip(DESCENT, "if not 0.0 <= x < math.inf:", "if x < 0.0:"),
        ),
        (
            "does not look at the decay",
            slip(DESCENT, ', ("decay", decay)):', "):"),
        ),
    ],
    "loop": [
        ("gradients are not cleared", slip(LOOP, "        optimizer.zero_grad()\n", "")),
        (
            "an optimizer for each step",
            slip(
                slip(LOOP, "    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)\n", ""),
                "        optimizer.zero_grad()\n",
                "        optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)\n"
                "        optimizer.zero_grad()\n",
            ),
        ),
        ("keeps the Values", slip(LOOP, "value.data", "value")),
        (
            "keeps the Values until the end",
            slip(
                slip(LOOP, "value.data", "value"),
                "return losses",
                "return [v.data for v in losses]",
            ),
        ),
        (
            "clears between backward and step",
            slip(
                slip(LOOP, "        optimizer.zero_grad()\n", ""),
                "        optimizer.step()\n",
                "        optimizer.zero_grad()\n        optimizer.step()\n",
            ),
        ),
        ("without momentum", slip(LOOP, ", momentum=0.9", "")),
    ],
    "parts": [
        (
            "the mean of each part counts in full",
            slip(PARTS, "share = len(some) / len(points)", "share = 1.0"),
        ),
        (
            "the mean of the means",
            slip(PARTS, "share = len(some) / len(points)", "share = 1.0 / -(-len(points) // size)"),
        ),
        (
            "the size of a part instead of what is in it",
            slip(PARTS, "len(some) / len(points)", "size / len(points)"),
        ),
        (
            "the gradients are cleared before each part",
            slip(
                slip(PARTS, "    model.zero_grad()\n", ""),
                "        some =",
                "        model.zero_grad()\n        some =",
            ),
        ),
        ("the gradients are never cleared", slip(PARTS, "    model.zero_grad()\n", "")),
        (
            "all parts are in one graph",
            """
def accumulate(model, points, labels, size):
    model.zero_grad()
    losses = []
    for i in range(0, len(points), size):
        some = points[i : i + size]
        losses.append(hinge(model, some, labels[i : i + size]) * (len(some) / len(points)))
    total(*losses).backward()
""",
        ),
        (
            "the short part at the end is left out",
            slip(PARTS, "len(points), size)", "len(points) - size + 1, size)"),
        ),
    ],
    "entropy": [
        (
            "overflows",
            slip(
                slip(ENTROPY, "math.exp(x - m)", "math.exp(x)"),
                "m + math.log(whole)",
                "math.log(whole)",
            ),
        ),
        ("the largest is not put back", slip(ENTROPY, "m + math.log(whole)", "math.log(whole)")),
        ("the pullback forgets g", slip(ENTROPY, "g * power / whole", "power / whole")),
        ("the pullback does not divide", slip(ENTROPY, "g * power / whole", "g * power")),
        (
            "the loss has the wrong sign",
            slip(
                ENTROPY, "logsumexp(*scores) - scores[label]", "scores[label] - logsumexp(*scores)"
            ),
        ),
        (
            "the loss is the logarithm of a quotient, node by node",
            slip(
                ENTROPY,
                "return logsumexp(*scores) - scores[label]",
                "powers = [s.exp() for s in scores]\n"
                "    return -(powers[label] / total(*powers)).log()",
            ),
        ),
    ],
    "residual": [
        (
            "the gate is not among the parameters",
            {
                "residual": slip(
                    RESIDUAL, "[*self.inner.parameters(), self.gate]", "self.inner.parameters()"
                )
            },
        ),
        (
            "the parameters of the inner layer are missing",
            {"residual": slip(RESIDUAL, "[*self.inner.parameters(), self.gate]", "[self.gate]")},
        ),
        (
            "the gate is a plain number",
            {
                "residual": slip(
                    slip(RESIDUAL, "Value(0.0)", "0.0"), ", self.gate]", ", Value(self.gate)]"
                )
            },
        ),
        (
            "lists of different length are cut",
            {"residual": slip(RESIDUAL, ", strict=True", "")},
        ),
        (
            "a layer of one neuron is not thought of",
            {"residual": slip(RESIDUAL, "        y = y if isinstance(y, list) else [y]\n", "")},
        ),
        (
            "the one Value of a layer of one neuron goes to every entry",
            {"residual": slip(RESIDUAL, "else [y]", "else [y] * len(x)")},
        ),
        (
            "never looks after the last move",
            {"residual-2": slip(FIT, "range(limit + 1)", "range(limit)")},
        ),
        (
            "the gate begins at 1",
            {"residual": slip(RESIDUAL, "Value(0.0)", "Value(1.0)")},
        ),
        (
            "looks, moves, and then stops",
            {
                "residual-2": """
def fit(model, points, labels, goal=0.15, limit=200):
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    for taken in range(limit):
        loss = hinge(model, points, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.data <= goal:
            return taken + 1
    raise RuntimeError("did not converge")
"""
            },
        ),
        (
            "a run that does not converge is no failure",
            {"residual-2": slip(FIT, "    raise RuntimeError(", "    return limit  # (")},
        ),
        (
            "gradients are not cleared",
            {"residual-2": slip(FIT, "            optimizer.zero_grad()\n", "")},
        ),
        (
            "takes all the steps there are",
            {
                "residual-2": """
def fit(model, points, labels, goal=0.15, limit=200):
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(limit):
        optimizer.zero_grad()
        loss = hinge(model, points, labels)
        loss.backward()
        optimizer.step()
    if hinge(model, points, labels).data > goal:
        raise RuntimeError("did not converge")
    return limit
"""
            },
        ),
    ],
}
