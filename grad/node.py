"""A number that remembers how it was made."""


def nothing(g):
    """Hand back no gradients: the pullback of a leaf, which has no parents to give them to."""
    return ()


class Node:
    """One value in the graph: what it is, what it was made from, how a gradient gets back.

    `parents` are the nodes it was computed from, in argument order; a leaf has none.
    `pullback` takes the gradient of the result with respect to this node and returns one
    gradient for each parent. `waiting` is scratch space for a traversal, and 0 between two.
    """

    __slots__ = ("data", "grad", "parents", "pullback", "op", "waiting", "__weakref__")

    def __init__(self, data, parents=(), pullback=nothing, op=""):
        self.data = data
        self.grad = 0.0
        self.parents = parents
        self.pullback = pullback
        self.op = op
        self.waiting = 0

    def __repr__(self):
        return f"{type(self).__name__}(data={self.data!r}, grad={self.grad!r})"


def ancestors(root):
    """List root and every node it was computed from, each once, in no promised order."""
    found = {root: None}
    stack = [root]
    while stack:
        for parent in stack.pop().parents:
            if parent not in found:
                found[parent] = None
                stack.append(parent)
    return list(found)
