"""Who holds a node, when it dies, and how to hold less."""

import gc
import sys
import warnings
import weakref
from contextlib import contextmanager
from types import CellType, FrameType, FunctionType, MethodType, TracebackType

from grad.node import Node
from grad.order import backward
from grad.primitive import is_recording, recording


def alive(kind=Node):
    """List every object of a kind that is alive now, in no promised order."""
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]


# Where the interpreter's own kinds keep what they hold.
PLACES = {
    BaseException: ("args", "__traceback__", "__context__"),
    FunctionType: ("__defaults__", "__kwdefaults__"),
    MethodType: ("__self__",),
    TracebackType: ("tb_frame", "tb_next"),
}


def held(thing):
    """Name what a thing holds, as {place: object}.

    A node holds its slots, a container its items, a call its variables, and a function those
    variables of the calls around it that its body names.
    """
    if isinstance(thing, FrameType):
        return dict(thing.f_locals)
    if isinstance(thing, dict):
        return {f"[{key!r}]": item for key, item in thing.items()}
    if isinstance(thing, (list, tuple)):
        return {f"[{i}]": item for i, item in enumerate(thing)}
    found = {}
    if isinstance(thing, FunctionType) and thing.__closure__:
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__, strict=True):
            for content in gc.get_referents(cell):  # none, as long as the variable has no value
                found[name] = content
    places = [place for kind in type(thing).__mro__ for place in getattr(kind, "__slots__", ())]
    places += [place for kind in PLACES if isinstance(thing, kind) for place in PLACES[kind]]
    for place in places:
        if place != "__weakref__" and getattr(thing, place, None) is not None:
            found[place] = getattr(thing, place)
    return found | dict(getattr(thing, "__dict__", {}))


class Owner:
    """One hold on a thing: the `holder`, and in `words` the place where it holds `thing`."""

    __slots__ = ("holder", "named", "thing", "words")

    def __init__(self, holder, place, thing):
        self.holder, self.thing = holder, thing
        module = sys.modules.get(holder.get("__name__")) if type(holder) is dict else None
        self.named = module is not None and vars(module) is holder
        if self.named:
            self.words = f"the name {place[2:-2]} in {holder['__name__']}"
        elif isinstance(holder, Node):
            self.words = f"{place} of a node {holder.op}"
        elif isinstance(holder, FunctionType):
            self.words = f"{place} of the function {holder.__qualname__}"
        elif isinstance(holder, FrameType):
            self.words = f"{place} of a call of {holder.f_code.co_qualname}"
        else:
            self.words = f"{place} of a {type(holder).__name__}"

    def __repr__(self):
        return self.words


def owners(*things):
    """List every hold on the given things that the collector can see, as Owners.

    It does not see the local variables of a running call, nor what is held from C. A weak
    reference holds nothing. The whole heap is searched, once for all the things.
    """
    wanted = {id(thing) for thing in things}
    holders = [h for h in gc.get_referrers(*things) if not (h is things or isinstance(h, Owner))]
    cells = [h for h in holders if isinstance(h, CellType)]
    closures = [h for h in gc.get_referrers(*cells) if isinstance(h, tuple)]
    holders += [h for h in gc.get_referrers(*closures) if isinstance(h, FunctionType)]
    found = []
    for holder in holders:
        if not isinstance(holder, CellType):
            parts = [*held(holder).items()]
            if not any(id(item) in wanted for _, item in parts):
                parts = [("a part", item) for item in gc.get_referents(holder)]
            found += [Owner(holder, place, item) for place, item in parts if id(item) in wanted]
    return found


def why_alive(thing):
    """Follow owners from thing to the nearest name in a module: a list of Owners, nearest first.

    The list is empty where no name leads to it: then a running call holds it, or a cycle.
    """
    found, level = {id(thing): None}, (thing,)
    while level:
        above = []
        for owner in owners(*level):
            if id(owner.holder) not in found and owner.holder is not level:
                found[id(owner.holder)] = owner
                above.append(owner)
                if owner.named:
                    path = [owner]
                    while found[id(path[0].thing)]:
                        path.insert(0, found[id(path[0].thing)])
                    return path
        level = tuple(owner.holder for owner in above)
    return []


class Lifetimes:
    """Within a block, note the birth and the death of every node computed from some leaves.

    >>> with Lifetimes(x, w) as log:
    ...     loss = (w * x).exp()
    ...     del loss
    >>> log.lives
    [['mul', 1, 4], ['exp', 2, 3]]

    Each life is [operation, birth, death], counted in births and deaths so far; the death of a
    node that is still alive is None. A result is of its first argument's class, so give all leaves.
    """

    def __init__(self, *leaves):
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

            def __init__(self, *args):
                super().__init__(*args)
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


@contextmanager
def no_grad():
    """Within a block, or a function decorated with no_grad(), results remember nothing."""
    before = recording.set(False)
    try:
        yield
    finally:
        recording.reset(before)


def detach(node):
    """Return a leaf with the data of node and none of its past."""
    return type(node)(node.data)


def checkpoint(f, *args):
    """Return f(*args) as a single node that keeps args and f, and nothing in between.

    f is run once without recording, and once more on the way back, to make what its pullbacks
    need: memory for time (Chen et al. 2016, arXiv:1604.06174). It must return one node, and
    the same one each time. Leaves that f uses beside its arguments get their gradients directly.
    Raises ValueError without a node among args, TypeError where f does not return a node, and
    RuntimeError on the way back if the second run comes out different.
    """
    kind = next((type(x) for x in args if isinstance(x, Node)), None)
    if kind is None:
        raise ValueError("checkpoint was given no node: gradients could not find their way back")
    parents = tuple(x if isinstance(x, Node) else kind(x) for x in args)
    numbers = [x.data for x in parents]
    with no_grad():
        out = f(*parents)
    if not isinstance(out, Node):
        raise TypeError(f"checkpoint needs f to return one node, not {type(out).__name__}")
    value = out.data

    def pullback(g):
        inputs = [kind(x) for x in numbers]
        before = recording.set(True)
        try:
            out = f(*inputs)
        finally:
            recording.reset(before)
        if out.data != value and value == value:
            raise RuntimeError(
                f"checkpoint ran f again and got {out.data!r} instead of {value!r}: f, or a "
                "number that it uses, has changed since"
            )
        backward(out, g)
        return [x.grad for x in inputs]

    return kind(value, parents, pullback, "checkpoint") if is_recording() else kind(value)


@contextmanager
def collector_off():
    """Run a block with the garbage collector off, and warn if it left nodes that need one.

    What was garbage before is collected on the way in. On the way out the collector is put back
    as it was, and every Node that only it could free is counted and freed.
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
