"""A recorded graph replayed with NumPy, level by level."""

from itertools import accumulate, pairwise, zip_longest

import numpy as np

from grad import arrays  # noqa: F401, its row lets the rules compute with arrays
from grad.node import Node
from grad.primitive import PRIMITIVES
from grad.tape import collapse, depths, flatten

STRICT = np.errstate(divide="raise", over="raise", invalid="raise")


def rowwise(rule):
    """Let a rule of several numbers work on the rows of a matrix, and fill in the gradients."""

    def on_rows(rows):
        value, pullback = rule(*rows)

        def fill(g, out):
            for row, part in zip(out, pullback(g), strict=True):
                row[:] = 0.0 if part is None else part

        return value, fill

    return on_rows


def summed(rows):
    """Add up the rows of a matrix: what rowwise would make of total, in one call."""

    def fill(g, out):
        out[:] = g

    return rows.sum(axis=0), fill


class Group:
    """All entries of one level with the same operation and number of arguments.

    Their values are neighbours, so that one call computes them. Row k of `where` says where the
    argument k of each stands, and the same row of `edges` receives the gradients of those.
    """

    def __init__(self, op, where, values, grads, edges):
        if op not in PRIMITIVES:
            raise ValueError(f"no row of PRIMITIVES says how to compute {op!r} again")
        self.op, self.where, self.values, self.grads, self.edges = op, where, values, grads, edges
        self.rule = summed if op == "total" else rowwise(PRIMITIVES[op].rule)
        self.rows = np.empty(where.shape)

    def forward(self, everything):
        """Gather the arguments and compute the values."""
        everything.take(self.where, out=self.rows, mode="clip")
        try:
            self.values[:], self.fill = self.rule(self.rows)
        except FloatingPointError as error:
            error.add_note(f"in the replay of {self.culprit()}")
            raise
        except Exception as error:
            error.add_note(f"in the replay of {self.op}")
            raise

    def culprit(self):
        """Write out the first call of the group whose result is not finite."""
        with np.errstate(all="ignore"):
            value, _ = self.rule(self.rows)
        bad = np.flatnonzero(~np.isfinite(value))
        numbers = ", ".join(map(str, self.rows[:, bad[:1]].ravel().tolist()))
        return f"{self.op}({numbers})" if bad.size else self.op

    def backward(self):
        """Turn the gradients of the values into the gradients along the edges."""
        try:
            self.fill(self.grads, self.edges)
        except Exception as error:
            error.add_note(f"in the replay of the pullback of {self.op}")
            raise


class Pull:
    """Adds up, for a run of neighbouring entries, what came back along the edges of each."""

    def __init__(self, edges, starts, grads):
        self.edges, self.starts, self.grads = edges, starts, grads
        self.gathered = np.empty(len(edges))

    def __call__(self, everything):
        """Gather the edges, sorted by the entry they belong to, and sum each entry's share."""
        everything.take(self.edges, out=self.gathered, mode="clip")
        if len(self.edges) == len(self.starts):
            self.grads[:] = self.gathered
        else:
            np.add.reduceat(self.gathered, self.starts, out=self.grads)


def grouped(tape):
    """Return {(level, operation, number of arguments): entries}, level by level."""
    groups = {}
    for i, key in enumerate(zip(depths(tape), tape.ops, map(len, tape.args), strict=True)):
        if tape.args[i]:
            groups.setdefault(key, []).append(i)
    return {key: groups[key] for key in sorted(groups)}


class Leaves:
    """The leaves of a tape: first those that were named and can be fed, then the constants.

    `slots` maps each to its place among the values, and `named` each name to its slice and shape.
    """

    def __init__(self, tape, named):
        self.named, fed, called = {}, [], []
        for name, nodes in named.items():
            nodes = np.array(nodes, dtype=object)
            self.named[name] = slice(len(fed), len(fed) + nodes.size), nodes.shape
            fed += nodes.flat
            called += [f"{name}{[*at] or ''}" for at in np.ndindex(nodes.shape)]
        if any(not isinstance(node, Node) or node.parents for node in fed):
            raise ValueError("a name is for a leaf, or for leaves in a list, rectangular if nested")
        self.fed = dict(zip(fed, called, strict=True))
        if len(self.fed) < len(fed):
            raise ValueError("the same leaf was named twice")
        self.constants = [node for node in tape.leaves.values() if node not in self.fed]
        self.recorded = [node.data for node in self.constants]
        self.slots = {node: slot for slot, node in enumerate([*fed, *self.constants])}

    def feed(self, values, given):
        """Write the numbers given for each name to their slots: all of them, or none."""
        if [node.data for node in self.constants] != self.recorded:
            raise ValueError("a leaf without a name has been changed: name it, and feed it")
        ready = []
        for name, numbers in given.items():
            if name not in self.named:
                raise ValueError(f"no leaves are named {name!r}, only {[*self.named]}")
            (at, shape), numbers = self.named[name], np.asarray(numbers)
            if numbers.shape != shape:
                raise ValueError(f"{name} was recorded with shape {shape}, not {numbers.shape}")
            if numbers.dtype.kind not in "fiu":
                raise TypeError(f"{name} takes real numbers, not {numbers.dtype}")
            ready.append((at, numbers.ravel()))
        for at, numbers in ready:
            values[at] = numbers

    def read(self, everything):
        """Copy out what stands in the slots of each name."""
        return {name: everything[at].reshape(sh).copy() for name, (at, sh) in self.named.items()}


class Program:
    """A recorded graph that runs again, with other numbers in the leaves that have a name.

    Leaves without a name are constants. Each rule is called once for a whole group. What
    overflows or is not defined for the numbers it is fed is a FloatingPointError.
    """

    def __init__(self, tape, /, **leaves):
        if not any(tape.args):
            raise ValueError("the loss is a leaf: there is nothing to run")
        idle = set(range(len(tape.ops) - 1)).difference(*tape.args)
        if idle:
            raise ValueError(f"nothing uses entry {min(idle)}, and only the last can be the loss")
        self.tape, self.leaves = tape, Leaves(tape, leaves)
        self.wire(self.leaves.slots, len(self.leaves.fed))
        self.values[: len(self.leaves.slots)] = [node.data for node in self.leaves.slots]
        self.forward()

    def wire(self, slots, fed):
        """Give every entry a slot and every argument an edge; make the groups and the pulls."""
        tape, groups = self.tape, grouped(self.tape)
        size = len(slots) + sum(map(len, groups.values()))
        unused = [slots[node] for node in set(slots).difference(tape.leaves.values())]
        self.values, self.grads = np.zeros(size), np.zeros(size)
        self.edges = np.zeros(sum(map(len, tape.args)) + len(unused))  # nothing comes by the last

        place = np.empty(len(tape.ops), dtype=np.intp)
        place[list(tape.leaves)] = [slots[node] for node in tape.leaves.values()]
        self.levels = [[] for _ in range(max(depth for depth, _, _ in groups))]
        slot, edge, targets = len(slots), 0, []
        for (depth, op, _), members in groups.items():
            span = slice(slot, slot := slot + len(members))
            place[members] = range(span.start, span.stop)
            where = place[np.array([tape.args[i] for i in members]).T]
            edges = self.edges[edge : (edge := edge + where.size)].reshape(where.shape)
            group = Group(op, where, self.values[span], self.grads[span], edges)
            self.levels[depth - 1].append(group)
            targets.append(where.ravel())
        self.loss = place[-1]

        targets = np.concatenate([*targets, unused]).astype(np.intp)
        by_target = np.argsort(targets, kind="stable")
        first = np.searchsorted(targets, range(size + 1), sorter=by_target)
        widths = [sum(len(group.values) for group in level) for level in self.levels]
        spans = [(0, fed), *pairwise(accumulate(widths[:-1], initial=len(slots)))]
        self.pulls = [
            Pull(by_target[first[a] : first[b]], first[a:b] - first[a], self.grads[a:b])
            for a, b in spans
        ]

    @STRICT
    def forward(self, /, **leaves):
        """Run with these numbers in the leaves of these names; return the loss.

        The arrays have the shapes in which the leaves were named. A name that is left out keeps
        the numbers of before: what an optimizer writes into a named leaf has to be fed. Raises
        ValueError for an unknown name, a wrong shape or a changed constant, TypeError for what is
        not a real number.
        """
        self.whole = False
        self.leaves.feed(self.values, leaves)
        for level in self.levels:
            for group in level:
                group.forward(self.values)
        self.whole = True
        return float(self.values[self.loss])

    @STRICT
    def backward(self):
        """Return the gradients of the loss of the last forward(), as {name: array}."""
        if not self.whole:
            raise RuntimeError("the last forward() was cut short: run it again")
        self.grads[self.loss] = 1.0
        for level, pull in zip(reversed(self.levels), reversed(self.pulls), strict=True):
            for group in level:
                group.backward()
            pull(self.edges)
        return self.leaves.read(self.grads)

    def __reduce__(self):
        raise TypeError("a Program cannot be copied or pickled, for its groups share memory")

    def entries(self, tape):
        """List what stands at each place of a tape: an operation, a named leaf or a number."""
        fed, leaves = self.leaves.fed, tape.leaves
        return [
            pair if pair[1] else fed.get(leaves[i], str(leaves[i].data))
            for i, pair in enumerate(zip(tape.ops, tape.args, strict=True))
        ]

    def check(self, loss):
        """Compare with the graph of a loss built afresh from the same leaves.

        A replay repeats operations. It cannot see the `if` that chose them, so ask for this
        whenever the code might choose others, with the numbers that you feed in the leaves.
        Raises RuntimeError at the first difference.
        """
        then, now = self.entries(self.tape), self.entries(collapse(flatten(loss)))
        for i, (old, new) in enumerate(zip_longest(then, now)):
            if old != new:
                raise RuntimeError(
                    f"the code took another road: entry {i} was {old} when the program was "
                    f"recorded and is {new} now, so record it again"
                )


def record(loss, /, **leaves):
    """Return the Program that computes loss again, for other numbers in the named leaves.

    Each keyword names a leaf, or a list of leaves, nested or not. The graph is not consumed.

    >>> x, y = Value(2.0), Value(3.0)
    >>> program = record(x * y + x, x=x, y=y)
    >>> program.forward(x=5.0)
    20.0
    >>> program.backward()
    {'x': array(4.), 'y': array(5.)}
    """
    return Program(collapse(flatten(loss)), **leaves)
