"""What the measurements of arrays share: one thread, and engines that take turns in one process."""

import os
import statistics
import time
from importlib.util import find_spec

ALONE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
}

# The time of the processor, where it is counted finely: while other programs share the core,
# the clock on the wall charges their turns to whoever takes long steps.
FINE = time.get_clock_info("process_time").resolution < 1e-6
clock = time.process_time if FINE else time.perf_counter


def one_thread():
    """Let the processes that this one starts compute with one thread: they read it on import."""
    os.environ.update(ALONE)


def turns(steps, rounds, block, warm=10):
    """Return the median time of a step in every round, as {name: [seconds]}.

    Whoever trains runs one engine, whose arrays stay in the caches: so each takes a block of
    steps before the next has its turn, and single steps are never alternated.
    """
    for step in steps.values():
        for _ in range(warm):
            step()
    seen = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times = []
            for _ in range(block):
                start = clock()
                step()
                times.append(clock() - start)
            seen[name].append(statistics.median(times))
    return seen


def ratio(seen, above, below):
    """Return the median over rounds of one engine's time over another's; None if one is absent."""
    if above not in seen or below not in seen:
        return None
    return statistics.median(a / b for a, b in zip(seen[above], seen[below], strict=True))


def at_most(name, what, target, measured):
    """Return a row for a table: a ratio, and the most that it may be where there is a target."""
    aim = "" if target is None else f"<= {target:.2f}"
    if measured is None:
        return name, what, aim, "not installed", None
    return name, what, aim, f"{measured:.2f}", None if target is None else measured <= target


def refuse_without_torch():
    """Stop where there is no PyTorch to compare with."""
    if find_spec("torch") is None:
        raise SystemExit(
            "this compares with PyTorch: install the build for a CPU, from PyTorch's own page"
        )
