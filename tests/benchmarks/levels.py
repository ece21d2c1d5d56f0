"""S5: the replay of a recorded scalar graph beside micrograd and our own eager engine."""

import statistics
from importlib.util import find_spec

from tests.benchmarks.table import pin, show, worker

WORKER = "tests.benchmarks.levels_worker"
ROUNDS = 3


def agree(ours, theirs):
    """Stop where two lists of gradients differ by more than 1e-12 of the largest."""
    gap = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    if gap > 1e-12 * max(map(abs, theirs)):
        raise SystemExit(f"the gradients differ by {gap:.1e}")


def ratios(points):
    """Return medians of interleaved rounds: micrograd and eager over replay, build over eager."""
    seen = []
    for _ in range(ROUNDS):
        theirs = worker(WORKER, "eager", "micrograd", points)
        eager = worker(WORKER, "eager", "nn", points)
        by_op = worker(WORKER, "eager", "op by op", points)
        replay = worker(WORKER, "replay", "nn", points)
        for other in (theirs, eager, by_op):
            agree(replay["grads"], other["grads"])
        seen.append(
            (
                theirs["seconds"] / replay["seconds"],
                eager["seconds"] / replay["seconds"],
                by_op["seconds"] / replay["seconds"],
                replay["build"] / eager["seconds"],
            )
        )
    return [statistics.median(column) for column in zip(*seen, strict=True)], replay


def main():
    """Measure and print the table."""
    if find_spec("micrograd") is None:
        raise SystemExit('this compares with micrograd: pip install -e ".[peers]"')
    conditions = pin()
    (small, eager, by_op, build), demo = ratios(100)
    (large, *_), many = ratios(800)
    held = {
        name: worker(WORKER, "footprint", name)["bytes"] for name in ("nn", "micrograd", "tape")
    }
    rows = [
        ("S5", "micrograd / replay, its demo", ">= 120", f"{small:.0f}", small >= 120),
        (
            "S5",
            "micrograd / replay, 800 points (half a million nodes)",
            ">= 150",
            f"{large:.0f}",
            large >= 150,
        ),
        ("", "our eager step / replay, n-ary nodes", "", f"{eager:.0f}", None),
        ("", "our eager step / replay, op by op", "", f"{by_op:.0f}", None),
        ("", "record, in eager steps", "<= 10", f"{build:.1f}", build <= 10),
        ("", "bytes a node: eager", "", f"{held['nn']:.0f}", None),
        ("", "bytes a node: micrograd", "", f"{held['micrograd']:.0f}", None),
        ("", "bytes an entry: tape", "", f"{held['tape']:.0f}", None),
        ("", "bytes an entry: program, all its arrays", "", f"{demo['bytes']:.0f}", None),
    ]
    show(
        "Level replay beside eager engines, collector off for all",
        f"{conditions}, medians of {ROUNDS} interleaved rounds, equal gradients asserted;\n"
        f"{demo['entries']} entries in {demo['levels']} levels, or {many['entries']} entries",
        rows,
    )


if __name__ == "__main__":
    main()
