"""Small data sets as lists of floats, with nothing to download."""

import math
import os
import random
from importlib.machinery import PathFinder


def moons(n=100, noise=0.1, seed=0):
    """Return (points, labels): two interleaved half circles of n points, labelled -1 and 1."""
    rng = random.Random(seed)
    points, labels = [], []
    for i in range(n):
        angle, label = math.pi * rng.random(), 1 if i % 2 else -1
        x, y = math.cos(angle), math.sin(angle)
        if label == 1:
            x, y = 1.0 - x, 0.5 - y
        points.append([x + rng.gauss(0.0, noise), y + rng.gauss(0.0, noise)])
        labels.append(label)
    return points, labels


def table(name):
    """Return (rows, labels) of a table that comes with scikit-learn, as "iris" or "breast_cancer".

    The file is read as it is, so neither scikit-learn nor NumPy is imported. Features are
    floats, labels small ints. Raises ModuleNotFoundError where scikit-learn is not installed.
    """
    package = PathFinder.find_spec("sklearn")
    if package is None:
        raise ModuleNotFoundError(
            f"the {name} data comes with scikit-learn: pip install scikit-learn"
        )
    home = package.submodule_search_locations[0]
    with open(os.path.join(home, "datasets", "data", f"{name}.csv"), encoding="utf-8") as file:
        rows = [line.split(",") for line in file][1:]
    return [[float(x) for x in row[:-1]] for row in rows], [int(row[-1]) for row in rows]


def split(rows, labels, held_out=0.25, seed=0):
    """Shuffle and cut: return (rows, labels, held-out rows, held-out labels)."""
    if len(rows) != len(labels):
        raise ValueError(f"split was given {len(rows)} rows and {len(labels)} labels")
    if not 0.0 < held_out < 1.0:
        raise ValueError(f"held_out must be a share between 0 and 1, not {held_out!r}")
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    cut = round(len(rows) * (1.0 - held_out))
    pick = [
        ([rows[i] for i in part], [labels[i] for i in part]) for part in (order[:cut], order[cut:])
    ]
    return *pick[0], *pick[1]


def scaler(rows):
    """Return a function that standardises rows by the mean and spread of each column of these."""
    columns = list(zip(*rows, strict=True))
    means = [sum(c) / len(c) for c in columns]
    spreads = [
        math.sqrt(sum((x - m) ** 2 for x in c) / len(c)) if min(c) < max(c) else 1.0
        for c, m in zip(columns, means, strict=True)
    ]
    return lambda rows: [
        [(x - m) / s for x, m, s in zip(row, means, spreads, strict=True)] for row in rows
    ]
