"""An update of all parameters in several ways, in one process: `optim_worker RULE SIZE`."""

import ctypes
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from grad.descent import SGD, Adam
from grad.tensor import Tensor
from tests.benchmarks.turns import turns

RATE, MOMENTUM, BETAS, EPS = 1e-2, 0.9, (0.9, 0.999), 1e-8
PARTS = 8  # parameters into which torch's default is given the same numbers

# What a processor can do at best: every array is read once and written once.
ONE_PASS = """
#include <math.h>
#include <stddef.h>

void sgd(size_t n, float *restrict p, const float *restrict g, float *restrict v,
         float rate, float momentum)
{
    for (size_t i = 0; i < n; i++) {
        v[i] = momentum * v[i] + g[i];
        p[i] -= rate * v[i];
    }
}

void adam(size_t n, float *restrict p, const float *restrict g, float *restrict m,
          float *restrict s, float rate, float b1, float b2, float eps)
{
    for (size_t i = 0; i < n; i++) {
        m[i] = b1 * m[i] + (1 - b1) * g[i];
        s[i] = b2 * s[i] + (1 - b2) * g[i] * g[i];
        p[i] -= rate * m[i] / (sqrtf(s[i]) + eps);
    }
}
"""
# Without the second, a square root that may report an error keeps the loop from being vectorised.
FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC"]


def compiled(folder):
    """Return ONE_PASS as a library, or None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        return None
    source, library = Path(folder, "one_pass.c"), Path(folder, "one_pass.so")
    source.write_text(ONE_PASS, encoding="utf-8")
    subprocess.run([compiler, *FLAGS, "-o", library, source, "-lm"], check=True)
    return ctypes.CDLL(str(library))


def ours(rule, start, slope):
    """Our optimizer: (step, parameters)."""
    p = Tensor(start)
    kinds = {
        "sgd": lambda: SGD([p], RATE, MOMENTUM),
        "adam": lambda: Adam([p], RATE, BETAS, EPS),
    }
    optimizer = kinds[rule]()
    optimizer.flat.grad[...] = slope

    def step():
        p.grad = p.node.room  # as if backward() had just written it
        optimizer.step()

    return step, [p.data]


def in_c(library, rule, start, slope):
    """One pass in C: (step, parameters)."""
    p, m, s = start.copy(), np.zeros_like(start), np.zeros_like(start)
    number = ctypes.c_float
    where = [a.ctypes.data_as(ctypes.c_void_p) for a in (p, slope, m, s)]  # these keep the arrays
    size = ctypes.c_size_t(p.size)
    b1, b2 = BETAS
    steps = 0

    def sgd():
        library.sgd(size, *where[:3], number(RATE), number(MOMENTUM))

    def adam():
        nonlocal steps
        steps += 1
        root = (1 - b2**steps) ** 0.5
        rate = RATE / (1 - b1**steps) * root
        library.adam(size, *where, *map(number, (rate, b1, b2, EPS * root)))

    return {"sgd": sgd, "adam": adam}[rule], [p]


def in_torch(rule, parts, slopes, **how):
    """torch's optimizer: (step, parameters)."""
    params = [torch.nn.Parameter(torch.tensor(part)) for part in parts]
    for p, g in zip(params, slopes, strict=True):
        p.grad = torch.tensor(g)
    kinds = {
        "sgd": lambda: torch.optim.SGD(params, RATE, momentum=MOMENTUM, **how),
        "adam": lambda: torch.optim.Adam(params, RATE, BETAS, EPS, **how),
    }
    return kinds[rule]().step, [p.detach().numpy() for p in params]


def agree(moved, start):
    """Stop where two ways have moved the parameters by different amounts."""
    theirs = np.concatenate(moved["torch fused"])
    for name, parts in moved.items():
        gap = np.abs(np.concatenate(parts) - theirs).max()
        if gap > 1e-6 * max(1.0, np.abs(theirs).max()):
            raise SystemExit(f"{name}: parameters differ from torch's by {gap:.1e}")
    if np.array_equal(theirs, start):
        raise SystemExit("nothing has moved")


def main(rule, size):
    """Return the times of every way, after ten steps with the same result."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    start = rng.standard_normal(size, np.float32) * 0.1
    slope = rng.standard_normal(size, np.float32) * 0.1
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        library = compiled(folder)
        cut = [np.array_split(a, PARTS) for a in (start, slope)]
        ways = {
            "ours": ours(rule, start, slope),
            "torch fused": in_torch(rule, [start], [slope], fused=True),
            "torch default": in_torch(rule, *cut),
        }
        if library:
            ways["C"] = in_c(library, rule, start, slope)
        for step, _ in ways.values():
            for _ in range(10):
                step()
        agree({name: parts for name, (_, parts) in ways.items()}, start)
        steps = {name: step for name, (step, _) in ways.items()}
        rounds, block = (9, 3) if size > 10**6 else (15, 10)
        return turns(steps, rounds, block, warm=2)


if __name__ == "__main__":
    json.dump(main(sys.argv[1], int(sys.argv[2])), sys.stdout)
