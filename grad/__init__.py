"""Automatic differentiation from one float to a GPU kernel: the package that the chapters build.

The public names are offered here and loaded on first use, so `import grad` costs nothing.
"""

__version__ = "0.1.0"

HOMES = {
    "Node": "node",
    "gradcheck": "check",
    "toposort": "order",
    "backward": "order",
    "Value": "value",
    "Module": "nn",
    "Neuron": "nn",
    "Layer": "nn",
    "MLP": "nn",
    "SGD": "optim",
    "moons": "data",
    "no_grad": "memory",
    "detach": "memory",
    "checkpoint": "memory",
    "record": "levels",
}

__all__ = list(HOMES)


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
