"""A node you can do arithmetic with."""

from numbers import Real

from grad import ops
from grad.node import Node, nothing
from grad.order import backward


def real(x):
    """Return x as a float, or say why it cannot be one."""
    if isinstance(x, Real) and not isinstance(x, bool):
        return float(x)
    raise TypeError(f"a Value holds one real number, not {type(x).__name__} {x!r}")


class Value(Node):
    """A float in the graph. Its operators build new Values; `backward` fills in every `grad`.

    >>> x, y = Value(2.0), Value(-3.0)
    >>> z = x * y + x**2
    >>> z.backward()
    >>> z.data, x.grad, y.grad
    (-2.0, 1.0, 2.0)

    A plain number may stand on either side of an operator. `==` compares identity.
    """

    __slots__ = ()
    __array_ufunc__ = None  # ndarray * Value is an error, not an array of Values

    def __init__(self, data, parents=(), pullback=nothing, op=""):
        self.data = data if type(data) is float else real(data)
        self.grad = 0.0
        self.parents = parents
        self.pullback = pullback
        self.op = op
        self.waiting = 0

    __add__ = ops.add
    __sub__ = ops.sub
    __mul__ = ops.mul
    __truediv__ = ops.div
    __neg__ = ops.neg

    exp = ops.exp
    log = ops.log
    sqrt = ops.sqrt
    tanh = ops.tanh
    sigmoid = ops.sigmoid
    relu = ops.relu
    backward = backward

    def __radd__(self, other):
        return ops.add(type(self)(other), self)

    def __rsub__(self, other):
        return ops.sub(type(self)(other), self)

    def __rmul__(self, other):
        return ops.mul(type(self)(other), self)

    def __rtruediv__(self, other):
        return ops.div(type(self)(other), self)

    def __pow__(self, n):
        return ops.raised(self, n) if isinstance(n, Value) else ops.power(self, type(self)(n))

    def __rpow__(self, base):
        return ops.raised(type(self)(base), self)
