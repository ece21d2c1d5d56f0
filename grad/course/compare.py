"""How two results differ, in words: the eyes of a check."""

import cmath
from numbers import Number


def difference(yours, expected, tolerance=0.0, at=""):
    """What sets `yours` apart from `expected`, in words. Empty when nothing does.

    Containers must be of one kind and agree item by item, numbers within `tolerance` (relative, and
    absolute near zero), and anything else must be the same object or equal.
    """
    yours, expected = _plain(yours), _plain(expected)
    place = f"at {at}: " if at else ""
    if not _same_kind(yours, expected):
        return f"{place}{_kind(yours)} where {_kind(expected)} is due"
    if _is_number(expected):
        return "" if _near(yours, expected, tolerance) else f"{place}{_gap(yours, expected)}"
    if _is_array(expected):
        if yours.shape != expected.shape:
            return f"{place}shape {tuple(yours.shape)} where {tuple(expected.shape)} is due"
        return difference(yours.tolist(), expected.tolist(), tolerance, at)
    if isinstance(expected, (list, tuple)):
        if len(yours) != len(expected):
            return f"{place}length {len(yours)} where {len(expected)} is due"
        pairs = enumerate(zip(yours, expected, strict=True))
        parts = (difference(a, b, tolerance, f"{at}[{i}]") for i, (a, b) in pairs)
        return next(filter(None, parts), "")
    if isinstance(expected, dict):
        if yours.keys() != expected.keys():
            return f"{place}keys {shown(list(yours))} where {shown(list(expected))} are due"
        parts = (difference(yours[k], expected[k], tolerance, f"{at}[{k!r}]") for k in expected)
        return next(filter(None, parts), "")
    if tolerance and hasattr(expected, "data"):
        return difference(yours.data, expected.data, tolerance, f"{at}.data")
    if yours is expected or bool(yours == expected):
        return ""
    return f"{place}{shown(yours)} where {shown(expected)} is due" if at else "they are not equal"


def shown(value, width=160):
    """A value as its repr, cut to a readable length."""
    try:
        text = repr(value)
    except Exception as error:
        return f"<{_kind(value)} whose repr raises {type(error).__name__}>"
    text = "\n            ".join(text.splitlines())
    return text if len(text) <= width else f"{text[:width]} … ({len(text)} characters)"


def size(value):
    """How large an input is: how many parts it has, then how large its numbers are."""
    value = _plain(value)
    if _is_array(value):
        value = value.tolist()
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [size(part) for part in value]
        return 1 + sum(count for count, _ in parts), sum(weight for _, weight in parts)
    return 1, abs(value) if _is_number(value) else len(shown(value))


def _plain(value):
    """A NumPy scalar, or an array of no dimensions, as the Python number it holds."""
    return value.item() if _is_array(value) and value.shape == () else value


def _is_array(value):
    return type(value).__module__.startswith(("numpy", "cupy")) and hasattr(value, "shape")


def _is_number(value):
    return isinstance(value, Number) and not isinstance(value, bool)


def _same_kind(yours, expected):
    if _is_number(expected) or _is_number(yours):
        return _is_number(yours) and _is_number(expected)
    if _is_array(expected) or _is_array(yours):
        return _is_array(yours) and _is_array(expected)
    return isinstance(yours, type(expected))


def _near(yours, expected, tolerance):
    if yours == expected or (yours != yours and expected != expected):
        return True
    return bool(tolerance) and cmath.isclose(yours, expected, rel_tol=tolerance, abs_tol=tolerance)


def _gap(yours, expected):
    return "not a number" if yours != yours else f"off by {abs(yours - expected):.3g}"


def _kind(value):
    if value is None:
        return "nothing"
    name = "number" if _is_number(value) else type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
