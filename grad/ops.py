"""Every operation beside its derivative."""

from operator import mul as times

from grad.backend import xp
from grad.primitive import primitive


def both(g):
    """Give each of two arguments the whole gradient: the pullback of a sum of two."""
    return g, g


@primitive
def add(x, y):
    """x + y."""
    return x + y, both


@primitive
def sub(x, y):
    """x - y."""
    return x - y, lambda g: (g, -g)


@primitive
def mul(x, y):
    """x * y."""
    return x * y, lambda g: (g * y, g * x)


@primitive
def div(x, y):
    """x / y."""
    z = x / y
    return z, lambda g: (g / y, -g * z / y)


@primitive
def neg(x):
    """-x."""
    return -x, lambda g: (-g,)


@primitive
def power(x, n):
    """x ** n for a constant n: no gradient flows into the exponent."""
    pow = xp(x).power
    return pow(x, n), lambda g: (g * n * pow(x, n - 1) if n else g * 0.0, None)


@primitive
def raised(x, y):
    """x ** y for x > 0, with a gradient for both."""
    z, log_x = xp(x).power(x, y), xp(x).log(x)
    return z, lambda g: (g * y * z / x, g * z * log_x)


@primitive
def exp(x):
    """e ** x."""
    y = xp(x).exp(x)
    return y, lambda g: (g * y,)


@primitive
def log(x):
    """The natural logarithm, for x > 0."""
    return xp(x).log(x), lambda g: (g / x,)


@primitive
def sqrt(x):
    """The square root, for x >= 0."""
    y = xp(x).sqrt(x)
    return y, lambda g: (g / (2.0 * y),)


@primitive
def tanh(x):
    """The hyperbolic tangent."""
    y = xp(x).tanh(x)
    return y, lambda g: (g * (1.0 - y * y),)


@primitive
def sigmoid(x):
    """1 / (1 + exp(-x)), written with tanh so that no x overflows."""
    y = 0.5 + 0.5 * xp(x).tanh(0.5 * x)
    return y, lambda g: (g * y * (1.0 - y),)


@primitive
def relu(x):
    """max(x, 0). The slope at 0 is taken as 0."""
    return xp(x).maximum(x, 0.0), lambda g: (g * (x > 0),)


@primitive
def total(*xs):
    """x1 + ... + xn as one node."""
    count = len(xs)
    return sum(xs), lambda g: (g,) * count


@primitive
def dot(*xy):
    """x1*y1 + ... + xn*yn as one node, called as dot(*x, *y)."""
    half, odd = divmod(len(xy), 2)
    if odd:
        raise ValueError(f"dot pairs its arguments up, and {len(xy)} is odd")
    x, y = xy[:half], xy[half:]
    return sum(map(times, x, y)), lambda g: [g * v for v in y + x]


@primitive
def affine(bias, *wx):
    """bias + w1*x1 + ... + wn*xn as one node, called as affine(bias, *w, *x)."""
    half = len(wx) // 2
    w, x = wx[:half], wx[half:]
    return sum(map(times, w, x), bias), lambda g: (g, *[g * v for v in x + w])


@primitive
def relu_affine(bias, *wx):
    """relu(affine(bias, *w, *x)) as one node."""
    half = len(wx) // 2
    w, x = wx[:half], wx[half:]
    z = sum(map(times, w, x), bias)

    def pullback(g):
        if z > 0:
            return (g, *[g * v for v in x + w])
        return (None,) * (1 + 2 * half)

    return max(z, 0.0), pullback
