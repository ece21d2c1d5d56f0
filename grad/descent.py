"""Optimizers that move all parameters at once, in place, in one flat array."""

import gc
import math
import warnings

import numpy as np

from grad.layers import agree
from grad.steps import Leaf
from grad.tensor import Tensor

BLOCK = 1 << 17  # entries: so much of a few arrays stays in a cache while an update is computed


class Flat:
    """All parameters as one array `data` and their gradients as another, `grad`.

    The parameters become views of `data`, and their gradients are written into views of `grad`
    from then on. One parameter has one home: a later Flat takes it away from an earlier one.
    """

    def __init__(self, params):
        self.params = list(params)
        self.check()
        data = np.concatenate([p.data.reshape(-1) for p in self.params])
        self.move(data, np.zeros_like(data))

    def move(self, data, grad):
        """Let the parameters be what `data` holds, and their gradients be written into `grad`."""
        self.data, self.grad = data, grad
        self.places = []  # node, Tensor, its part of data, and two views of its part of grad
        ends = np.cumsum([p.size for p in self.params]).tolist()
        for p, end in zip(self.params, ends, strict=True):
            part = slice(end - p.size, end)
            view, room, used = (a[part].reshape(p.shape) for a in (self.data, self.grad, self.grad))
            p.data, p.node.room = view, room
            self.places.append((p.node, p, view, room, used))

    def check(self):
        """Refuse anything but different leaf Tensors of one dtype, and none of them at all."""
        if not self.params:
            raise ValueError("there are no parameters to move")
        for p in self.params:
            if not isinstance(p, Tensor):
                raise TypeError(f"an optimizer moves Tensors, not {type(p).__name__}")
            if type(p.node) is not Leaf:
                raise ValueError(f"an optimizer moves leaves; a Tensor{p.shape} was computed")
        if len(set(self.params)) < len(self.params):
            raise ValueError("the same parameter was given twice")
        dtypes = sorted({str(p.dtype) for p in self.params})
        if len(dtypes) > 1:
            raise ValueError(f"one flat array cannot hold parameters of {' and '.join(dtypes)}")

    def collect(self):
        """See that every parameter may be written, and that `grad` holds every gradient.

        Where there is none, it holds zeros. Returns whether some have been followed before.
        """
        empty, again = 0, False
        for i, (node, p, view, _, used) in enumerate(self.places):
            if p.data is not view:
                raise RuntimeError(
                    f"parameter {i} of shape {p.shape} has moved to another array since: write "
                    "into it with p.data[...] = ..., and give it to one optimizer only"
                )
            if not view.flags.writeable:
                gc.collect()  # the frames of an error may hold a graph that nobody can reach
            if not view.flags.writeable:
                raise RuntimeError(
                    f"a graph still needs parameter {i} of shape {p.shape}: call backward() on "
                    "its loss, del it, or compute under no_grad() what is only looked at; a "
                    "notebook keeps what it has shown in Out"
                )
            total = node.total
            empty += total is None
            again |= total is used
        if empty == len(self.places):
            raise ValueError("no parameter has a gradient: call backward() before step()")
        for node, _, _, room, used in self.places:
            if node.total is not room and node.total is not used:
                room[...] = 0.0 if node.total is None else node.total
        return again

    def follow(self):
        """Mark every gradient as followed: it stays to be read, as a view that collect() knows."""
        for node, _, _, _, used in self.places:
            if node.total is not None:
                node.total = used


def number(name, value, below=math.inf):
    """Refuse a setting that is not a number >= 0 and below a bound."""
    if not 0.0 <= value < below:
        bound = "a finite number >= 0" if below == math.inf else f"in [0, {below:g})"
        raise ValueError(f"{name} must be {bound}, not {value!r}")
    return value


class Optimizer:
    """What all optimizers share: flat arrays, cut into blocks that fit into a cache.

    A parameter without a gradient counts as one with a gradient of zeros. `moments` names
    the arrays that an optimizer keeps beside the parameters, `settings` the attributes that stay
    as they are while it works.
    """

    settings = ()

    def __init__(self, params, lr, *moments):
        self.lr = lr
        self.steps = 0
        self.flat = Flat(params)
        self.moments = dict.fromkeys(moments)
        self.work_on(self.flat.data, self.flat.grad)
        self.warned = False

    def work_on(self, data, grad):
        """Move these numbers from now on, along these gradients, with moments that start at 0."""
        self.moments = {name: np.zeros_like(data) for name in self.moments}
        arrays = [data, grad, *self.moments.values()]
        scratch = np.empty_like(data[:BLOCK])
        self.blocks = []
        for start in range(0, data.size, BLOCK):
            block = [a[start : start + BLOCK] for a in arrays]
            self.blocks.append((*block, scratch[: block[0].size]))

    @property
    def lr(self):
        """The learning rate, which a schedule may set before every step."""
        return self._lr

    @lr.setter
    def lr(self, value):
        self._lr = number("lr", value)

    def zero_grad(self):
        """Forget the gradient of every parameter."""
        for place in self.flat.places:
            place[0].total = None

    def step(self):
        """Move every parameter, all at once and in place.

        Warns, once, where gradients are followed that an earlier step has followed already. Raises
        RuntimeError, before anything is changed, where a graph still needs a parameter.
        """
        if self.flat.collect() and not self.warned:
            self.warned = True
            warnings.warn(
                "step() follows gradients that an earlier step() has already followed: "
                "call zero_grad() before backward()",
                stacklevel=2,
            )
        self.steps += 1
        self.update()
        self.flat.follow()

    def numbers(self):
        """Return the numbers that the next step depends on, by name; one name tells the class."""
        told = {name: np.array(getattr(self, name), float) for name in ("lr", *self.settings)}
        return {f"{type(self).__name__}.steps": np.array(self.steps)} | told

    def state_dict(self):
        """Return a copy of what the next step depends on beside parameters and gradients."""
        if any(a.size < self.flat.data.size for a in self.moments.values()):
            raise RuntimeError("this optimizer has a part of the moments: use together.save()")
        return self.numbers() | {name: a.copy() for name, a in self.moments.items()}

    def check_state_dict(self, state):
        """Raise an error where load_state_dict(state) would, and change nothing."""
        mine = self.numbers()
        agree(state, mine | self.moments)
        for name in self.settings:
            if not np.array_equal(state[name], mine[name]):
                raise ValueError(
                    f"the state dict does not fit; {name} is {np.asarray(state[name]).tolist()}, "
                    f"not {mine[name].tolist()}"
                )
        for name in mine.keys() - self.settings:
            number(name, float(state[name]))

    def load_state_dict(self, state):
        """Go on from a state dict of an optimizer of the same kind over the same parameters.

        Settings that differ are refused; the learning rate, which schedules change, is taken over.
        """
        self.check_state_dict(state)
        self.steps, self.lr = int(state[f"{type(self).__name__}.steps"]), float(state["lr"])
        for name, a in self.moments.items():
            a[...] = state[name]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: v = momentum * v + grad; p = p - lr * v."""

    settings = ("momentum",)

    def __init__(self, params, lr=1e-3, momentum=0.0):
        self.momentum = number("momentum", momentum)
        super().__init__(params, lr, *["velocity"] * bool(momentum))

    def update(self):
        """Move the parameters block by block."""
        for p, g, *velocity, move in self.blocks:
            for v in velocity:  # there is none without momentum
                v *= self.momentum
                v += g
                g = v
            np.multiply(g, self.lr, out=move)
            p -= move


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980): each entry moves by about lr, whatever its scale.

    The two running means are kept as sums, without their factors (1 - beta): the factors go into
    two numbers for the whole step, which saves three passes over the arrays.
    """

    settings = ("betas", "eps")

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        self.betas = tuple(number("each of betas", b, below=1.0) for b in betas)
        if len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, not {betas!r}")
        self.eps = number("eps", eps)
        super().__init__(params, lr, "mean", "square")

    def update(self):
        """Move the parameters block by block."""
        b1, b2 = self.betas
        root = math.sqrt((1.0 - b2) / (1.0 - b2**self.steps))
        rate = self.lr * (1.0 - b1) / (1.0 - b1**self.steps) / root
        eps = self.eps / root
        for p, g, m, s, t in self.blocks:
            m *= b1
            m += g
            s *= b2
            np.multiply(g, g, out=t)
            s += t
            np.sqrt(s, out=t)
            t += eps
            np.divide(m, t, out=t)
            t *= rate
            p -= t


class AdamW(Adam):
    """Adam that also shrinks every parameter by lr * weight_decay of itself (arXiv:1711.05101)."""

    settings = (*Adam.settings, "weight_decay")

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        self.weight_decay = number("weight_decay", weight_decay)
        super().__init__(params, lr, betas, eps)

    def update(self):
        """Shrink the parameters, then move them."""
        keep = 1.0 - self.lr * self.weight_decay
        for p, *_ in self.blocks:
            p *= keep
        super().update()


def clip_grad_norm(params, max_norm):
    """Scale all gradients, in place, so that together they are no longer than max_norm.

    Returns their length before. Raises FloatingPointError where that is not finite.
    """
    number("max_norm", max_norm)
    grads = [p.grad for p in params if p.grad is not None]
    norm = math.hypot(*(np.linalg.norm(g.astype(np.float64)) for g in grads))
    if not math.isfinite(norm):
        raise FloatingPointError(f"the gradients have a norm of {norm}: finite() finds out where")
    if norm > max_norm:
        for g in grads:
            g *= max_norm / norm
    return norm


def cosine(total, warmup=0):
    """Return a schedule: up to 1 over `warmup` steps, then along a cosine down to 0 at `total`.

    A schedule tells for each step, counted from 0, by what to multiply the learning rate.
    """
    if not 0 <= warmup < total:
        raise ValueError(f"cosine needs 0 <= warmup < total, not {warmup} and {total}")

    def schedule(step):
        if step < warmup:
            return (step + 1) / warmup
        done = min((step - warmup) / (total - warmup), 1.0)
        return 0.5 * (1.0 + math.cos(math.pi * done))

    return schedule


def stairs(every, factor=0.1):
    """Return a schedule that goes down by a factor after every so many steps."""
    return lambda step: factor ** (step // every)
