"""Layers, which hold parameters, and the networks that are built of them."""

from collections import Counter
from math import sqrt
from reprlib import recursive_repr

import numpy as np

from grad.steps import Leaf
from grad.tensor import Tensor, lift, pad, relu, take


def inside(thing, seen, name=""):
    """Walk what a module, list, tuple or dict holds: yield (name, Module or leaf Tensor), once."""
    if isinstance(thing, (Module, Tensor)):
        if id(thing) in seen or (isinstance(thing, Tensor) and type(thing.node) is not Leaf):
            return
        seen.add(id(thing))
        yield name, thing
    if isinstance(thing, Module):
        items = vars(thing).items()
    elif isinstance(thing, dict):
        items = thing.items()
    elif isinstance(thing, (list, tuple)):
        items = enumerate(thing)
    else:
        return
    for key, item in items:
        yield from inside(item, seen, f"{name}.{key}" if name else str(key))


def agree(state, wanted):
    """Refuse a state dict whose names, shapes or kinds of number are not those that are wanted."""
    faults = [f"missing: {name}" for name in wanted if name not in state]
    faults += [f"unexpected: {name}" for name in state if name not in wanted]
    for name, mine in wanted.items():
        if name in state:
            theirs = np.asarray(state[name])
            if theirs.shape != mine.shape:
                faults.append(f"{name} has shape {theirs.shape}, not {mine.shape}")
            elif not np.can_cast(theirs.dtype, mine.dtype, "same_kind"):
                faults.append(f"{name} holds {theirs.dtype}, not {mine.dtype}")
    if faults:
        raise ValueError(f"the state dict does not fit; {'; '.join(faults)}")


class Module:
    """Anything with parameters: it finds the leaf Tensors among its attributes by itself.

    Attributes may be Tensors, other Modules, and lists, tuples or dicts of them. Names follow the
    path, as in "layers.0.weight", in the order in which the attributes were set. A Tensor that
    stands in several places is one parameter, under its first name. What training must not change
    is kept as a NumPy array.
    """

    training = True

    def named_parameters(self):
        """List (name, Tensor) for every Tensor that training may change."""
        named = [(name, p) for name, p in inside(self, set()) if isinstance(p, Tensor)]
        twice = [name for name, n in Counter(name for name, _ in named).items() if n > 1]
        if twice:
            raise ValueError(f"several parameters have the name {', '.join(twice)}")
        return named

    def parameters(self):
        """List the Tensors that training may change."""
        return [p for _, p in self.named_parameters()]

    def modules(self):
        """List this module and every module in it, each once."""
        return [m for _, m in inside(self, set()) if isinstance(m, Module)]

    def zero_grad(self):
        """Forget the gradient of every parameter."""
        for p in self.parameters():
            p.grad = None

    def train(self, mode=True):
        """Tell this module and all in it that it is being trained; return it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Tell this module and all in it that it is being used, not trained; return it."""
        return self.train(False)

    def state_dict(self):
        """Return a copy of every parameter's array, by name."""
        return {name: p.numpy() for name, p in self.named_parameters()}

    def check_state_dict(self, state):
        """Raise an error where load_state_dict(state) would, and change nothing."""
        named = dict(self.named_parameters())
        agree(state, {name: p.data for name, p in named.items()})
        lent = [name for name, p in named.items() if not p.data.flags.writeable]
        if lent:
            raise RuntimeError(
                f"a graph still needs {', '.join(lent)}: call backward() on its loss, or del it"
            )

    def load_state_dict(self, state):
        """Write the arrays of a state dict into the parameters, in place.

        Names and shapes are looked at first: where anything does not fit, nothing is written.
        """
        self.check_state_dict(state)
        for name, p in self.named_parameters():
            p.data[...] = state[name]

    @recursive_repr("...")
    def __repr__(self):
        told = {k: v for k, v in vars(self).items() if k not in ("training", "rng")}
        return f"{type(self).__name__}({', '.join(f'{k}={brief(v)}' for k, v in told.items())})"


def brief(thing):
    """Write an attribute of a module: a Tensor as its shape, a function as its name."""
    if isinstance(thing, Tensor):
        return str(thing.shape)
    if isinstance(thing, (list, tuple)):
        return f"[{', '.join(map(brief, thing))}]"
    return getattr(thing, "__name__", None) or repr(thing)


def he(shape, rng):
    """Draw weights for layers that relu follows: normal, of variance 2 / inputs.

    relu lets half of the mean square through, and the 2 makes up for it (He et al. 2015,
    arXiv:1502.01852). The first entry of the shape counts the inputs.
    """
    return rng.standard_normal(shape, np.float32) * sqrt(2.0 / shape[0])


def glorot(shape, rng):
    """Draw weights for layers that tanh follows: uniform, of variance 2 / (inputs + outputs).

    A compromise between the way forward, which asks for 1 / inputs, and the way back, which asks
    for 1 / outputs (Glorot and Bengio 2010).
    """
    return (rng.random(shape, np.float32) * 2.0 - 1.0) * sqrt(6.0 / (shape[0] + shape[1]))


class Linear(Module):
    """x @ weight + bias, for a weight of shape (nin, nout).

    Random numbers come from `rng`, a numpy.random.Generator: pass one to all layers of a network.
    Without one, every layer draws anew from the system. PyTorch keeps the transpose, (nout, nin).
    """

    def __init__(self, nin, nout, bias=True, rng=None, init=he):
        self.weight = Tensor(init((nin, nout), np.random.default_rng(rng)), np.float32)
        self.bias = Tensor(np.zeros(nout, np.float32)) if bias else None

    def __call__(self, x):
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


@lift
def windows(x, *, size, stride):
    """Lay out every size * size window of a batch of images (n, c, h, w) as one row of a matrix.

    The rows run over images, then down, then across; a row holds c * size * size numbers. On the
    way back, every number adds up what its copies have received.
    """
    n, c, h, w = x.shape
    down, across = (h - size) // stride + 1, (w - size) // stride + 1
    if down < 1 or across < 1:
        raise ValueError(f"a window of {size} by {size} does not fit into {h} by {w}")
    shape, wide = x.shape, (n, down, across, c, size, size)

    def places():
        for i in range(size):
            for j in range(size):
                rows = slice(i, i + stride * down, stride)
                yield (..., rows, slice(j, j + stride * across, stride)), (..., i, j)

    out = np.empty_like(x, shape=wide)
    for image, window in places():
        out[window] = x[image].transpose(0, 2, 3, 1)

    def pullback(g):
        g = g.reshape(wide)
        back = np.zeros_like(g, shape=shape)
        for image, window in places():
            back[image] += g[window].transpose(0, 3, 1, 2)
        return (back,)

    return out.reshape(n * down * across, c * size * size), pullback


class Conv2d(Module):
    """The same Linear for every window of an image: (n, nin, h, w) to (n, nout, down, across).

    The weight has shape (nin * size * size, nout), as that of a Linear would. PyTorch keeps the
    same numbers as (nout, nin, size, size): `weight.T.reshape(nout, nin, size, size)`.
    """

    def __init__(self, nin, nout, size, stride=1, padding=0, bias=True, rng=None, init=he):
        if min(size, stride) < 1:
            raise ValueError(f"Conv2d needs a size and a stride >= 1, not {size} and {stride}")
        self.linear = Linear(nin * size * size, nout, bias, rng, init)
        self.size, self.stride, self.padding = size, stride, padding

    def __call__(self, x):
        nin = len(self.linear.weight) // self.size**2
        if x.ndim != 4 or x.shape[1] != nin:
            raise ValueError(f"Conv2d takes images of shape (n, {nin}, h, w), not {x.shape}")
        if self.padding:
            around = (self.padding, self.padding)
            x = pad(x, widths=((0, 0), (0, 0), around, around))
        y = self.linear(windows(x, size=self.size, stride=self.stride))
        n, _, h, w = x.shape
        down, across = (h - self.size) // self.stride + 1, (w - self.size) // self.stride + 1
        return y.reshape(n, down, across, y.shape[1]).transpose(0, 3, 1, 2)


class MaxPool2d(Module):
    """The largest of every size * size square of an image; the squares do not overlap."""

    def __init__(self, size):
        if size < 1:
            raise ValueError(f"MaxPool2d needs a size >= 1, not {size}")
        self.size = size

    def __call__(self, x):
        n, c, h, w = x.shape
        if h % self.size or w % self.size:
            raise ValueError(f"{h} by {w} cannot be cut into squares of {self.size}: pad it first")
        cut = x.reshape(n, c, h // self.size, self.size, w // self.size, self.size)
        return cut.max((3, 5))


class Embedding(Module):
    """A table of `count` vectors: whole numbers in, their rows out."""

    def __init__(self, count, width, rng=None):
        rng = np.random.default_rng(rng)
        self.weight = Tensor(rng.standard_normal((count, width), np.float32))

    def __call__(self, tokens):
        tokens = np.asanyarray(tokens)
        count = len(self.weight)
        if tokens.dtype.kind not in "iu":
            raise TypeError(f"Embedding takes whole numbers, not {tokens.dtype}")
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < count:
            raise IndexError(
                f"Embedding has rows 0 to {count - 1}, and was asked for "
                f"{tokens.min()} to {tokens.max()}"
            )
        return take(self.weight, index=tokens)


@lift
def standardise(x, *, eps):
    """Shift and scale the last axis to mean 0 and variance 1; eps is added to the variance."""
    width = x.shape[-1]
    centred = x - x.sum(-1, keepdims=True) / width
    scale = 1.0 / np.sqrt((centred * centred).sum(-1, keepdims=True) / width + eps)
    y = centred * scale

    def pullback(g):
        along = (g * y).sum(-1, keepdims=True) / width
        return (scale * (g - g.sum(-1, keepdims=True) / width - y * along),)

    return y, pullback


class LayerNorm(Module):
    """Standardise along the last axis, then scale and shift each column by what is learned."""

    def __init__(self, width, eps=1e-5):
        self.weight = Tensor(np.ones(width, np.float32))
        self.bias = Tensor(np.zeros(width, np.float32))
        self.eps = eps

    def __call__(self, x):
        if x.shape[-1:] != self.weight.shape:
            raise ValueError(f"LayerNorm of width {len(self.weight)} was given {x.shape}")
        return standardise(x, eps=self.eps) * self.weight + self.bias


class Dropout(Module):
    """While training, set a share p of the entries to 0 and divide the rest by 1 - p.

    In use, after eval(), it does nothing. Without `rng` it draws from the system.
    """

    def __init__(self, p=0.5, rng=None):
        if not 0.0 <= p < 1.0:
            raise ValueError(f"Dropout needs a share p with 0 <= p < 1, not {p!r}")
        self.p, self.rng = p, np.random.default_rng(rng)

    def __call__(self, x):
        if not self.training:
            return x
        kept = self.rng.random(x.shape, np.float32) >= self.p
        return x * (kept / np.float32(1.0 - self.p))


def flatten(x):
    """Make one row of each entry of a batch."""
    return x.reshape(len(x), -1)


class Sequential(Module):
    """One layer after the other; a layer is a Module or any other function, such as Tensor.relu."""

    def __init__(self, *layers):
        self.layers = list(layers)

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class MLP(Module):
    """A multilayer perceptron: Linear layers of sizes nouts, `act` after all but the last.

    >>> MLP(2, [3, 1])
    MLP(layers=[Linear(weight=(2, 3), bias=(3,)), Linear(weight=(3, 1), bias=(1,))], act=relu)
    """

    def __init__(self, nin, nouts, act=relu, rng=None, init=he):
        rng = np.random.default_rng(rng)
        sizes = [nin, *nouts]
        self.layers = [
            Linear(sizes[i], sizes[i + 1], rng=rng, init=init) for i in range(len(nouts))
        ]
        self.act = act

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)
