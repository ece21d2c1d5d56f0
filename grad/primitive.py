"""Lift a rule on plain numbers to an operation on nodes."""

from contextvars import ContextVar

from grad.node import Node

PRIMITIVES = {}  # name -> lifted operation; every later chapter may add rows

recording = ContextVar("recording", default=True)
is_recording = recording.get


def again(op, args, error):
    """Finish a call that failed on the straight way.

    Plain numbers among the arguments become leaves; a call without any node gives a plain
    number; and where the rule itself failed, the error learns which operation it came from.
    """
    kinds = [type(a) for a in args if isinstance(a, Node)]
    try:
        if not kinds:
            return op.rule(*args)[0]
        if len(kinds) < len(args):
            return op(*[a if isinstance(a, Node) else kinds[0](a) for a in args])
    except Exception as real:
        raise real from None  # the first failure was only the lack of a node
    error.add_note(f"in {op.__name__}({', '.join(repr(a.data) for a in args)})")
    try:
        raise error
    finally:
        del error  # its traceback holds this frame: the frame must not hold the error too


def unary(rule):
    """Lift a rule of one argument."""
    name = rule.__name__

    def op(x):
        try:
            value, pullback = rule(x.data)
        except Exception as error:
            return again(op, (x,), error)
        kind = type(x)
        return kind(value, (x,), pullback, name) if is_recording() else kind(value)

    return op


def binary(rule):
    """Lift a rule of two arguments."""
    name = rule.__name__

    def op(x, y):
        try:
            value, pullback = rule(x.data, y.data)
        except Exception as error:
            return again(op, (x, y), error)
        kind = type(x)
        return kind(value, (x, y), pullback, name) if is_recording() else kind(value)

    return op


def nary(rule):
    """Lift a rule of any number of arguments."""
    name = rule.__name__

    def op(*args):
        try:
            value, pullback = rule(*[a.data for a in args])
            kind = type(args[0])
        except Exception as error:
            return again(op, args, error)
        return kind(value, args, pullback, name) if is_recording() else kind(value)

    return op


def primitive(rule):
    """Lift `rule`, which takes plain numbers and returns (value, pullback), to work on nodes.

    The pullback receives the gradient of the value and returns one gradient for each argument,
    None where no gradient flows. The lifted operation is entered in PRIMITIVES under the
    rule's name and keeps the rule as its attribute `rule`.

    >>> @primitive
    ... def cube(x):
    ...     return x**3, lambda g: (3 * g * x**2,)
    >>> cube(Node(2.0)).data
    8.0
    """
    code = rule.__code__
    several = code.co_flags & 4 or code.co_argcount > 2  # 4: the rule takes *args
    lift = nary if several else (unary, binary)[code.co_argcount - 1]
    op = lift(rule)
    op.rule = rule
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(op, name, getattr(rule, name))
    PRIMITIVES[rule.__name__] = op
    return op
