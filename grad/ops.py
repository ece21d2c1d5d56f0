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
    return pow(x, n), lambda g: (g * n * pow(x, n - (n != 0)), None)


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
    """1 / (1 + exp(-x)), written so that no power of e overflows and nothing cancels."""
    e = xp(x).exp
    y = e(-xp(x).maximum(-x, 0.0)) / (1.0 + e(-abs(x)))
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


def halves(op, pairs):
    """Cut x1 ... xn y1 ... yn in two, or refuse an odd number of arguments."""
    half, odd = divmod(len(pairs), 2)
    if odd:
        raise ValueError(f"{op} multiplies in pairs, and was given {len(pairs)} numbers to pair")
    return pairs[:half], pairs[half:]


@primitive
def dot(*xy):
    """x1*y1 + ... + xn*yn as one node, called as dot(*x, *y)."""
    x, y = halves("dot", xy)
    return sum(map(times, x, y)), lambda g: [g * v for v in y + x]


@primitive
def affine(bias, *wx):
    """bias + w1*x1 + ... + wn*xn as one node, called as affine(bias, *w, *x)."""
    w, x = halves("affine", wx)
    return sum(map(times, w, x), bias), lambda g: (g, *[g * v for v in x + w])


@primitive
def relu_affine(bias, *wx):
    """relu(affine(bias, *w, *x)) as one node, for floats."""
    w, x = halves("relu_affine", wx)
    z = sum(map(times, w, x), bias)

    def pullback(g):
        if z > 0:
            return (g, *[g * v for v in x + w])
        return (None,) * (1 + 2 * len(w))

    return max(z, 0.0), pullback
