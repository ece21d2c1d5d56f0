"""S1 to S4 and I1: the scalar engine beside micrograd, in interleaved processes."""

import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

from tests.benchmarks.table import pin, show, worker

WORKER = "tests.benchmarks.scalar_worker"
ROUNDS = 3
PART_ONE = "from grad import Value, MLP, SGD, backward, gradcheck, moons"


def step_ratios(collector):
    """Return the median ratios (micrograd / nn, micrograd / op by op) over interleaved rounds."""
    ratios = {"nn": [], "op by op": []}
    for _ in range(ROUNDS):
        theirs = worker(WORKER, "step", "micrograd", collector)
        for name, seen in ratios.items():
            ours = worker(WORKER, "step", name, collector)
            gap = max(abs(a - b) for a, b in zip(ours["losses"], theirs["losses"], strict=True))
            if gap > 1e-9:
                raise SystemExit(f"{name}: losses differ from micrograd's by {gap:.1e}")
            seen.append(theirs["step"] / ours["step"])
    return {name: statistics.median(seen) for name, seen in ratios.items()}


def chain_ratio():
    """Return our build + backward + free of a million nodes over micrograd's build alone."""
    pairs = [
        (worker(WORKER, "chain", "nn")["seconds"], worker(WORKER, "chain", "micrograd")["seconds"])
        for _ in range(ROUNDS)
    ]
    return statistics.median(ours / theirs for ours, theirs in pairs)


def import_cost(rounds=15):
    """Return how many milliseconds the scalar engine's import adds to the bare interpreter."""

    def run(code):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    extra = [run(PART_ONE) - run("pass") for _ in range(rounds)]
    return 1e3 * statistics.median(extra)


def main():
    """Measure and print the table."""
    if find_spec("micrograd") is None:
        raise SystemExit('this compares with micrograd: pip install -e ".[peers]"')
    conditions = pin()
    on, off = step_ratios("on"), step_ratios("off")
    chain = chain_ratio()
    growth = {name: worker(WORKER, "memory", name)["growth"] for name in ("nn", "micrograd")}
    cost = import_cost()
    rows = [
        (
            "S1",
            "micrograd's demo step, import changed; collector on",
            ">= 25x",
            f"{on['nn']:.1f}x",
            on["nn"] >= 25,
        ),
        ("S1", "the same, collector off for both", ">= 5x", f"{off['nn']:.1f}x", off["nn"] >= 5),
        (
            "S2",
            "the same graph op by op; collector on",
            ">= 2.5x",
            f"{on['op by op']:.2f}x",
            on["op by op"] >= 2.5,
        ),
        (
            "S2",
            "the same, collector off for both",
            ">= 1.2x",
            f"{off['op by op']:.2f}x",
            off["op by op"] >= 1.2,
        ),
        (
            "S3",
            "a million nodes built, walked, freed / micrograd's build",
            "<= 1.5",
            f"{chain:.2f}",
            chain <= 1.5,
        ),
        (
            "S4",
            "objects left per step, collector off (micrograd beside)",
            "0",
            f"{growth['nn']:g} ({growth['micrograd']:g})",
            growth["nn"] == 0,
        ),
        (
            "I1",
            "import of the scalar engine over the bare interpreter",
            "<= 15 ms",
            f"{cost:.0f} ms",
            cost <= 15,
        ),
    ]
    show(
        "The scalar engine beside micrograd",
        f"{conditions}; medians of {ROUNDS} interleaved processes, 12 warm-up steps, equal losses",
        rows,
    )
