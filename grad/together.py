"""Data-parallel training: every rank follows its rows of a batch, and moves its part of the model.

What each rank holds of an optimizer's moments is its part alone (ZeRO, stage 1: Rajbhandari et al.
2020, arXiv:1910.02054).
"""

from types import SimpleNamespace
from zlib import crc32

import numpy as np

from grad import checkpoints, replay
from grad.descent import Flat

LINE = 16  # parts are multiples of so many entries: two ranks seldom write into one cache line


def alike(group, **numbers):
    """Refuse ranks that do not begin with the same numbers."""
    mine = np.array([*numbers.values()], float)
    ranks = group.collect(mine).reshape(group.size, -1)
    different = [name for name, row in zip(numbers, ranks.T, strict=True) if len({*row}) > 1]
    if different:
        raise ValueError(
            f"the ranks do not begin alike, but differ in {', '.join(different)}: all build the "
            "same model and load the same checkpoint"
        )


class Joint(Flat):
    """The flat arrays of a group: what a step reads is the sum over ranks, what it writes is seen.

    Takes the place of an optimizer's own Flat; rank 0 has the parameters that all begin with. The
    optimizer, with its moments as far as it has any, goes on with this rank's part of them.
    """

    def __init__(self, optimizer, group):
        if isinstance(optimizer.flat, Joint):
            raise ValueError("this optimizer is at work in a group: make one step() for it")
        flat, n = optimizer.flat, optimizer.flat.data.size
        numbers = {name: float(a.sum()) for name, a in optimizer.moments.items()}
        alike(group, parameters=n, steps=optimizer.steps, lr=optimizer.lr, **numbers)
        self.params, self.group, self.n = flat.params, group, n
        width = LINE * group.size
        self.room = group.room(-(-(n + 1) // width) * width, flat.data)  # n + 1: and the loss
        if group.rank == 0:
            self.room.data[:n] = flat.data
        self.room.spread()
        self.move(self.room.data[:n], self.room.grad[:n])
        self.part = group.part(len(self.room.data))
        moments, mine = optimizer.moments, self.data[self.part]
        optimizer.flat = self
        optimizer.work_on(mine, self.room.total[: mine.size])
        for name, moment in moments.items():
            optimizer.moments[name][...] = moment[self.part]

    def collect(self):
        """See to the gradients as Flat does, and sum this rank's part of them over all ranks."""
        again = super().collect()
        self.room.reduce()
        return again

    def follow(self):
        """Let all ranks see what this one has moved."""
        if self.part.stop == len(self.room.data):
            self.room.data[-1] = self.room.total[-1]
        self.room.gather()
        super().follow()


def step(model, loss, optimizer, group, replayed=False):
    """Return a function step(x, y) that trains the model on a batch, and returns the mean loss.

    All ranks are given the same batch, and the same code with or without a group: each follows its
    share of the rows, and weighs it by how many they are. How many ranks there are changes the
    gradient by rounding alone, and all of them move alike, to the last bit. `loss(model(x), y)`
    is a mean over rows. With `replayed`, each size of a share is recorded, as by replay.step().

    Gradients are summed within the step: there is none to clip or to look at outside, and neither
    optimizer.step() nor training.fit() is for this optimizer. Where layers draw random numbers,
    each rank has a stream of its own. An error on one rank ends the step for good.
    """
    return Together(model, loss, optimizer, group, replayed)


class Together:
    """A training step that all ranks of a group take: see step()."""

    def __init__(self, model, loss, optimizer, group, replayed):
        self.model, self.loss, self.optimizer, self.group = model, loss, optimizer, group
        self.flat = Joint(optimizer, group)
        self.replays = {} if replayed else None
        self.broken = False
        modules = getattr(model, "modules", list)()
        if group.size > 1:
            for module in modules:
                for name, rng in vars(module).items():
                    if isinstance(rng, np.random.Generator):
                        setattr(module, name, rng.spawn(group.size)[group.rank])
        moved, named = {*optimizer.flat.params}, getattr(model, "named_parameters", list)()
        alike(group, **{name: crc32(p.data.tobytes()) for name, p in named if p not in moved})

    def __call__(self, x, y):
        if not 0 < len(x) == len(y):
            raise ValueError(f"a batch of {len(x)} rows has {len(y)} targets")
        if self.broken:
            raise RuntimeError("an earlier step ended in an error: the other ranks are elsewhere")
        self.broken = True
        mine = self.group.part(len(x))
        rows = mine.stop - mine.start
        value = self.gradients(x[mine], y[mine], rows / len(x)) if rows else self.nothing()
        self.flat.room.grad[-1] = value
        self.optimizer.step()
        self.broken = False
        return float(self.flat.room.data[-1])

    def gradients(self, x, y, weight):
        """Follow this rank's rows; return their part of the loss."""
        if self.replays is None:
            value = self.loss(self.model(x), y) * weight
            self.optimizer.zero_grad()
            value.backward()
            return value.item()
        key = len(x), weight
        if key not in self.replays:
            still = SimpleNamespace(
                flat=self.flat, zero_grad=self.optimizer.zero_grad, step=lambda: None
            )
            weighed = lambda z, y: self.loss(z, y) * weight  # noqa: E731
            self.replays[key] = replay.step(self.model, weighed, still)
        return self.replays[key](x, y)

    def nothing(self):
        """Go along with a step that has no row for this rank."""
        for node, _, _, room, _ in self.flat.places:
            room[...] = 0.0
            node.total = room
        return 0.0


def whole(optimizer):
    """Return the state dict that an optimizer which works alone would have. All ranks call this."""
    flat, state = optimizer.flat, optimizer.numbers()
    for name, moment in optimizer.moments.items():
        part = np.zeros(len(flat.room.total), moment.dtype)
        part[: moment.size] = moment
        state[name] = flat.group.collect(part)[: flat.n]
    return state


def save(path, model, optimizer, **notes):
    """Write a checkpoint, as checkpoints.save() does, from all ranks. All ranks call this.

    It does not depend on how many they are: any number of ranks can go on from it.
    """
    state = whole(optimizer)
    if optimizer.flat.group.rank == 0:
        held = SimpleNamespace(state_dict=lambda: state)
        checkpoints.save(path, model=model, optimizer=held, **notes)
    optimizer.flat.room.gather()  # nobody goes on before it is there
