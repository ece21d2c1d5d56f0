"""A graph as flat lists: nodes are integers, edges are indices, and one owner has them all."""

from collections import Counter
from itertools import chain

from grad.ops import halves
from grad.order import toposort


class Tape:
    """A graph as two lists, in an order in which it can be computed.

    Entry i is the operation ops[i] on the entries args[i], all before it. A leaf has the
    operation "" and no arguments, and leaves[i] is the Node it stands for.
    """

    def __init__(self):
        self.ops, self.args, self.leaves = [], [], {}

    def emit(self, op, *args):
        """Append one operation; return its index."""
        self.ops.append(op)
        self.args.append(args)
        return len(self.ops) - 1

    def leaf(self, node):
        """Append a leaf; return its index."""
        i = self.emit("")
        self.leaves[i] = node
        return i


def products(tape, op, xy):
    """Append a product for each pair; return their indices."""
    return [tape.emit("mul", x, y) for x, y in zip(*halves(op, xy), strict=True)]


def dot(tape, *xy):
    """Spell a dot as products and their sum."""
    return tape.emit("total", *products(tape, "dot", xy))


def affine(tape, bias, *wx):
    """Spell an affine as products and their sum with the bias."""
    return tape.emit("total", bias, *products(tape, "affine", wx))


# Operations that are put on the tape as several smaller ones.
SPELLED = {
    "dot": dot,
    "affine": affine,
    "relu_affine": lambda tape, bias, *wx: tape.emit("relu", affine(tape, bias, *wx)),
}


def flatten(loss):
    """Write the graph under loss on a Tape, in the order in which it can be computed."""
    tape, at = Tape(), {}
    for node in reversed(toposort(loss)):
        for parent in node.parents:
            if parent not in at:
                at[parent] = tape.leaf(parent)
        args = [at[parent] for parent in node.parents]
        spell = SPELLED.get(node.op)
        at[node] = spell(tape, *args) if spell else tape.emit(node.op, *args)
    return tape


SUMS = {"add", "total"}


def collapse(tape):
    """Return a tape on which a sum that only one other sum uses has melted into that one.

    A chain of n additions is n levels deep. As one sum it is one level.
    """
    uses = Counter(chain.from_iterable(tape.args))
    melts = [op in SUMS and uses[i] == 1 for i, op in enumerate(tape.ops)]
    terms, gone = list(tape.args), set()
    for i in range(len(terms) - 1, -1, -1):
        if tape.ops[i] in SUMS and i not in gone:
            found, stack = [], list(terms[i])
            while stack:
                a = stack.pop()
                if melts[a]:
                    gone.add(a)
                    stack.extend(terms[a])
                else:
                    found.append(a)
            terms[i] = found[::-1]
    short, at = Tape(), {}
    for i, op in enumerate(tape.ops):
        if i in tape.leaves:
            at[i] = short.leaf(tape.leaves[i])
        elif i not in gone:
            at[i] = short.emit("total" if op in SUMS else op, *[at[a] for a in terms[i]])
    return short


def depths(tape):
    """Return the level of each entry: 0 for a leaf, else one more than its deepest argument."""
    depth = []
    for args in tape.args:
        depth.append(1 + max([depth[a] for a in args]) if args else 0)
    return depth
