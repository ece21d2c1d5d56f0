"""Is a pullback right? Compare it with finite differences along one random direction."""

import math
import random
from types import SimpleNamespace


def along(x, v, h):
    """Return x + h * v, entry by entry."""
    return [a + h * b for a, b in zip(x, v, strict=True)]


# How to move in a kind of value: draw a random direction, take a step, measure a product.
# A new kind of value is a new row.
SPACES = {
    float: SimpleNamespace(
        direction=lambda x, rng: rng.gauss(0.0, 1.0),
        step=lambda x, v, h: x + h * v,
        inner=lambda u, v: u * v,
    ),
    list: SimpleNamespace(
        direction=lambda x, rng: [rng.gauss(0.0, 1.0) for _ in x],
        step=along,
        inner=lambda u, v: sum(a * b for a, b in zip(u, v, strict=True)),
    ),
}
SPACES[int] = SPACES[float]


def slope(f, x, h=1e-6):
    """Return the central difference (f(x + h) - f(x - h)) / 2h."""
    return (f(x + h) - f(x - h)) / (2 * h)


def gradcheck(rule, *args, constant=(), seed=0, h=1e-6, tolerance=1e-6):
    """Compare a rule's pullback with finite differences; raise AssertionError where they differ.

    `rule` returns (value, pullback), as under @primitive (a lifted operation is unwrapped).
    Draws a random gradient u of the value and a random direction v of the arguments. If the
    pullback is right, <u, change of the value along v> equals <pullback(u), v> up to rounding.
    One such projection sees every entry; a gradient of ones does not: it cannot tell
    an operation that only moves its entries from one that moves them elsewhere.
    `constant` lists the positions of arguments to hold still; None from the pullback is a
    gradient of zero. Returns the two numbers.
    """
    rule = getattr(rule, "rule", rule)
    rng = random.Random(seed)
    value, pullback = rule(*args)
    space, spaces = SPACES[type(value)], [SPACES[type(x)] for x in args]
    u = space.direction(value, rng)
    grads = list(pullback(u))
    if len(grads) != len(args):
        raise AssertionError(f"{rule.__name__}: {len(args)} arguments, {len(grads)} gradients")
    vs = [s.direction(x, rng) for s, x in zip(spaces, args, strict=True)]
    moving = [i for i in range(len(args)) if i not in constant]

    def along_v(t):
        moved = list(args)
        for i in moving:
            moved[i] = spaces[i].step(args[i], vs[i], t)
        return space.inner(u, rule(*moved)[0])

    told = sum(spaces[i].inner(grads[i], vs[i]) for i in moving if grads[i] is not None)
    seen = slope(along_v, 0.0, h)
    if not math.isclose(told, seen, rel_tol=tolerance, abs_tol=tolerance):
        raise AssertionError(
            f"{rule.__name__}: the pullback says {told:.9g}, finite differences say {seen:.9g}"
        )
    return told, seen
