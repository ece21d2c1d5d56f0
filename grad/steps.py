"""What the graph remembers of an array: its shape, its parents and its way back."""

import numpy as np

from grad.node import Node, nothing


class Zero:
    """The gradient of a node that nothing has come back to yet: adding to it copies nothing."""

    __slots__ = ()

    def __add__(self, g):
        return g

    def missing(self, *args):
        """Refuse whatever else is asked of it."""
        raise RuntimeError(
            "a pullback returned None for a Tensor that was computed, and nothing else gave it a "
            "gradient: return zeros instead"
        )

    __neg__ = __mul__ = __rmul__ = __truediv__ = __array__ = __getattr__ = missing


ZERO = Zero()


class Step(Node):
    """A computed node. Its `data` is a shape, and its gradient is gone once it has been read."""

    __slots__ = ("passing",)

    def __init__(self, shape, parents, pullback, op):
        self.data = shape
        self.parents = parents
        self.pullback = pullback
        self.op = op
        self.waiting = 0
        self.passing = ZERO

    @property
    def grad(self):
        """Hand over what has come back so far, and forget it."""
        g, self.passing = self.passing, ZERO
        return g

    @grad.setter
    def grad(self, g):
        self.passing = g

    def __repr__(self):
        return f"Step({self.op}, shape={self.data})"


class Leaf(Node):
    """A leaf, which owns its gradient: a copy of the first that comes, and the rest added to it.

    Where `room` is an array, the gradient is written into that instead.
    """

    __slots__ = ("dtype", "total", "room")

    def __init__(self, shape, dtype):
        self.data, self.dtype = shape, dtype
        self.parents, self.pullback, self.op = (), nothing, ""
        self.waiting = 0
        self.total = self.room = None

    grad = property(lambda self: self, lambda self, g: None)

    def __add__(self, g):
        if g.shape != self.data:
            raise ValueError(f"a gradient of shape {g.shape} came to a leaf of shape {self.data}")
        if self.total is not None:
            self.total += g
        elif self.room is not None:
            np.copyto(self.room, g)
            self.total = self.room
        else:
            self.total = np.array(g, self.dtype)
        return self

    def __repr__(self):
        return f"Leaf(shape={self.data})"


class Nobody(Leaf):
    """Stands among the parents for what is constant: what comes back to it is dropped."""

    __slots__ = ()

    def __add__(self, g):
        return self

    def __reduce__(self):
        return "NOBODY"  # there is one, and a copy of it is it


NOBODY = Nobody((), None)
