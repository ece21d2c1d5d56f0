"""An array that tells what is done with it, and the list in which that is written down."""

import operator
import sys
from bisect import bisect
from contextvars import ContextVar
from math import prod
from typing import Any, NamedTuple

import numpy as np

from grad.order import backward

ACTIVE = ContextVar("active", default=None)  # the Recording that listens, if any


class ReplayError(RuntimeError):
    """A step cannot be replayed, or not this time: it would not do what the code would."""


class Buffer(NamedTuple):
    """A piece of memory that a step uses, and what for.

    The role is "fed", "parameter", "gradient" or "constant"; what the step computes is its "own".
    """

    role: str
    nbytes: int
    array: np.ndarray | None


class View(NamedTuple):
    """A part of a buffer, as NumPy describes one: where it begins, its shape and its strides."""

    buffer: int
    offset: int
    shape: tuple
    strides: tuple
    dtype: np.dtype

    @property
    def span(self):
        """The first byte of its buffer that it touches, and the one after the last."""
        reach = [(n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)]
        low, high = (sum(part(r, 0) for r in reach) for part in (min, max))
        return self.offset + low, self.offset + high + self.dtype.itemsize

    @property
    def dense(self):
        """Whether its entries stand side by side in C order."""
        steps = [self.dtype.itemsize * prod(self.shape[i + 1 :]) for i in range(len(self.shape))]
        return all(
            n == 1 or s == t for n, s, t in zip(self.shape, self.strides, steps, strict=True)
        )

    def fills(self, buffers):
        """Whether it is the whole of its buffer."""
        return prod(self.shape) * self.dtype.itemsize == buffers[self.buffer].nbytes


OUT = type("Out", (), {"__repr__": lambda self: "OUT"})()  # stands for `out` among arguments


class Call(NamedTuple):
    """One call: f(*args, **options), with a View for each array and OUT for the one it writes to.

    `keeps` says that something of what was in `out` stays there. `origin` is (operation,
    "forward" or "backward", line).
    """

    f: Any
    args: tuple
    options: dict
    out: View | None
    keeps: bool
    origin: tuple

    @property
    def reads(self):
        """The Views that it reads."""
        found = []
        mapped(lambda x: found.append(x) if type(x) is View else None, (self.args, self.options))
        return found

    @property
    def views(self):
        """All its Views."""
        return [*self.reads, self.out] if self.out else self.reads


def mapped(f, tree):
    """Apply f to every item of nested tuples, lists and dictionaries."""
    if type(tree) is tuple or type(tree) is list:
        return type(tree)([mapped(f, item) for item in tree])
    if type(tree) is dict:
        return {key: mapped(f, item) for key, item in tree.items()}
    return f(tree)


def plain(x):
    """Return a Traced array as an ordinary one on the same memory; anything else as it is."""
    return x.view(np.ndarray) if isinstance(x, Traced) else x


ENGINE = {
    f"grad.{name}" for name in ("trace", "replay", "tensor", "shapes", "ops", "steps", "order")
}


def origin():
    """Say who asks: (operation, "forward" or "backward", the line outside of the engine)."""
    op, line, frame = "", "", sys._getframe(1)
    while frame.f_code is not Recording.listen.__code__:
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        if code is backward.__code__:
            return frame.f_locals["node"].op, "backward", line
        if module == "grad.tensor" and code.co_name == "op":
            op = op or frame.f_locals.get("name", "")
        if not line and module not in ENGINE and not module.startswith("numpy"):
            line = f"{code.co_filename}:{frame.f_lineno}"
            op = op or code.co_name
        frame = frame.f_back
    return op, "forward", line


def told(origin):
    """Put an origin into words."""
    op, way, line = origin
    return f"{op}{', on the way back' * (way == 'backward')}{f' ({line})' * bool(line)}"


LASTING = {
    "fed": "the batch",
    "parameter": "a parameter",
    "constant": "an array that was there before",
}


class Recording:
    """What NumPy was asked while a step ran: the calls, in order, and the buffers they use."""

    def __init__(self):
        self.calls, self.buffers = [], []
        self.starts, self.numbers = [], []  # addresses where a buffer begins, in order, and which
        self.constants = {}  # id of a constant -> itself, and the View of the copy that we keep

    def listen(self, work, *args):
        """Return work(*args), and write down what happens."""
        token = ACTIVE.set(self)
        try:
            return work(*args)
        finally:
            ACTIVE.reset(token)

    def buffer(self, role, array):
        """Make an array a buffer, and return it Traced."""
        start = array.ctypes.data
        i = bisect(self.starts, start)
        self.starts.insert(i, start)
        self.numbers.insert(i, len(self.buffers))
        self.buffers.append(Buffer(role, array.nbytes, array))
        return array.view(Traced)

    def own(self, array):
        """Make a buffer of what has been computed, and return it Traced."""
        array = np.asarray(array)
        return self.buffer("own", array if array.flags.owndata else array.copy("K"))

    def owner(self, x):
        """Return the number of the buffer in whose memory an array is, or None."""
        if not isinstance(x, np.ndarray):
            return None
        i = bisect(self.starts, x.ctypes.data) - 1
        if i < 0 or x.ctypes.data - self.starts[i] >= max(self.buffers[self.numbers[i]].nbytes, 1):
            return None
        return self.numbers[i]

    def view(self, x):
        """Return the View that describes an array; anything else as it is."""
        owner = self.owner(x)
        if owner is not None:
            offset = x.ctypes.data - self.buffers[owner].array.ctypes.data
            return View(owner, offset, x.shape, x.strides, x.dtype)
        if not isinstance(x, np.ndarray):
            return x
        if isinstance(x, Traced):
            raise ReplayError(
                f"{told(origin())} uses an array of shape {x.shape} that was made unseen: in an "
                "earlier step, or by a method that a function of NumPy's could stand for"
            )
        if id(x) not in self.constants:
            copy = x.copy("K")
            self.buffer("constant", copy)
            self.constants[id(x)] = x, self.view(copy)
        return self.constants[id(x)][1]

    def note(self, f, args, options, out=None, keeps=False):
        """Write down one call, which writes to the array `out`."""
        out = self.view(out)
        what = LASTING.get(self.buffers[out.buffer].role) if out else None
        if what:
            raise ReplayError(f"{told(origin())} writes into {what}, which outlives the step")
        args, options = mapped(self.view, (args, options))
        self.calls.append(Call(f, args, options, out, keeps, origin()))

    def ufunc(self, ufunc, method, inputs, options):
        """Do and write down what a ufunc is asked."""
        if ufunc.nout != 1:
            raise ReplayError(f"{told(origin())} calls {ufunc.__name__}, which is not recorded")
        (given,) = options.pop("out", (None,))
        if options.get("where") is True:
            del options["where"]  # what methods say when there is nothing to say
        f = ufunc if method == "__call__" else getattr(ufunc, method)
        values, extra = mapped(plain, (inputs, options))
        if method == "at":
            self.note(f, (OUT, *inputs[1:]), options, inputs[0], keeps=True)
            return f(*values)
        if given is None:
            out = self.own(f(*values, **extra))
        else:
            out = given
            f(*values, out=plain(given), **extra)
        if method == "__call__":
            args = *inputs, OUT
        elif method == "reduce":
            axis, dtype = options.pop("axis", 0), options.pop("dtype", None)
            args = *inputs, axis, dtype, OUT, options.pop("keepdims", False)
        else:
            args, options = inputs, {**options, "out": OUT}
        self.note(f, args, options, out, keeps="where" in options)
        return out

    def function(self, f, args, options):
        """Do and write down what any other function is asked."""
        values, extra = mapped(plain, (args, options))
        if f in WRITES:
            keeps = f is operator.setitem or "where" in options
            self.note(f, (OUT, *args[1:]), options, args[0], keeps)
            return f(*values, **extra)
        result = f(*values, **extra)
        if f in ABOUT:
            return result
        parts = result if isinstance(result, (list, tuple)) else [result]
        if parts and all(self.owner(part) is not None for part in parts):  # nothing was computed
            if f not in VIEWS or any(isinstance(a, Traced) for a in (*args[1:], *options.values())):
                raise ReplayError(f"{told(origin())} calls {f.__name__}, which is not recorded")
            views = [part.view(Traced) for part in parts]
            return views if parts is result else views[0]
        if type(result) in (bool, int, float, str):
            self.note(decide, (f, args, options, result, origin()), {})
            return result
        if not isinstance(result, (np.ndarray, np.generic)) or "out" in options:
            raise ReplayError(f"{told(origin())} calls {f.__name__} in a way that is not recorded")
        out = self.own(result)
        if f in SPELLED:
            SPELLED[f](out, *args, **options)
        elif f in ROOMY:
            self.note(f, args, {**options, "out": OUT}, out)
        else:
            self.note(store, (OUT, f, args, options), {}, out)
        return out

    def forget(self):
        """Let go of the arrays that were computed."""
        self.buffers = [b._replace(array=None) if b.role == "own" else b for b in self.buffers]
        self.starts, self.numbers, self.constants = [], [], {}

    def draw(self, f, *args, **options):
        """Do and write down what a generator of random numbers is asked."""
        out = self.own(f(*args, **options))
        self.note(redraw, (OUT, f, args, options), {}, out)
        return out


def store(out, f, args, options):
    """Call a function that makes an array, and keep what is in it."""
    result = f(*args, **options)
    if result.shape != out.shape:
        raise ReplayError(
            f"{f.__name__} makes an array of shape {result.shape}, recorded {out.shape}"
        )
    out[...] = result


def redraw(out, f, args, options):
    """Draw random numbers: a call that never gives the same twice."""
    out[...] = f(*args, **options)


def decide(f, args, options, recorded, origin):
    """Look at a number that the code has looked at, and see that it is the same."""
    found = f(*args, **options)
    if found != recorded:
        raise ReplayError(
            f"the code would take another road at {told(origin)}: it asked for "
            f"{f.__name__}(...), which was {recorded} when the step was recorded and is {found}"
        )


def where(out, condition, x, y):
    """Spell np.where."""
    np.copyto(out, y)
    np.copyto(out, x, where=condition)


def pad(out, x, widths):
    """Spell np.pad with zeros."""
    np.copyto(out, 0)
    np.copyto(out[tuple(slice(a, a + n) for (a, _), n in zip(widths, x.shape, strict=True))], x)


WRITES = {np.copyto, operator.setitem}
ROOMY = {np.concatenate, np.stack, np.dot, np.einsum}  # they take an out=
VIEWS = {  # they give a part of an array, or all of it in another shape
    *(operator.getitem, np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.squeeze),
    *(np.expand_dims, np.broadcast_to, np.atleast_1d, np.atleast_2d, np.flip, np.diagonal),
    *(np.split, np.array_split, np.hsplit, np.vsplit),
    *(np.lib.stride_tricks.sliding_window_view,),
}
ABOUT = {np.shape, np.ndim, np.size, np.result_type}  # they look at no numbers
SPELLED = {  # written down as several calls, or none
    np.empty_like: lambda out, x, **options: None,
    np.zeros_like: lambda out, x, **options: np.copyto(out, 0),
    np.ones_like: lambda out, x, **options: np.copyto(out, 1),
    np.full_like: lambda out, x, value, **options: np.copyto(out, value),
    np.where: where,
    np.pad: pad,
}


def ask(f, *args, **options):
    """Call a function, and write it down where somebody listens."""
    recording = ACTIVE.get()
    if recording:
        return recording.function(f, args, options)
    args, options = mapped(plain, (args, options))
    return f(*args, **options)


def through(f):
    """Make a method of Traced that calls f, seen by the Recording."""
    return lambda self, *args, **options: ask(f, self, *args, **options)


def unseen(name):
    """Make a method of Traced that refuses to work in place, where nobody would see it."""

    def method(self, *args, **options):
        raise ReplayError(f"{told(origin())} calls .{name}(), which works in place and unseen")

    return method


class Traced(np.ndarray):
    """An array that tells the Recording what is done with it."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        recording = ACTIVE.get()
        if recording:
            return recording.ufunc(ufunc, method, inputs, options)
        inputs, options = mapped(plain, (inputs, options))
        return getattr(ufunc, method)(*inputs, **options)

    def __array_function__(self, f, types, args, options):
        return ask(f, *args, **options)

    def __getitem__(self, index):
        return ask(operator.getitem, self, index)

    def __setitem__(self, index, value):
        part = plain(self)[mapped(plain, index)]
        if not np.may_share_memory(part, plain(self)):
            ask(operator.setitem, self, index, value)
        elif getattr(value, "__array_interface__", None) != part.__array_interface__:
            np.copyto(self[index], value, casting="unsafe")  # else a[i] += b has done it already

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def astype(self, dtype, order="K", casting="unsafe", subok=True, copy=True):
        """Return a copy in another dtype, or itself where none is needed."""
        if self.dtype == dtype and not copy:
            return self
        out = np.empty_like(self, dtype=dtype, order=order)
        np.copyto(out, self, casting=casting)
        return out

    def copy(self, order="C"):
        """Return a copy, made by a call that is seen."""
        return self.astype(self.dtype, order)

    def reshape(self, *shape, **options):
        """A view, or where there is none, a view of a copy."""
        seen = np.may_share_memory(plain(self).reshape(*shape, **options), plain(self))
        return np.ndarray.reshape(self if seen else self.copy(), *shape, **options)

    def ravel(self):
        """Return all entries in one row."""
        return self.reshape(-1)

    def flatten(self):
        """Return a copy of all entries in one row."""
        return self.copy().reshape(-1)

    def fill(self, value):
        """Write one value everywhere."""
        self[...] = value

    __bool__, __int__, __float__, __index__ = map(through, (bool, int, float, operator.index))
    item, tolist, nonzero = map(through, (np.ndarray.item, np.ndarray.tolist, np.nonzero))
    argmax, argmin, argsort, take = map(through, (np.argmax, np.argmin, np.argsort, np.take))
    dot, repeat, trace, choose = map(through, (np.dot, np.repeat, np.trace, np.choose))
    cumsum, cumprod, round = map(through, (np.cumsum, np.cumprod, np.round))
    sort, partition, put = map(unseen, ("sort", "partition", "put"))
    resize, byteswap, setfield = map(unseen, ("resize", "byteswap", "setfield"))
