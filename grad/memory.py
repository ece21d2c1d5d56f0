"""Who holds a node, when it dies, and how to hold less."""

import gc
import sys
import warnings
import weakref
from contextlib import contextmanager
from itertools import pairwise
from types import CellType, FrameType, FunctionType, GeneratorType, MethodType, TracebackType

from grad.node import Node
from grad.order import backward
from grad.primitive import is_recording, recording


def alive(kind=Node):
    """List every object of a kind that is alive and known to the collector, in no order."""
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]


# Where the interpreter's own kinds keep what they hold.
PLACES = {
    BaseException: ("args", "__traceback__", "__context__"),
    FunctionType: ("__defaults__", "__kwdefaults__"),
    MethodType: ("__self__",),
    TracebackType: ("tb_frame", "tb_next"),
}


def parts(thing):
    """List what a thing holds as (place, object); a place is a key, an index or a name."""
    kind = type(thing)
    if issubclass(kind, dict):
        return list(dict.items(thing))
    if issubclass(kind, (list, tuple)):
        return list(enumerate(thing))
    if kind is FrameType or kind is GeneratorType:
        frame = getattr(thing, "gi_frame", thing)
        return list(frame.f_locals.items()) if frame else []  # a generator may be exhausted
    found = []
    if kind is FunctionType and thing.__closure__:
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__, strict=True):
            found += [(name, item) for item in gc.get_referents(cell)]  # none while it is empty
    names = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
    names += [name for base in PLACES if issubclass(kind, base) for name in PLACES[base]]
    found += [(name, getattr(thing, name, None)) for name in names if name != "__weakref__"]
    found += getattr(thing, "__dict__", {}).items()
    return [(name, item) for name, item in found if item is not None]


def spelled(thing, place):
    """Write a place in a thing as Python would: [3], ['key'] or a name."""
    return f"[{place!r}]" if issubclass(type(thing), (dict, list, tuple)) else str(place)


def held(thing):
    """Name what a thing holds, as {place: object}.

    A node holds its slots, a container its items, a call its variables, and a function those
    variables of the calls around it that its body names.
    """
    return {spelled(thing, place): item for place, item in parts(thing)}


def names_of(holder):
    """Return the name of the module whose names a dictionary holds; None for anything else."""
    name = holder.get("__name__") if type(holder) is dict else None
    module = sys.modules.get(name) if type(name) is str else None
    return name if getattr(module, "__dict__", None) is holder else None


class Owner:
    """One hold on a thing: the `holder`, and in `words` the place where it holds `thing`."""

    __slots__ = ("holder", "thing", "words")

    def __init__(self, holder, place, thing):
        self.holder, self.thing = holder, thing
        if module := names_of(holder):
            self.words = f"the name {place} in {module}"
        elif isinstance(holder, Node):
            self.words = f"{place} of a node {holder.op}"
        elif isinstance(holder, FunctionType):
            self.words = f"{place} of the function {holder.__qualname__}"
        elif isinstance(holder, FrameType):
            self.words = f"{place} of a call of {holder.f_code.co_qualname}"
        else:
            self.words = f"{spelled(holder, place)} of a {type(holder).__name__}"

    def __repr__(self):
        return self.words


def holds(holder, *things):
    """List the Owners that say where holder holds each of some things."""
    wanted = {id(thing) for thing in things}
    found = [(place, item) for place, item in parts(holder) if id(item) in wanted]
    if not found:
        own = getattr(holder, "__dict__", None)
        inside = [item for item in gc.get_referents(holder) if id(item) in wanted]
        found = [("__dict__" if item is own else "a part", item) for item in inside]
    return [Owner(holder, place, item) for place, item in found]


def owners(*things):
    """List every hold on the given things that the collector can see, as Owners.

    It does not see the local variables of a running call, nor what is held from C, but it does
    see the tuple that a star makes of a list: owners(*nodes). A weak reference holds nothing.
    The whole heap is searched, once for all the things.
    """
    holders = [h for h in gc.get_referrers(*things) if h is not things and type(h) is not Owner]
    beyond = gc.get_referrers(*[h for h in holders if type(h) is CellType])
    holders += [h for h in beyond if type(h) in (FrameType, GeneratorType)]
    closures = [h for h in beyond if type(h) is tuple]
    holders += [h for h in gc.get_referrers(*closures) if type(h) is FunctionType]
    return [hold for h in holders if type(h) is not CellType for hold in holds(h, *things)]


def why_alive(thing):
    """Follow owners from thing to the nearest name in a module: a list of Owners, nearest first.

    The list is empty where no name leads to it: then a running call holds it, or a cycle.
    Reads the whole heap once, however long the way.
    """
    above = {}
    for holder in gc.get_objects():
        for item in gc.get_referents(holder):
            above.setdefault(id(item), []).append(holder)
    below, level = {id(thing): None}, [thing]
    while level:
        items, level = level, []
        for item in items:
            for holder in above.get(id(item), ()):
                if id(holder) not in below and type(holder) is not Owner:
                    below[id(holder)] = item
                    level.append(holder)
                    if names_of(holder):
                        return path(thing, holder, below)
    return []


def path(thing, name, below):
    """Put into words the way down from a module's names to thing."""
    way = [name]
    while way[-1] is not thing:
        way.append(below[id(way[-1])])
    way.reverse()
    # What lies between a variable and its function, call or object is left out.
    rooms = ("__closure__", "__dict__", "f_locals")
    between = {id(getattr(holder, room, None)) for holder in way for room in rooms} - {id(name)}
    steps = [x for x in way if type(x) is not CellType and id(x) not in between]
    return [owner for x, holder in pairwise(steps) for owner in holds(holder, x)[:1]]


class Lifetimes:
    """Within a block, note the birth and the death of every node made from some leaves.

    >>> with Lifetimes(x, w) as log:
    ...     loss = (w * x).exp()
    ...     del loss
    >>> log.lives
    [['mul', 1, 4], ['exp', 2, 3]]

    Each life is [operation, birth, death], counted in births and deaths so far; the death of a
    node that is still alive is None. Deaths are noted after the block too, births are not. A
    result is of its first argument's class, so give all leaves. Raises TypeError for what is no
    node.
    """

    def __init__(self, *leaves):
        if not all(isinstance(leaf, Node) for leaf in leaves):
            raise TypeError("Lifetimes watches nodes, and was given something else")
        self.leaves = leaves
        self.lives = []
        self.now = 0
        self.watches = set()

    def tick(self):
        """Count one more birth or death, and return the count."""
        self.now += 1
        return self.now

    def watch(self, node):
        """Note that node is born, and see to it that its death is noted."""
        life = [node.op, self.tick(), None]
        self.lives.append(life)

        def died(watch):
            life[2] = self.tick()
            self.watches.remove(watch)

        self.watches.add(weakref.ref(node, died))

    def kind(self, base):
        """Derive a class from base whose objects are watched; base stays as it is."""
        log = self

        class Watched(base):
            __slots__ = ()

            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                if log.leaves:
                    log.watch(self)

        Watched.__name__ = base.__name__
        return Watched

    def __enter__(self):
        self.kinds = [type(leaf) for leaf in self.leaves]
        watched = {kind: self.kind(kind) for kind in self.kinds}
        for leaf, kind in zip(self.leaves, self.kinds, strict=True):
            leaf.__class__ = watched[kind]
        return self

    def __exit__(self, *error):
        for leaf, kind in zip(self.leaves, self.kinds, strict=True):
            leaf.__class__ = kind
        self.leaves = ()  # a class is always part of a ring, and must not take these along


@contextmanager
def no_grad():
    """Within a block, or a function decorated with no_grad(), results remember nothing.

    It holds for the thread that enters it. Not for generators: decorated, they run when the
    decorator has left; suspended inside a block, they leave it in force for whoever goes on.
    """
    before = recording.set(False)
    try:
        yield
    finally:
        recording.reset(before)


def detach(node):
    """Return a leaf with the data of node and none of its past."""
    return type(node)(node.data)


def differ(x, y):
    """Say whether two numbers, or any entries of two arrays, are not the same; NaN is like NaN."""
    unlike = (x != y) & ((x == x) | (y == y))
    return bool(getattr(unlike, "any", lambda: unlike)())


def checkpoint(f, *args):
    """Return f(*args) as a single node that keeps args and f, and nothing in between.

    f is run once without recording, and once more on the way back, to make what its pullbacks
    need: memory for time (Chen et al. 2016, arXiv:1604.06174). It must return one node. Leaves
    that f uses beside its arguments get their gradients directly; a computed node that f uses
    has to be among the arguments.
    Raises ValueError without a node among args, TypeError where f does not return a node, and
    RuntimeError on the way back if the second result is another. A change of what f uses that
    leaves the result as it was goes unseen.
    """
    kind = next((type(x) for x in args if isinstance(x, Node)), None)
    if kind is None:
        raise ValueError("checkpoint was given no node: gradients could not find their way back")
    parents = tuple(x if isinstance(x, Node) else kind(x) for x in args)
    inputs = [(type(x), x.data) for x in parents]
    with no_grad():
        out = f(*parents)
    if not isinstance(out, Node):
        raise TypeError(f"checkpoint needs f to return one node, not {type(out).__name__}")
    value = out.data

    def pullback(g):
        leaves = [kind(x) for kind, x in inputs]
        before = recording.set(True)
        try:
            out = f(*leaves)
        finally:
            recording.reset(before)
        if differ(out.data, value):
            raise RuntimeError(
                f"checkpoint ran f again and got {out.data!r} instead of {value!r}: f, or a "
                "number that it uses, has changed since"
            )
        backward(out, g)
        return [x.grad for x in leaves]

    return kind(value, parents, pullback, "checkpoint") if is_recording() else kind(value)


@contextmanager
def collector_off():
    """Run a block with the garbage collector off, and warn if it left nodes that need one.

    What was garbage before is collected on the way in. On the way out the collector is put back
    as it was, and every Node that only it could free is counted and freed. What is collected
    within the block, as by a second collector_off() in it, is not counted.
    """
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        before = len(alive())
        gc.collect()
        lost = before - len(alive())
        if was_on:
            gc.enable()
        if lost:
            warnings.warn(
                f"{lost} node(s) were left in reference cycles, for the collector alone to free",
                stacklevel=3,
            )
