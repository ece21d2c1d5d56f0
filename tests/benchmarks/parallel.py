"""P1: two workers on two cores beside one: processes, threads, Hogwild, MPI, threads of BLAS."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from grad.workers import run
from tests.benchmarks import parallel_worker
from tests.benchmarks.table import show, worker
from tests.benchmarks.tensor import NETWORKS
from tests.benchmarks.turns import one_thread, ratio

WORKER = "tests.benchmarks.parallel_worker"
AIMS = {("processes", "c"): 1.45, ("processes", "d"): 1.7}
WAYS = {
    "processes": "two processes, together.step",
    "threads": "two threads, the same step with a threading.Barrier",
    "hogwild": "two processes, Hogwild, plain SGD (over one such)",
    "mpi": "two ranks under mpiexec, together.step",
    "blas": "one process, two threads of BLAS",
}


def cores():
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def mpiexec():
    """Return the command that starts two ranks, or None where MPI is not installed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("mpiexec", path=path)
    return [found, "-n", "2"] if found and find_spec("mpi4py") else None


def measured(way, name):
    """Return how many times faster two are than one, the median over rounds; None if not there."""
    if way in ("processes", "hogwild"):
        seen = run(getattr(parallel_worker, way), 2, name)[0]
    elif way == "mpi":
        under = mpiexec()
        seen = under and worker(WORKER, way, name, under=under)
    else:
        seen = worker(WORKER, way, name)
    return seen and ratio(seen, "alone", "both")


def row(way, name):
    """Return a row for a table: a speed-up, and the least that it may be, if it has a target."""
    aim, speedup = AIMS.get((way, name)), measured(way, name)
    what = f"({name}) {WAYS[way]}"
    target = f">= {aim:.2f}" if aim else ""
    if speedup is None:
        return "", what, target, "not here", None
    return "P1" * bool(aim), what, target, f"{speedup:.2f}", speedup >= aim if aim else None


def main():
    """Measure and print the table."""
    if cores() < 2:
        raise SystemExit("this sets two workers against one, and needs two cores")
    one_thread()
    rows = [row(way, name) for way in WAYS for name in NETWORKS]
    show(
        "Two workers: the speed-up over one process with one thread, replayed",
        f"{cores()} cores, one thread of BLAS each, wall clock (processor time\n"
        "would count waiting), medians of rounds in which one alone and two take turns by blocks\n"
        "of steps; the same batches for one and for two, SGD with momentum in float32, and equal\n"
        "losses of the first ten steps asserted (not for Hogwild, counted per example);\n"
        + ", ".join(f"({name}) {shape}" for name, shape in NETWORKS.items()),
        rows,
    )


if __name__ == "__main__":
    main()
