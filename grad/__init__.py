"""Automatic differentiation from one float to a GPU kernel: the package that the chapters build.

The public names are offered here and loaded on first use, so `import grad` costs nothing.
"""

import os

__version__ = "0.1.0"

if "GRAD_KEPT" in os.environ:  # started from a chapter: what it has kept so far comes first
    __path__.insert(0, os.environ["GRAD_KEPT"])

HOMES = {
    "Node": "node",
    "gradcheck": "check",
    "toposort": "order",
    "backward": "order",
    "Value": "value",
    "Neuron": "nn",
    "Layer": "nn",
    "MLP": "nn",
    "moons": "data",
    "no_grad": "memory",
    "detach": "memory",
    "checkpoint": "memory",
    "record": "levels",
    "Tensor": "tensor",
    "lift": "tensor",
    "concatenate": "tensor",
    "stack": "tensor",
    "where": "tensor",
    "softmax": "tensor",
    "logsumexp": "tensor",
    "Module": "layers",
    "Linear": "layers",
    "Conv2d": "layers",
    "MaxPool2d": "layers",
    "Embedding": "layers",
    "LayerNorm": "layers",
    "Dropout": "layers",
    "Sequential": "layers",
    "mse": "losses",
    "cross_entropy": "losses",
    "accuracy": "losses",
    "Adam": "descent",
    "AdamW": "descent",
    "clip_grad_norm": "descent",
    "batches": "loader",
    "digits": "loader",
    "fit": "training",
}

__all__ = [*HOMES, "SGD"]


def SGD(params, lr=1e-3, momentum=0.0):  # noqa: N802, it makes one
    """Return the SGD that fits: that of grad.optim for Values, of grad.descent for Tensors."""
    from importlib import import_module

    from grad.node import Node

    params = list(params)
    home = "optim" if all(isinstance(p, Node) for p in params) else "descent"
    return import_module(f"{__name__}.{home}").SGD(params, lr, momentum)


def __getattr__(name):
    """Find a public name in its home module, or a module of the package by its own name."""
    from importlib import import_module

    home = f"{__name__}.{HOMES.get(name, name)}"
    try:
        module = import_module(home)
    except ModuleNotFoundError as error:
        if error.name != home:
            raise
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        raise ImportError(
            f"{__name__}.{name} lives in {home}, and no chapter has made that module yet",
            name=home,
        ) from None
    return getattr(module, name) if name in HOMES else module


def __dir__():
    from pkgutil import iter_modules

    return sorted({*globals(), *HOMES, *(module.name for module in iter_modules(__path__))})
