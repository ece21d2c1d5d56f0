"""An array you can do arithmetic with: what a Value is to a float, a Tensor is to an array."""

from functools import lru_cache
from operator import eq, ge, gt, le, lt, ne
from sys import _getframe

import numpy as np
from numpy import ndarray

from grad import arrays, ops, shapes  # noqa: F401, arrays: the rules compute with ndarrays
from grad.loans import lend
from grad.order import backward
from grad.primitive import is_recording
from grad.steps import NOBODY, Leaf, Step

TENSOR_OPS = {}  # name -> operation on Tensors; every later chapter may add rows
WATCHERS = []  # each is shown every result: watch(name, value, pullback) returns the pullback

ODD = np.matrix, np.ma.MaskedArray  # arrays whose arithmetic is not that of arrays
REAL = "fiub"  # kinds of dtype a constant may have: floats, integers with or without sign, bools


def constant(c, dtype):
    """Return what stands beside a Tensor in an operation, as an array of the Tensor's dtype."""
    if type(c) is float or type(c) is int or (type(c) is ndarray and c.dtype is dtype):
        return c
    array = c if hasattr(c, "dtype") else np.asarray(c)
    if array.dtype.kind not in REAL or isinstance(array, ODD):
        kind = type(array).__name__ if isinstance(array, ODD) else array.dtype
        raise TypeError(f"a Tensor computes with arrays of real numbers, not {kind}")
    return array.astype(dtype, copy=False)


def made(value, parents, pullback, name, args):
    """Wrap what a rule has computed and, while recording, remember how."""
    if type(value) is not ndarray and isinstance(value, np.generic):
        value = np.asarray(value)
    out = object.__new__(Tensor)
    out.data, out.node = value, NOBODY
    if is_recording() and parents.count(NOBODY) < len(parents):
        for arg in args:
            if value is arg:
                value = out.data = arg.view()  # the argument is not ours to lock
        if pullback.__closure__ or value.base is not None:
            lend(pullback, args, value)
        for watch in WATCHERS:
            pullback = watch(name, value, pullback)
        value.setflags(False)  # nobody else has it; numpy() gives a copy to write to
        out.node = Step(value.shape, parents, pullback, name)
    return out


def explain(error, name, args):
    """Tell an error which operation it came from, and the shapes."""
    shapes = [getattr(a, "shape", type(a).__name__) for a in args]
    kinds = [
        f"Tensor{s}" if type(a) is Tensor else f"{s}" for a, s in zip(args, shapes, strict=True)
    ]
    error.add_note(f"in {name} of {' and '.join(kinds)}")


def unary(rule):
    """Lift a rule of one array, with options by keyword."""
    name = rule.__name__

    def op(x, **options):
        if type(x) is not Tensor:
            return rule(np.asanyarray(x), **options)[0]
        try:
            value, pullback = rule(x.data, **options)
        except Exception as error:
            explain(error, name, [x])
            raise
        return made(value, (x.node,), pullback, name, (x.data, *options.values()))

    return op


@lru_cache(maxsize=1024)
def summing(shape, wide):
    """Return the pullback of broadcasting a shape to a wider one: a sum over what was repeated."""
    axes = shapes.repeated(shape, wide)
    if len(axes) == len(wide) - len(shape):
        return lambda g: (g.sum(axes),)
    return lambda g: (g.sum(axes, keepdims=True).reshape(shape),)


def binary(rule, left=None, right=None, spreads=True):
    """Lift a rule of two arrays, of which one may be a constant.

    `left` and `right` are the rules to use where that argument is the constant, if there is a
    shorter way. `spreads`: NumPy broadcasts the arguments to the shape of the value, and an
    `expand` on the way back sums the gradient down again.
    """
    name = rule.__name__
    left, right = left or rule, right or rule

    def op(x, y):
        try:
            if type(y) is not Tensor:
                if type(x) is not Tensor:
                    return rule(np.asanyarray(x), np.asanyarray(y))[0]
                a, p, q = x.data, x.node, NOBODY
                b = constant(y, a.dtype)
                value, pullback = right(a, b)
            elif type(x) is not Tensor:
                b, p, q = y.data, NOBODY, y.node
                a = constant(x, b.dtype)
                value, pullback = left(a, b)
            else:
                a, b, p, q = x.data, y.data, x.node, y.node
                value, pullback = rule(a, b)
        except Exception as error:
            explain(error, name, (x, y))
            raise
        if spreads:
            wide = value.shape
            if p is not NOBODY and a.shape != wide:
                p = Step(wide, (p,), summing(a.shape, wide), "expand")
            if q is not NOBODY and b.shape != wide:
                q = Step(wide, (q,), summing(b.shape, wide), "expand")
        return made(value, (p, q), pullback, name, (a, b))

    return op


def several(rule):
    """Lift a rule of any number of arguments, with options by keyword."""
    name = rule.__name__

    def op(*xs, **options):
        dtype = next((x.dtype for x in xs if type(x) is Tensor), None)
        if dtype is None:
            return rule(*map(np.asanyarray, xs), **options)[0]
        nodes = tuple([x.node if type(x) is Tensor else NOBODY for x in xs])
        try:
            args = [x.data if type(x) is Tensor else constant(x, dtype) for x in xs]
            value, pullback = rule(*args, **options)
        except Exception as error:
            explain(error, name, xs)
            raise
        return made(value, nodes, pullback, name, (*args, *options.values()))

    return op


def lift(rule, **how):
    """Lift a rule on arrays to an operation on Tensors, and enter it in TENSOR_OPS.

    A rule takes its arrays by position and its options by keyword, and returns (value, pullback),
    as under @primitive. A Tensor among the arrays gets a gradient; the others are constants and
    take its dtype, so labels and masks are options. The pullback names the arrays that it needs:
    what it reaches in another way, as in a tuple, is not lent. It does not write into its g, which
    others may have been given, too.

    >>> @lift
    ... def cube(x):
    ...     return x**3, lambda g: (3 * g * x**2,)
    >>> cube(Tensor([1.0, 2.0]))
    Tensor([1., 8.])
    """
    rule = getattr(rule, "rule", rule)
    code = rule.__code__
    positional, starred = code.co_argcount, code.co_flags & 4  # 4: the rule takes *args
    many = starred or positional > 2 or (positional == 2 and code.co_kwonlyargcount)
    op = (several if many else (unary, binary)[positional - 1])(rule, **how)
    op.rule = rule
    op.__name__ = op.__qualname__ = rule.__name__
    op.__doc__ = rule.__doc__
    op.__module__ = _getframe(1).f_globals["__name__"]  # where it has its name, for pickle
    TENSOR_OPS[rule.__name__] = op
    return op


def mul_by(x, c):
    """x * c for a constant c: no gradient is computed for it, so nobody need keep x."""
    return x * c, lambda g: (g * c, None)


def mul_from(c, x):
    """c * x for a constant c."""
    return c * x, lambda g: (None, g * c)


def div_by(x, c):
    """x / c for a constant c."""
    return x / c, lambda g: (g / c, None)


def matmul_by(x, c):
    """x @ c for a constant c."""
    y, shape = x @ c, x.shape
    if x.ndim == 2 and c.ndim == 2:
        return y, lambda g: (g @ c.T, None)
    return y, lambda g: (shapes.matmul_left(g, shape, c), None)


def matmul_from(c, x):
    """c @ x for a constant c: the first layer of a network spends no time on its input."""
    y, shape = c @ x, x.shape
    if c.ndim == 2 and x.ndim == 2:
        return y, lambda g: (None, c.T @ g)
    return y, lambda g: (None, shapes.matmul_right(g, c, shape))


add, sub, neg = lift(ops.add), lift(ops.sub), lift(ops.neg)
mul, div = lift(ops.mul, left=mul_from, right=mul_by), lift(ops.div, right=div_by)
power, raised = lift(ops.power), lift(ops.raised)
exp, log, sqrt = lift(ops.exp), lift(ops.log), lift(ops.sqrt)
tanh, sigmoid, relu = lift(ops.tanh), lift(ops.sigmoid), lift(ops.relu)
matmul = lift(shapes.matmul, left=matmul_from, right=matmul_by, spreads=False)
expand, reshape, transpose = lift(shapes.expand), lift(shapes.reshape), lift(shapes.transpose)
sum, mean, max = lift(shapes.sum), lift(shapes.mean), lift(shapes.max)
take, pad, chosen = lift(shapes.take), lift(shapes.pad), lift(shapes.where)
logsumexp, softmax = lift(shapes.logsumexp), lift(shapes.softmax)
joined, stacked = lift(shapes.concatenate), lift(shapes.stack)


def concatenate(xs, axis=0):
    """Join a list of Tensors along an axis that they have."""
    return joined(*xs, axis=axis)


def stack(xs, axis=0):
    """Join a list of Tensors of one shape along a new axis."""
    return stacked(*xs, axis=axis)


def where(condition, x, y):
    """x where the condition, an array of bools, holds, and y elsewhere."""
    return chosen(x, y, condition=condition)


def floats(data, dtype=None):
    """Copy data into an array of floats.

    An array of floats keeps its dtype; lists, integers and arrays of integers become float32,
    which has half the bytes of float64, and hardware computes twice as many at a time. Bools,
    complex numbers, strings and objects are refused.
    """
    if isinstance(data, ODD):
        raise TypeError(f"a Tensor holds an array of real numbers, not {type(data).__name__}")
    array = np.array(data.data if type(data) is Tensor else data)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"a Tensor holds real numbers, not {array.dtype}")
    if dtype is None:
        keeps = array.dtype.kind == "f" and hasattr(data, "dtype")
        dtype = array.dtype if keeps else np.float32
    elif np.dtype(dtype).kind != "f":
        raise TypeError(f"a Tensor holds floats, not {np.dtype(dtype)}")
    return array.astype(dtype, copy=False)


def unpacked(numbers):
    """Return the numbers given to a method, one by one or as one tuple or list."""
    return tuple(numbers[0]) if numbers and isinstance(numbers[0], (tuple, list)) else numbers


def comparison(compare):
    """Make a comparison of arrays one of Tensors: it gives an array of bools, not a Tensor."""

    def op(self, other):
        return compare(self.data, other.data if type(other) is Tensor else other)

    return op


class Tensor:
    """An array in the graph: `data` is the array, `node` what the graph remembers of it.

    A Tensor that you make is a leaf: it holds a copy, and `grad` collects what comes back. What
    you compute is a Tensor too; NumPy arrays and plain numbers beside one are constants and take
    its dtype. Comparisons give arrays of bools.

    >>> w = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> loss = (np.array([1, 10]) @ w).sum()
    >>> loss.backward()
    >>> w.grad
    array([[ 1.,  1.],
           [10., 10.]], dtype=float32)
    """

    __slots__ = ("data", "node", "__weakref__")
    __array_ufunc__ = None  # ndarray * Tensor is Tensor.__rmul__
    __hash__ = object.__hash__

    def __init__(self, data, dtype=None):
        self.data = floats(data, dtype)
        self.node = Leaf(self.data.shape, self.data.dtype)

    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    dtype = property(lambda self: self.data.dtype)
    T = property(lambda self: transpose(self))

    @property
    def grad(self):
        """The gradient that has come back to a leaf: an array of its shape, or None."""
        return getattr(self.node, "total", None)

    @grad.setter
    def grad(self, g):
        if type(self.node) is not Leaf:
            raise AttributeError(
                "only a leaf keeps a gradient, and this was computed: p = p - lr * p.grad makes "
                "a new Tensor, p.data -= lr * p.grad moves the old one"
            )
        if g is not None:
            g = np.asarray(g, self.dtype)
            if g.shape != self.shape:
                if g.ndim:
                    raise ValueError(
                        f"a gradient of shape {g.shape} is not for a leaf of {self.shape}"
                    )
                g = np.full_like(self.data, g)
        self.node.total = g

    def backward(self, seed=None):
        """Add to the `grad` of every leaf the derivative of this Tensor, times seed.

        The seed has the shape of the Tensor and may be left out where that holds one number.
        Each graph can be used once.
        """
        if self.node is NOBODY:
            raise RuntimeError("no graph leads here, only constants or a step under no_grad()")
        if seed is None:
            if self.data.size != 1:
                raise ValueError(f"backward() of shape {self.shape} needs a seed of that shape")
            seed = 1.0
        seed = np.array(constant(np.asarray(seed), self.dtype))
        if seed.shape != self.shape:
            if seed.ndim:
                raise ValueError(f"the seed has shape {seed.shape}, the Tensor {self.shape}")
            seed = np.full_like(self.data, seed)
        backward(self.node, seed)

    __add__, __sub__, __mul__, __truediv__ = add, sub, mul, div
    __matmul__, __neg__ = matmul, neg
    __lt__, __le__, __gt__, __ge__ = map(comparison, (lt, le, gt, ge))
    __eq__, __ne__ = map(comparison, (eq, ne))
    exp, log, sqrt, tanh, sigmoid, relu = exp, log, sqrt, tanh, sigmoid, relu

    def __radd__(self, other):
        return add(other, self)

    def __rsub__(self, other):
        return sub(other, self)

    def __rmul__(self, other):
        return mul(other, self)

    def __rtruediv__(self, other):
        return div(other, self)

    def __rmatmul__(self, other):
        return matmul(other, self)

    def __pow__(self, n):
        return raised(self, n) if type(n) is Tensor else power(self, n)

    def __rpow__(self, base):
        return raised(np.asarray(base, self.dtype), self)

    def sum(self, axis=None, keepdims=False):
        """Add up along axes."""
        return sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis=None, keepdims=False):
        """The mean along axes."""
        return mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        """The largest along axes."""
        return max(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis=None):
        """Where the largest stands along an axis: an array of integers."""
        return self.data.argmax(axis)

    def reshape(self, *shape):
        """The same entries in another shape, given as numbers or as one tuple."""
        return reshape(self, shape=unpacked(shape))

    def transpose(self, *axes):
        """The axes in another order, by default reversed."""
        return transpose(self, axes=unpacked(axes) or None)

    def __getitem__(self, index):
        return take(self, index=index)

    def __setitem__(self, index, value):
        raise TypeError("a Tensor cannot be written into: use where(), or build it from its parts")

    def __len__(self):
        return len(self.data)

    def __iter__(self):
        return (self[i] for i in range(len(self.data)))

    def __bool__(self):
        if self.size != 1:
            raise ValueError(f"a Tensor of shape {self.shape} is neither true nor false")
        return bool(self.data)

    def __float__(self):
        return float(self.item())

    def item(self):
        """Return the one number it holds."""
        return self.data.item()

    def numpy(self):
        """Return a copy of the array, which may be written to."""
        return self.data.copy()

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "a Tensor does not turn into an array unasked, for its gradient would be lost: "
            "use .data or .numpy(), or stack() for a list of Tensors"
        )

    def __format__(self, spec):
        return format(self.item(), spec) if spec else repr(self)

    def __repr__(self):
        return f"Tensor({np.array2string(self.data, separator=', ', prefix='Tensor(')})"
