"""Which functions do the arithmetic: one row for each kind of number."""

import math
from types import SimpleNamespace

FLOATS = SimpleNamespace(
    exp=math.exp, log=math.log, tanh=math.tanh, sqrt=math.sqrt, power=math.pow, maximum=max
)

BACKENDS = {float: FLOATS, int: FLOATS}


def xp(x):
    """Return the functions that compute with numbers of x's kind.

    A new kind of number is a new row of BACKENDS. A subclass, as numpy.float64 is of float,
    uses the row of its base. Raises TypeError where there is none.
    """
    for kind in type(x).__mro__:
        if kind in BACKENDS:
            return BACKENDS[kind]
    raise TypeError(f"no row of BACKENDS says how to compute with {type(x).__name__}")
