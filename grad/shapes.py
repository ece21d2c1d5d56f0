"""Operations that only arrays have, each beside its derivative."""

from math import prod
from types import SimpleNamespace

import numpy as np

from grad.check import SPACES


def gaussian(x, rng):
    """Draw an array of the shape of x."""
    return np.array([rng.gauss(0.0, 1.0) for _ in range(x.size)]).reshape(x.shape)


SPACES[np.ndarray] = SimpleNamespace(
    direction=gaussian,
    step=lambda x, v, h: x + h * v,
    inner=lambda u, v: float((u * v).sum()),
)
SPACES[np.float64] = SPACES[np.ndarray]


def repeated(shape, wide):
    """Return the axes of `wide` along which an array of `shape` is repeated to fill it."""
    lead = len(wide) - len(shape)
    grown = (i + lead for i, n in enumerate(shape) if n == 1 and wide[i + lead] != 1)
    return (*range(lead), *grown)


def unbroadcast(g, shape):
    """Sum g over what was repeated, down to `shape`, which broadcasts to its own."""
    if g.shape == shape:
        return g
    return g.sum(repeated(shape, g.shape), keepdims=True).reshape(shape)


def expand(x, *, shape):
    """Repeat x to fill a shape, as broadcasting does."""
    old = x.shape
    return np.broadcast_to(x, shape), lambda g: (unbroadcast(g, old),)


def spread(g, shape, axis, keepdims):
    """Repeat the gradient of a reduction over what was reduced."""
    if axis is not None and not keepdims:
        g = np.expand_dims(g, axis)
    out = np.empty_like(g, shape=shape)
    out[...] = g
    return out


def sum(x, *, axis=None, keepdims=False):
    """Add up along axes: all, one, or a tuple of them."""
    shape = x.shape
    return x.sum(axis, keepdims=keepdims), lambda g: (spread(g, shape, axis, keepdims),)


def mean(x, *, axis=None, keepdims=False):
    """The mean along axes: all, one, or a tuple of them."""
    y = x.mean(axis, keepdims=keepdims)
    shape, count = x.shape, x.size // (y.size or 1)
    return y, lambda g: (spread(g / count, shape, axis, keepdims),)


def max(x, *, axis=None, keepdims=False):
    """The largest along axes. Where several are, they share the gradient evenly."""
    top = x.max(axis, keepdims=True)
    winners = x == top
    shape = x.shape

    def pullback(g):
        shares = winners / winners.sum(axis, keepdims=True, dtype=g.dtype)
        return (spread(g, shape, axis, keepdims) * shares,)

    return (top if keepdims else top.squeeze(axis)), pullback


def reshape(x, *, shape):
    """The same entries in another shape."""
    old = x.shape
    return x.reshape(shape), lambda g: (g.reshape(old),)


def transpose(x, *, axes=None):
    """The axes in another order, by default reversed."""
    back = None if axes is None else tuple(np.argsort([a % x.ndim for a in axes]).tolist())
    return x.transpose(axes), lambda g: (g.transpose(back),)


def settled(index):
    """Copy an index that might change before the way back, and that nobody would lend."""
    if isinstance(index, np.ndarray):
        return index.copy()
    return np.array(index, dtype=None if index else int)  # for NumPy, too, no entries are no floats


def take(x, *, index):
    """x[index], for every index NumPy knows. An entry taken twice collects both gradients."""
    shape = x.shape
    if isinstance(index, list):
        index = settled(index)
    if isinstance(index, tuple):
        index = tuple([settled(p) if isinstance(p, (list, np.ndarray)) else p for p in index])
    parts = index if isinstance(index, tuple) else (index,)
    once = all(p is None or p is Ellipsis or isinstance(p, (int, slice)) for p in parts)

    def pullback(g):
        out = np.zeros_like(g, shape=shape)
        if once:
            out[index] = g
        else:
            np.add.at(out, index, g)
        return (out,)

    return x[index], pullback


def matmul(x, y):
    """x @ y by NumPy's rules: matrices, vectors, and stacks of matrices, which broadcast."""
    if x.ndim == 2 and y.ndim == 2:
        return x @ y, lambda g: (g @ y.T, x.T @ g)
    return x @ y, lambda g: (matmul_left(g, x.shape, y), matmul_right(g, x, y.shape))


def as_product(g, rows, columns):
    """Give the gradient of x @ y the axes back that it lacks where x, or y, is a vector."""
    g = g if columns else g[..., None]
    return g if rows else np.expand_dims(g, -2)


def matmul_left(g, shape, y):
    """The gradient of x @ y for an x of that shape: with a vector as a matrix, and summed."""
    g = as_product(g, len(shape) > 1, y.ndim > 1)
    y = y if y.ndim > 1 else y[:, None]
    back = g @ y.swapaxes(-1, -2)
    return unbroadcast(back, shape if len(shape) > 1 else (1, *shape)).reshape(shape)


def matmul_right(g, x, shape):
    """The gradient of x @ y for a y of that shape."""
    g = as_product(g, x.ndim > 1, len(shape) > 1)
    x = x if x.ndim > 1 else x[None, :]
    wide = shape if len(shape) > 1 else (*shape, 1)
    if len(wide) == 2:  # one matrix for a whole stack: its gradient is one product of tall matrices
        x, g = (m.reshape(prod(m.shape[:-1]), m.shape[-1]) for m in (x, g))
    return unbroadcast(x.swapaxes(-1, -2) @ g, wide).reshape(shape)


def concatenate(*xs, axis=0):
    """Join arrays along an axis that they have."""
    cuts = np.cumsum([x.shape[axis] for x in xs])[:-1]
    return np.concatenate(xs, axis), lambda g: np.split(g, cuts, axis)


def stack(*xs, axis=0):
    """Join arrays of one shape along a new axis."""
    count = len(xs)
    return np.stack(xs, axis), lambda g: [g.take(i, axis) for i in range(count)]


def where(x, y, *, condition):
    """x where the condition holds, y elsewhere."""
    left, right = np.shape(x), np.shape(y)
    condition = np.asanyarray(condition)
    return np.where(condition, x, y), lambda g: (
        unbroadcast(np.where(condition, g, 0.0), left),
        unbroadcast(np.where(condition, 0.0, g), right),
    )


def pad(x, *, widths):
    """Put zeros around: widths is one (before, after) for each axis."""
    inner = tuple(slice(a, a + n) for (a, _), n in zip(widths, x.shape, strict=True))
    return np.pad(x, widths), lambda g: (g[inner],)


def logsumexp(x, *, axis=-1, keepdims=False):
    """log(sum(exp(x))) along an axis; the largest is taken out first, so nothing overflows.

    Where all are -inf, the largest cannot be taken out, and the result is nan.
    """
    top = x.max(axis, keepdims=True)
    e = np.exp(x - top)
    s = e.sum(axis, keepdims=True)
    y = np.log(s) + top
    return (y if keepdims else y.squeeze(axis)), lambda g: (
        (g if keepdims or axis is None else np.expand_dims(g, axis)) * (e / s),
    )


def softmax(x, *, axis=-1):
    """exp(x) / sum(exp(x)) along an axis."""
    e = np.exp(x - x.max(axis, keepdims=True))
    y = e / e.sum(axis, keepdims=True)
    return y, lambda g: (y * (g - (g * y).sum(axis, keepdims=True)),)
