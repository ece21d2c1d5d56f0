"""A training step recorded once and run again: what NumPy was asked, asked again in place."""

from functools import partial
from itertools import zip_longest
from math import isfinite

import numpy as np

from grad.memory import no_grad
from grad.node import ancestors
from grad.order import backward
from grad.plan import PASSES, plan
from grad.steps import Leaf
from grad.trace import OUT, Recording, ReplayError, View, mapped, plain, told


class Program:
    """A recorded step on memory of its own: `run` lists what to call, `calls` what that is."""

    def __init__(self, recording, loss, passes=PASSES, reuse=True):
        calls, buffers = recording.calls, recording.buffers
        for leave_out in passes:
            calls, buffers = leave_out(calls, buffers, loss)
        self.places, self.bytes = plan(calls, buffers, loss, reuse)
        block = np.zeros(self.bytes + 64, np.uint8)
        self.block = block[-block.ctypes.data % 64 :]
        self.buffers = [b._replace(array=None) if b.role == "own" else b for b in buffers]
        self.calls, self.run = calls, [self.ready(call) for call in calls]
        self.loss = self.array(loss)

    def array(self, view):
        """Make the array that a View describes."""
        if view.buffer in self.places:
            start = self.places[view.buffer] + view.offset
            return np.ndarray(view.shape, view.dtype, self.block, start, view.strides)
        array = self.buffers[view.buffer].array
        if (array.shape, array.strides, array.dtype) == view[2:]:
            return array
        return np.ndarray(view.shape, view.dtype, array, view.offset, view.strides)

    def ready(self, call):
        """Return a call with arrays for its Views, to be made without arguments."""
        out = call.out and self.array(call.out)

        def put(x):
            return out if x is OUT else self.array(x) if type(x) is View else x

        f, (args, options) = call.f, mapped(put, (list(call.args), call.options))
        if isinstance(f, np.ufunc) and not f.signature:
            dtypes = f.resolve_dtypes((*[getattr(a, "dtype", type(a)) for a in args[:-1]], None))
            for i, a in enumerate(args):
                if type(a) in (int, float):
                    args[i] = np.asarray(a, dtypes[i])  # converted here, and not at every call
        if f in (np.maximum, np.minimum):
            options["out"] = args.pop()  # NumPy would warn at every call
        if f is np.matmul and args[0].ndim == args[1].ndim == 2 and call.out.dense:
            f = np.dot  # the same product, and less between the call and BLAS
        return partial(f, *args, **options)


def step(model, loss, optimizer):
    """Return a function step(x, y) that trains the model on a batch, and returns the loss.

    It does what this does, and after two steps does it without the code:

        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    The first two steps run your code and write down every call of NumPy. All later ones make the
    same calls, on arrays that are there already. x, y, the parameters and the random draws of
    layers are new each time; all else is as it was when the step was recorded: what two steps on
    different batches had in common is taken to stay. Batches have one shape: record another step
    for another. Of a model that is no Module, train(), eval() and generators are not seen.
    Raises ReplayError, with nothing changed, where it sees that the code would do anything else.
    """
    return Replay(model, loss, optimizer)


class Draws:
    """A generator of random numbers whose draws are written down, to be drawn anew."""

    def __init__(self, rng, recording):
        self.rng, self.recording = rng, recording

    def __getattr__(self, name):
        return partial(self.recording.draw, getattr(self.rng, name))


class Replay:
    """A training step that is recorded twice and replayed from then on: see step().

    `program` is what is replayed, None before.
    """

    def __init__(self, model, loss, optimizer):
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.params = [
            *dict.fromkeys([*optimizer.flat.params, *getattr(model, "parameters", list)()])
        ]
        self.modules = getattr(model, "modules", list)()
        self.fed = self.first = self.program = None
        self.drawn = [rng for *_, rng in self.held(np.random.Generator)]

    def __call__(self, x, y):
        self.feed(np.asarray(x), np.asarray(y))
        value = self.again() if self.program and not self.news() else self.record()
        if not isfinite(value):
            raise FloatingPointError(
                f"the loss is {value}: run this batch without replay under training.finite()"
            )
        self.optimizer.zero_grad()
        for node, room in self.rooms:
            node.total = room
        self.optimizer.step()
        return value

    def news(self):
        """Whether this is the first batch that differs from those that were recorded."""
        return self.first is not None and any(
            not np.array_equal(fed, seen)
            for (fed, *_), seen in zip(self.fed, self.seen, strict=True)
        )

    def feed(self, *batch):
        """Write a batch where the recorded calls read it."""
        if self.fed is None:
            self.fed = [(a.copy(), a.shape, a.dtype) for a in batch]
        for array, (fed, shape, dtype) in zip(batch, self.fed):  # noqa: B905, slow
            if array.shape != shape or (array.dtype is not dtype and array.dtype != dtype):
                raise ValueError(
                    f"this step was recorded for {dtype} of shape {shape}, and is given "
                    f"{array.dtype} of shape {array.shape}: record another step for it"
                )
            fed[...] = array

    def again(self):
        """Replay the step up to the gradients; return the loss."""
        for p, data in self.bound:
            if p.data is not data:
                raise ReplayError(
                    f"a parameter of shape {p.shape} has moved to another array since"
                )
        for module, training in self.modes:
            if module.training is not training:
                raise ReplayError(
                    f"this step was recorded with {type(module).__name__}.training = {training}: "
                    "call train() or eval(), or record another step"
                )
        states = [rng.bit_generator.state for rng in self.drawn]
        try:
            for call in self.program.run:
                call()
        except ReplayError:
            x, y = [fed for fed, *_ in self.fed]
            self.rewind(states)
            try:
                with no_grad():
                    self.loss(self.model(x), y)  # your code may know better what is wrong
            finally:
                self.rewind(states)
            raise
        return self.program.loss.item()

    def rewind(self, states):
        """Put the generators back as they were."""
        for rng, state in zip(self.drawn, states, strict=True):
            rng.bit_generator.state = state

    def record(self):
        """Run the code up to the gradients, and write down what it asks; return the loss."""
        recording = Recording()
        states = [rng.bit_generator.state for rng in self.drawn]
        try:
            loss, value = recording.listen(self.trace, recording)
        except BaseException:
            self.fed = self.fed if self.first else None  # this batch need not be like the next
            raise
        if not isfinite(value):
            return value
        if self.first is None:
            recording.forget()
            self.first, self.seen = recording, [fed.copy() for fed, *_ in self.fed]
            return value
        compare(self.first, recording)
        program, gradients = Program(recording, loss), [room.copy() for _, room in self.rooms]
        self.rewind(states)
        for call in program.run:
            call()
        found = [program.loss, *[room for _, room in self.rooms]]
        for a, b in zip(found, [value, *gradients], strict=True):
            if not np.allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max(initial=0.0)):
                raise ReplayError(
                    "replayed, the step gives other numbers: the code changes an array or keeps "
                    "a state that NumPy was not asked for"
                )
        self.program = program
        if self.news():
            self.first = self.seen = None
        return value

    def held(self, kind):
        """List (module, attribute, thing) for each thing of a kind that a layer holds."""
        held = [(m, name, thing) for m in self.modules for name, thing in vars(m).items()]
        return [place for place in held if isinstance(place[2], kind)]

    def trace(self, recording):
        """Run the code on Traced arrays; return the View of the loss, and the loss."""
        before = [(p, p.data, p.node.room) for p in self.params]
        generators = self.held(np.random.Generator)
        arrays = [(*place, place[2].copy()) for place in self.held(np.ndarray)]
        try:
            for module, name, rng in generators:
                setattr(module, name, Draws(rng, recording))
            for p, data, room in before:
                p.data, p.node.total = recording.buffer("parameter", data), None
                if room is not None:
                    p.node.room = recording.buffer("gradient", room)
            x, y = [recording.buffer("fed", fed) for fed, *_ in self.fed]
            loss = self.loss(self.model(x), y)
            if loss.size != 1:
                raise ValueError(f"a loss is one number, not an array of shape {loss.shape}")
            mine = {p.node for p in self.params}
            for node in ancestors(loss.node):
                if type(node) is Leaf and node not in mine:
                    raise ReplayError(
                        f"the step uses a Tensor of shape {node.data} that is no parameter of the "
                        "model: what it is made of would not be seen to change"
                    )
            ones = np.ones(loss.shape, loss.dtype)
            backward(loss.node, recording.buffer("constant", ones))
            for module, name, array, copy in arrays:
                if vars(module).get(name) is not array or not np.array_equal(array, copy):
                    raise ReplayError(
                        f"the step changes {name} of {type(module).__name__}, which a replay "
                        "would leave as it is"
                    )
            return recording.view(loss.data), plain(loss.data).item()
        finally:
            self.bound = [(p, data) for p, data, _ in before]
            self.modes = [(module, module.training) for module in self.modules]
            self.rooms = [
                (p.node, room)
                for p, _, room in before
                if room is not None and p.node.total is not None
            ]
            for p, data, room in before:
                p.data, p.node.room, p.node.total = data, room, None
            for module, name, rng in generators:
                setattr(module, name, rng)


def compare(first, second):
    """Refuse two recordings of one step that differ: what differs would be frozen in a replay."""
    for one, two in zip_longest(first.calls, second.calls):
        if one is None or two is None or one[:-1] != two[:-1]:
            raise ReplayError(
                "two recorded steps did not ask for the same: a number or a road in the "
                f"code differs between them, at {told((one or two).origin)}"
            )
    for i, (one, two) in enumerate(zip(first.buffers, second.buffers, strict=True)):
        if one.role == "constant" and not np.array_equal(one.array, two.array, equal_nan=True):
            user = next(call for call in second.calls if i in [v.buffer for v in call.reads])
            raise ReplayError(
                f"{told(user.origin)} uses an array of shape {one.array.shape} that was new in "
                "each of the recorded steps, and was neither fed nor computed with NumPy's "
                "functions from what was: feed it"
            )
