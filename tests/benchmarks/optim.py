"""O1: an update of one flat array beside a one-pass loop in C, and beside torch."""

from tests.benchmarks.table import pin, show, worker
from tests.benchmarks.turns import at_most, one_thread, ratio, refuse_without_torch

WORKER = "tests.benchmarks.optim_worker"
SIZES = {"10^4": 10**4, "10^5": 10**5, "10^6": 10**6, "10^7": 10**7}
RULES = {"adam": "Adam", "sgd": "SGD with momentum"}
AIMS = {("C", "10^7"): 3, ("torch fused", "10^4"): 0.45}


def main():
    """Measure and print the table."""
    refuse_without_torch()
    conditions = pin()
    one_thread()
    rows = []
    for rule, called in RULES.items():
        seen = {size: worker(WORKER, rule, n) for size, n in SIZES.items()}
        for peer in ("C", "torch fused", "torch default"):
            for size in SIZES:
                target = AIMS.get((peer, size))
                measured = ratio(seen[size], "ours", peer)
                row = at_most(
                    "O1" * bool(target), f"{called}, {size}: ours / {peer}", target, measured
                )
                rows.append(row if measured is not None else (*row[:3], "no compiler", None))
    show(
        "An update of parameters in float32",
        f"{conditions}, one thread, processor time, medians of rounds in which all take\n"
        "turns by blocks of steps in one process; equal parameters asserted after ten steps;\n"
        "C: a loop in one pass, compiled here; torch fused: one flat tensor; torch default: the\n"
        "same numbers in eight parameters",
        rows,
    )


if __name__ == "__main__":
    main()
