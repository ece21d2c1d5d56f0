"""Data as arrays: handwritten digits, a part held out, and mini-batches."""

import gzip
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np


def digits():
    """Return (images, labels): 1797 handwritten digits of 8 by 8 pixels between 0 and 1.

    The images have shape (1797, 1, 8, 8). They come with scikit-learn, and the file is read as it
    is. Raises ModuleNotFoundError where scikit-learn is not installed.
    """
    package = PathFinder.find_spec("sklearn")
    if package is None:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install scikit-learn")
    home = Path(package.submodule_search_locations[0])
    with gzip.open(home / "datasets" / "data" / "digits.csv.gz", "rt", encoding="utf-8") as file:
        table = np.loadtxt(file, np.float32, delimiter=",")
    return table[:, :64].reshape(-1, 1, 8, 8) / np.float32(16.0), table[:, 64].astype(np.int64)


def together(arrays):
    """Return the common length of arrays, or refuse them."""
    lengths = [len(a) for a in arrays]
    if len(set(lengths)) != 1:
        raise ValueError(f"these arrays are of different lengths: {lengths}")
    return lengths[0]


def split(*arrays, held_out=0.25, seed=0):
    """Shuffle and cut every array alike: return (the larger parts), (the parts held out)."""
    if not 0.0 < held_out < 1.0:
        raise ValueError(f"held_out must be a share between 0 and 1, not {held_out!r}")
    n = together(arrays)
    order = np.random.default_rng(seed).permutation(n)
    cut = round(n * (1.0 - held_out))
    return tuple(a[order[:cut]] for a in arrays), tuple(a[order[cut:]] for a in arrays)


def batches(*arrays, size, rng=None):
    """Cut arrays into batches of a size, the last of which may be short; yields tuples.

    With a numpy.random.Generator the rows are shuffled first, all arrays alike.
    """
    n = together(arrays)
    if size < 1:
        raise ValueError(f"a batch holds at least one row, not {size}")
    cuts = [slice(i, i + size) for i in range(0, n, size)]
    if rng is not None:
        order = rng.permutation(n)
        cuts = [order[cut] for cut in cuts]
    return (tuple(a[cut] for a in arrays) for cut in cuts)
