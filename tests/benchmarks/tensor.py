"""T1 to T4: the tensor engine beside torch, a loop of NumPy written by hand, jax and autograd."""

from tests.benchmarks.table import pin, show, worker
from tests.benchmarks.turns import at_most, one_thread, ratio, refuse_without_torch

WORKER = "tests.benchmarks.tensor_worker"
NETWORKS = {
    "a": "32 x 2-16-16-1",
    "b": "64 x 64-128-10",
    "c": "128 x 784-512-256-10",
    "d": "1024 x 784-1024-1024-10",
}
EAGER = {"a": 0.35, "b": 0.45, "c": 1.0, "d": 1.05}
REPLAY = {"a": 0.12, "b": 0.28, "c": 0.95, "d": 1.02}


def alive():
    """Return the rows that say what is held at the end of a forward pass."""
    seen = worker(WORKER, "alive", "c")
    nobody = seen["held"] - seen["claimed"]
    counts = f"{seen['arrays']} of {seen['all arrays']}"
    share = f"{seen['held'] / seen['everything']:.2f}"
    return [
        ("T4", "bytes alive after forward (c), named by nobody", "0", f"{nobody}", nobody == 0),
        ("", "arrays alive then, of those a graph would hold that kept all", "", counts, None),
        ("", "their share of its bytes", "", share, None),
    ]


def main():
    """Measure and print the table."""
    refuse_without_torch()
    conditions = pin()
    one_thread()
    seen = {name: worker(WORKER, "step", name) for name in NETWORKS}
    chain = worker(WORKER, "chain")
    rows = []
    for name, target in EAGER.items():
        measured = ratio(seen[name], "eager", "torch")
        rows.append(at_most("T1", f"({name}) eager / torch", target, measured))
    for name, target in REPLAY.items():
        measured = ratio(seen[name], "replay", "torch")
        rows.append(at_most("T2", f"({name}) replay / torch", target, measured))
    for peer, most, where in (("hand", 1.10, "abcd"), ("jax", 1.0, "abc")):
        for name in where:
            measured = ratio(seen[name], "replay", peer)
            rows.append(at_most("T2", f"({name}) replay / {peer}", most, measured))
    what = "an operation on 16 numbers and its way back: eager / torch"
    rows.append(at_most("T3", what, 0.75, ratio(chain, "eager", "torch")))
    rows.append(
        at_most(
            "",
            "the same: eager / bare NumPy without a way back",
            None,
            ratio(chain, "eager", "numpy"),
        )
    )
    rows += alive()
    for engine in ("hand", "jax", "autograd"):
        for name, times in seen.items():
            if engine in times:
                measured = ratio(times, engine, "torch")
                rows.append(at_most("", f"({name}) {engine} / torch", None, measured))
    show(
        "A training step: forward, loss, backward, SGD with momentum; float32",
        f"{conditions}, one thread, collector on, processor time, medians of rounds\n"
        "in which the engines take turns by blocks of steps in one process; the losses of the\n"
        "first six steps are asserted equal;\n"
        + ", ".join(f"({name}) {shape}" for name, shape in NETWORKS.items()),
        rows,
    )


if __name__ == "__main__":
    main()
