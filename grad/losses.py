"""How wrong is it? Losses that refuse shapes which would broadcast to nonsense."""

from functools import partial

import numpy as np

from grad.tensor import lift


def difference(x, y):
    """x - y, for two arrays of one shape."""
    if x.shape != np.shape(y):
        raise ValueError(
            f"mse compares entry by entry: {x.shape} and {np.shape(y)} are not one shape; "
            "reshape one of them"
        )
    if not x.size:
        raise ValueError(f"mse of nothing: the shape is {x.shape}")
    return x - y


def mse_from(prediction, target):
    """mse for a target that is constant, as it mostly is."""
    d = difference(prediction, target)
    flat, share = d.reshape(-1), 1.0 / d.size
    return np.dot(flat, flat) * share, lambda g: (d * (g * (2.0 * share)), None)


@partial(lift, right=mse_from, spreads=False)
def mse(prediction, target):
    """The mean of the squared differences of two arrays of the same shape."""
    d = difference(prediction, target)
    flat, share = d.reshape(-1), 1.0 / d.size

    def pullback(g):
        h = d * (g * (2.0 * share))
        return h, -h

    return np.dot(flat, flat) * share, pullback


def labels_for(name, logits, labels):
    """Return labels as an array of whole numbers, one for each row, or say what is wrong."""
    if not hasattr(logits, "shape"):
        raise TypeError(f"{name} takes scores as a Tensor or array, not {type(logits).__name__}")
    labels = np.asanyarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not labels.size:
        raise ValueError(
            f"{name} takes scores of shape (n, classes) and labels of shape (n,), n > 0, "
            f"not {logits.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name} takes labels that are whole numbers, not {labels.dtype}")
    return labels


@lift
def softmax_cross_entropy(logits, *, labels):
    """The mean over rows of log(sum(exp(row))) - row[label].

    The largest of a row is taken out first, so nothing overflows. The gradient is made on the way
    forward, where the exponentials are at hand: it is all that has to be kept.
    """
    n = len(labels)
    rows = np.arange(n)
    shifted = logits - logits.max(1, keepdims=True)
    e = np.exp(shifted)
    s = e.sum(1, keepdims=True)
    value = (np.log(s[:, 0]) - shifted[rows, labels]).sum() / n
    slope = e / (s * n)
    slope[rows, labels] -= 1.0 / n
    return value, lambda g: (slope * g,)


def cross_entropy(logits, labels):
    """The mean of -log(probability of the right class), from scores of shape (n, classes).

    The labels are n whole numbers from 0 to classes - 1.
    """
    labels = labels_for("cross_entropy", logits, labels)
    if labels.astype(np.uint64).max() >= logits.shape[1]:  # unsigned, -1 is the largest of all
        bad = np.flatnonzero((labels < 0) | (labels >= logits.shape[1]))[0]
        raise ValueError(
            f"cross_entropy has classes 0 to {logits.shape[1] - 1}, and label {bad} is "
            f"{labels[bad]}"
        )
    return softmax_cross_entropy(logits, labels=labels)


def accuracy(logits, labels):
    """The share of rows whose largest score is that of the right class."""
    labels = labels_for("accuracy", logits, labels)
    if (logits != logits).any():  # nan alone differs from itself
        raise FloatingPointError("accuracy was given scores that are nan")
    return float((logits.argmax(1) == labels).mean())
