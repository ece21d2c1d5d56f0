"""What chapter 11 promises: every rank ends with the same sum, at the cost that was foretold."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from functools import cache, reduce
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grad import checkpoints, cluster, together
from grad.collective import (
    ALGORITHMS,
    Message,
    Network,
    carry_out,
    chunks,
    cost,
    fit_network,
    formula,
    ring,
    scaling,
    traffic,
)
from grad.descent import SGD
from grad.layers import MLP
from grad.losses import cross_entropy
from grad.workers import WorkerError, run

settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
METHODS = ["spawn", *["fork"] * hasattr(os, "fork")]
NET = Network(latency=2e-5, bandwidth=1e9)
ALL = slice(0, 4)
sizes, lengths = st.integers(1, 17), st.integers(1, 60)
every = pytest.mark.parametrize("name", ALGORITHMS)


def drawn(size, n, seed=0):
    """Draw an array for each rank."""
    return [*np.random.default_rng(seed).standard_normal((size, n), np.float32)]


def reduced(schedule, arrays):
    """Carry out a plan on copies of arrays."""
    copies = [a.copy() for a in arrays]
    carry_out(schedule, copies)
    return copies


def log2(size):
    """Count how often one has to be doubled to reach size."""
    return next(k for k in range(size) if 2**k >= size)


# ---- Sums


@every
@given(sizes, lengths, st.integers(0, 99))
@example(1, 1, 0)
@example(17, 5, 0)  # more ranks than entries
def test_whole_numbers_are_summed_exactly(name, size, n, seed):
    whole = np.random.default_rng(seed).integers(-1000, 1000, (size, n))
    for array in reduced(ALGORITHMS[name](size, n), [*whole.astype(np.float32)]):
        assert array.dtype == np.float32 and np.array_equal(array, whole.sum(0))


@every
@given(sizes, lengths, st.integers(0, 99))
def test_all_ranks_end_with_the_same_bits(name, size, n, seed):
    arrays = drawn(size, n, seed)
    ends = reduced(ALGORITHMS[name](size, n), arrays)
    assert len({end.tobytes() for end in ends}) == 1
    np.testing.assert_allclose(ends[0], np.sum(arrays, 0, dtype=float), rtol=1e-4, atol=1e-5)


def test_ranks_that_add_in_orders_of_their_own_end_with_other_bits():
    arrays = [np.full(4, x, np.float32) for x in (1e8, 1, -1e8)]
    everyone = [Message(s, t, ALL, True) for t in range(3) for s in range(3) if s != t]
    assert [end[0] for end in reduced([everyone], arrays)] == [0, 0, 1]


def test_what_the_order_of_each_sum_is():
    size, n = 7, 25
    arrays = drawn(size, n)
    gathered, paired, rung = (reduced(f(size, n), arrays)[0] for f in ALGORITHMS.values())
    assert np.array_equal(gathered, reduce(np.add, arrays))
    a, b, c, d, e, f, g = arrays
    assert np.array_equal(paired, ((a + b) + (c + d)) + ((e + f) + g))
    for i, part in enumerate(chunks(n, size)):
        order = [arrays[(i + 1 + k) % size][part] for k in range(size)]
        assert np.array_equal(rung[part], reduce(np.add, order))
    assert not np.array_equal(gathered, paired) and not np.array_equal(gathered, rung)


@given(sizes, lengths)
def test_half_of_a_ring_leaves_each_rank_its_chunk(size, n):
    arrays = [np.arange(n) * 10**4 + r for r in range(size)]
    ends = reduced(ring(size, n)[: size - 1], arrays)
    for end, part in zip(ends, chunks(n, size), strict=True):
        assert np.array_equal(end[part], sum(arrays)[part])


@given(sizes, lengths)
def test_chunks_cover_everything_evenly(size, n):
    parts = chunks(n, size)
    assert [i for part in parts for i in range(n)[part]] == [*range(n)]
    counts = [part.stop - part.start for part in parts]
    assert len(counts) == size and counts == sorted(counts, reverse=True)
    assert counts[0] - counts[-1] <= 1


def test_messages_of_a_round_travel_at_the_same_time():
    a, b = arrays = drawn(2, 4)
    swap = [[Message(0, 1, ALL, False), Message(1, 0, ALL, False)]]
    assert np.array_equal(reduced(swap, arrays), [b, a])
    swap = [[m._replace(add=True) for m in swap[0]]]
    assert np.array_equal(reduced(swap, arrays), [a + b, a + b])


# ---- Counts and costs


@every
@given(sizes, lengths, st.sampled_from([1, 2, 4, 8]))
def test_plans_send_what_their_docstrings_say(name, size, n, itemsize):
    schedule = ALGORITHMS[name](size, n)
    found = traffic(schedule, itemsize)
    other, short = size - 1, n // size
    # The rank that sends most keeps back the two shortest neighbouring chunks.
    kept = 2 * short + (n % size == size - 1)
    rounds, messages, busiest = {
        "gather_broadcast": (2 * (size > 1), 2 * other, other * n),
        "tree": (2 * log2(size), 2 * other, log2(size) * n),
        "ring": (2 * other, 2 * other * min(size, n), (size > 1) * (2 * n - kept)),
    }[name]
    assert (found.rounds, found.messages) == (rounds, messages)
    assert all(schedule) or size == 1
    assert found.bytes == sum(found.received.values()) == 2 * other * n * itemsize
    assert found.busiest == busiest * itemsize


def test_no_rank_of_a_ring_works_more_than_another():
    found = traffic(ring(8, 800))
    assert {*found.sent.values()} == {*found.received.values()} == {2 * 7 * 100 * 4}
    assert traffic(ring(80, 800)).busiest < 2 * 800 * 4


@every
@given(sizes, lengths, st.sampled_from([4, 8]))
@example(16, 48, 4)
@example(13, 5, 4)
def test_formulas_say_what_plans_cost(name, size, n, itemsize):
    for net in NET, Network(0.0, 1e3), Network(1.0, 1e12):
        planned = cost(ALGORITHMS[name](size, n), net, itemsize)
        assert formula(name, size, n, net, itemsize) == pytest.approx(planned, rel=1e-12, abs=0)


def test_a_rank_has_one_port_each_way():
    one, net = Message(0, 1, ALL, True), Network(1.0, 16.0)
    assert cost([[one]], net) == cost([[one, Message(1, 0, ALL, True)]], net) == 2
    assert cost([[one, Message(1, 2, ALL, True)]], net) == 2  # it sends while it receives
    assert cost([[one, Message(2, 1, ALL, True)]], net) == 4  # it receives one, then the other
    assert cost([[one, Message(0, 2, ALL, True)]], net) == 4  # it sends one, then the other
    assert cost([[one], [one]], net) == 4 and cost([[], []], net) == 0


def test_small_arrays_want_a_tree_and_large_ones_a_ring():
    seconds = {(f, n): formula(f, 64, n, NET) for f in ALGORITHMS for n in (10, 10**7)}
    assert min(ALGORITHMS, key=lambda f: seconds[f, 10]) == "tree"
    assert min(ALGORITHMS, key=lambda f: seconds[f, 10**7]) == "ring"
    assert max(ALGORITHMS, key=lambda f: seconds[f, 10**7]) == "gather_broadcast"
    with pytest.raises(ValueError, match=r"'star', only \['gather_broadcast', 'tree', 'ring'\]"):
        formula("star", 4, 10, NET)


# ---- Scaling


@every
def test_scaling_over_a_perfect_network_is_perfect(name):
    net, many = Network(0.0, np.inf), [1, 2, 64, 4096]
    for weak in False, True:
        speedups = scaling(name, many, 10**6, 4096, lambda rows: rows * 1e-4, net, weak)
        np.testing.assert_allclose(speedups, many)
    few = scaling(name, [3, 4, 9], 10**6, 4, lambda rows: rows * 1e-4, net)
    np.testing.assert_allclose(few, [2, 4, 4])  # of 4 rows, one of 3 workers has two


def test_scaling_is_compute_and_then_the_formula():
    def compute(rows):
        return 1e-3 + rows * 1e-4

    shared, together = formula("ring", 4, 1000, NET), compute(25)
    assert scaling("ring", [4], 1000, 100, compute, NET) == pytest.approx(
        [compute(100) / (together + shared)]
    )
    assert scaling("ring", [4], 1000, 100, compute, NET, weak=True) == pytest.approx(
        [4 * compute(100) / (compute(100) + shared)]
    )


def test_thousands_of_workers():
    net, many = Network(1e-6, 1e10), [2**k for k in range(13)]
    found = {
        (f, weak): scaling(f, many, 10**6, 4096, lambda rows: rows * 1e-4, net, weak)
        for f in ALGORITHMS
        for weak in (False, True)
    }
    assert all(speedups[0] == 1 for speedups in found.values())
    assert found["ring", True][-1] > 0.9 * 4096
    assert found["gather_broadcast", True][-1] < 0.2 * 4096
    strong = found["gather_broadcast", False]
    assert strong[-1] < max(strong) / 2, "too many workers are slower than fewer"


# ---- A network, fitted


@given(st.floats(1e-7, 1e-2), st.floats(1e6, 1e11))
def test_a_fit_finds_the_network(latency, bandwidth):
    net = Network(latency, bandwidth)
    half = latency * bandwidth  # bytes that take as long as the latency
    sent = half * np.array([0.1, 1, 3, 10])
    assert fit_network(sent, [net.seconds(1, b) for b in sent]) == pytest.approx(net, rel=1e-6)


def test_a_fit_listens_to_short_times_as_to_long_ones():
    rng, sent = np.random.default_rng(0), 4.0 ** np.arange(2, 14)
    found = fit_network(sent, NET.seconds(1, sent) * rng.uniform(0.9, 1.1, len(sent)))
    assert found.latency == pytest.approx(NET.latency, rel=0.1)
    assert found.bandwidth == pytest.approx(NET.bandwidth, rel=0.1)


def test_a_fit_believes_no_latency_below_0():
    found = fit_network([100, 200, 400], [0.9, 2.0, 4.1])
    assert found.latency == 0 and found.bandwidth == pytest.approx(100, rel=0.1)
    misses = [
        sum((b / w / t - 1) ** 2 for b, t in [(100, 0.9), (200, 2.0), (400, 4.1)])
        for w in (found.bandwidth * 0.99, found.bandwidth, found.bandwidth * 1.01)
    ]
    assert misses[1] == min(misses)


@pytest.mark.parametrize(
    "sent, times, match",
    [
        ([8, 8], [1, 2], "two sizes"),
        ([8], [1], "two sizes"),
        ([8, 80], [1, 0], "times above 0"),
        ([8, 80], [1, np.nan], "times above 0"),
        ([8, 80], [2, 1], "do not grow"),
    ],
)
def test_no_network_is_made_up(sent, times, match):
    with pytest.raises(ValueError, match=match):
        fit_network(sent, times)


# ---- What is refused


@pytest.mark.parametrize(
    "sent, match",
    [
        ([Message(1, 1, ALL, True)], r"round 1: Message\(source=1.* not between two of 3 ranks"),
        ([Message(0, 3, ALL, True)], "not between two of 3 ranks"),
        ([Message(-1, 0, ALL, True)], "not between two of 3 ranks"),
        ([Message(0, 1, slice(0, 5), True)], r"slice\(0, 5, None\) is not .* of 4 entries"),
        ([Message(0, 1, slice(3, 2), True)], "of 4 entries"),
        ([Message(0, 1, slice(-2, 4), True)], "of 4 entries"),
        ([Message(0, 1, slice(None), True)], "of 4 entries"),
        ([Message(0, 1, slice(0, 4, 2), True)], "of 4 entries"),
        (
            [Message(0, 1, slice(0, 3), False), Message(2, 1, slice(1, 4), False)],
            "round 1: ranks 0 and 2 both write entries 1 to 2 of rank 1: a race",
        ),
        ([Message(0, 1, ALL, True), Message(2, 1, slice(3, 4), False)], "entries 3 to 3 of rank 1"),
        ([Message(0, 1, ALL, False), Message(2, 1, ALL, True)], "a race"),
        ([Message(0, 1, ALL, False), Message(0, 1, ALL, False)], "ranks 0 and 0 both write"),
    ],
)
def test_a_bad_plan_is_refused_before_it_starts(sent, match):
    arrays = drawn(3, 4)
    before = np.copy(arrays)
    with pytest.raises(ValueError, match=match):
        carry_out([[Message(0, 1, ALL, True)], sent], arrays)
    assert np.array_equal(arrays, before)


@pytest.mark.parametrize(
    "sent",
    [
        [Message(0, 1, ALL, True), Message(2, 1, ALL, True)],
        [Message(0, 1, slice(0, 2), False), Message(2, 1, slice(2, 4), False)],
        [Message(0, 1, slice(2, 4), False), Message(2, 1, slice(0, 2), True)],
        [Message(0, 1, ALL, False), Message(0, 2, ALL, False)],
        [Message(0, 1, ALL, False), Message(2, 1, slice(2, 2), False)],
    ],
)
def test_what_does_not_collide_may_travel(sent):
    carry_out([sent], drawn(3, 4))


def test_arrays_that_do_not_match_are_refused():
    for arrays in (
        [],
        [np.zeros(3), np.zeros(4)],
        [np.zeros(3), np.zeros(3, np.float32)],
        [np.zeros((2, 3)), np.zeros((2, 3))],
    ):
        with pytest.raises(ValueError, match="flat arrays of one length and dtype"):
            carry_out(ring(2, 3), arrays)
    with pytest.raises(ValueError, match="the same memory"):
        carry_out(ring(3, 4), [np.zeros(4)] * 3)
    carry_out(ring(3, 4), [*np.zeros((3, 4))])  # rows of a matrix are memory of their own
    with pytest.raises(ValueError, match="of 4 entries"):
        carry_out(ring(3, 6), drawn(3, 4))


# ---- One script, in one process, in several, under MPI

BESIDE = """
import numpy as np

from grad.descent import SGD, Adam, AdamW
from grad.layers import MLP, Sequential, flatten
from grad.losses import cross_entropy
from grad.tensor import tanh

KINDS = {
    "momentum": (SGD, dict(lr=0.1, momentum=0.9)),
    "adam": (Adam, dict(lr=0.01)),
    "adamw": (AdamW, dict(lr=0.01, weight_decay=0.1)),
}
ROWS = 10, 10, 7, 2, 1  # shares of different sizes, and for some ranks none


def made(kind, dtype, seed):
    model = Sequential(flatten, MLP(12, [9, 3], act=tanh, rng=seed))
    for p in model.parameters():
        p.data = p.data.astype(dtype)
    optimizer, settings = KINDS[kind]
    return model, optimizer(model.parameters(), **settings)


def batches(dtype, first=0, last=50):
    for k in range(first, last):
        rng, rows = np.random.default_rng(k), ROWS[k % len(ROWS)]
        yield rng.standard_normal((rows, 3, 4)).astype(dtype), rng.integers(0, 3, rows)


def alone(model, optimizer, some):
    losses = []
    for x, y in some:
        value = cross_entropy(model(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses
"""

TRAIN = """
import sys
from pathlib import Path

import numpy as np
from beside import KINDS, alone, batches, cross_entropy, made

from grad import checkpoints, cluster, together

group = cluster.join(timeout=30)
folder, *resumed = map(Path, sys.argv[1:])
found = {"told": np.array([__name__, type(group).__name__, *sys.argv[1:]])}


def note(name, optimizer, losses):
    found[f"{name}/losses"] = np.array(losses)
    found[f"{name}/params"] = optimizer.flat.data.copy()
    found[f"{name}/moments"] = np.array([m.size for m in optimizer.moments.values()])


def unweighed(step):
    given = step.gradients
    step.gradients = lambda x, y, weight: given(x, y, 1 / group.size)


for name in [*KINDS, "replayed momentum", "replayed adam", "unweighed adam", "single adam"]:
    how, _, kind = name.rpartition(" ")
    dtype = np.float32 if how == "single" else np.float64
    model, optimizer = made(kind, dtype, seed=group.rank)
    step = together.step(model, cross_entropy, optimizer, group, how == "replayed")
    if how == "unweighed":
        unweighed(step)
    losses = [step(x, y) for x, y in batches(dtype, 0, 25)]
    if not how:
        together.save(folder / kind, model, optimizer, step=25)
    losses += [step(x, y) for x, y in batches(dtype, 25)]
    note(name, optimizer, losses)

model, optimizer = made("adam", np.float64, seed=0)
losses = alone(model, optimizer, batches(np.float64, 0, 10))
step = together.step(model, cross_entropy, optimizer, group)
note("late adam", optimizer, losses + [step(x, y) for x, y in batches(np.float64, 10)])

for kind in KINDS if resumed else []:
    model, optimizer = made(kind, np.float64, seed=7)
    told = checkpoints.load(resumed[0] / kind, model=model, optimizer=optimizer)
    step = together.step(model, cross_entropy, optimizer, group)
    losses = [step(x, y) for x, y in batches(np.float64, told["step"])]
    note(f"resumed {kind}", optimizer, losses)

np.savez(folder / f"{group.rank}.npz", **found)
sys.exit()
"""

FAIL = """
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
from beside import batches, cross_entropy, made

from grad import cluster, together

group = cluster.join(timeout=2)
model, optimizer = made("adam", np.float64, 0)
step = together.step(model, cross_entropy, optimizer, group)
for k, (x, y) in enumerate(batches(np.float64)):
    step(x, y)
    if k == 3:
        maps = Path("/proc/self/maps")
        blocks = re.findall(r"/dev/shm/\\w+", maps.read_text()) if maps.exists() else []
        note = "\\n".join([str(os.getpid()), *blocks])
        Path(f"{group.rank}.note").write_text(note, encoding="utf-8")
        step(x, y)
        if group.rank == 1:
            ends = {
                "raises": lambda: {}["missing"],
                "leaves": lambda: sys.exit(3),
                "tells": lambda: sys.exit("no more data"),
                "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
                "sleeps": lambda: time.sleep(100),
            }
            ends[sys.argv[1]]()
"""

beside = {}
exec(BESIDE, beside)  # what the script trains is trained here too, by a plain loop
NAMES = [*beside["KINDS"], "replayed momentum", "replayed adam", "late adam"]


def scripts(folder):
    """Write the scripts into a folder."""
    for name, text in [("beside", BESIDE), ("train", TRAIN), ("fail", FAIL)]:
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def mpiexec():
    """Return the path of mpiexec, which pip puts beside Python; skip the test without MPI."""
    found = shutil.which("mpiexec") or shutil.which("mpiexec", path=Path(sys.executable).parent)
    if not found or not find_spec("mpi4py"):
        pytest.skip("needs mpiexec and mpi4py: pip install mpi4py mpich")
    return found


def launcher(how, *options):
    """Return the command for "alone", "local 2", "mpi 3" and so on, without the script."""
    kind, _, size = how.partition(" ")
    return {
        "alone": lambda: [sys.executable],
        "local": lambda: [sys.executable, "-m", "grad.cluster", "-n", size, *options],
        "mpi": lambda: [mpiexec(), "-n", size, sys.executable, "-m", "mpi4py"],
        "plain": lambda: [mpiexec(), "-n", size, sys.executable],
    }[kind]()


def launch(command, folder):
    """Run a command in a folder; return what it wrote, and how it ended."""
    return subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, encoding="utf-8", timeout=60
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a function that trains in a way, once, and returns what every rank has found."""
    top, done = scripts(tmp_path_factory.mktemp("train")), {}

    def train(how):
        if how not in done:
            folder = top / how
            command = [*launcher(how), top / "train.py", folder]
            if how != "local 3":
                train("local 3")
                command.append(top / "local 3")
            folder.mkdir()
            ended = launch(command, folder)  # and not where the script is
            assert ended.returncode == 0, ended.stderr
            done[how] = [dict(np.load(file)) for file in sorted(folder.glob("*.npz"))]
        return done[how]

    train.folder = top
    return train


@pytest.fixture(scope="module")
def plain():
    """Return a function that trains in this process, with a plain loop, once for each optimizer."""

    @cache
    def train(kind):
        model, optimizer = beside["made"](kind, np.float64, 0)
        losses = beside["alone"](model, optimizer, beside["batches"](np.float64))
        return np.array(losses), optimizer.flat.data

    return train


HOWS = ["alone", "local 2", "local 3", "mpi 2", "mpi 3"]
ways = pytest.mark.parametrize("how", HOWS)
CLOSE = dict(rtol=1e-11, atol=1e-13)  # float64, and 200 times what was seen


@ways
def test_a_script_runs_unchanged(trained, how):
    kind, _, size = how.partition(" ")
    ranks = trained(how)
    assert len(ranks) == int(size or 1)
    group = {"alone": "Group", "local": "Local", "mpi": "Mpi"}[kind]
    args = [str(trained.folder / one) for one in (how, "local 3")]
    for found in ranks:
        assert [*found["told"]] == ["__main__", group, *args[: 1 + (how != "local 3")]]


@ways
@pytest.mark.parametrize("name", NAMES)
def test_ranks_do_what_one_process_does(trained, plain, how, name):
    losses, params = plain(name.rpartition(" ")[2])
    for found in trained(how):
        np.testing.assert_allclose(found[f"{name}/losses"], losses, **CLOSE)
        np.testing.assert_allclose(found[f"{name}/params"], params, **CLOSE)


@ways
def test_ranks_are_equal_to_the_last_bit(trained, how):
    first, *others = trained(how)
    assert any(name.startswith("single") for name in first)
    for name in first:
        if not name.endswith("/moments"):
            assert all(found[name].tobytes() == first[name].tobytes() for found in others), name


@pytest.mark.parametrize("how", HOWS[1:])
def test_ranks_that_are_equal_may_be_wrong(trained, plain, how):
    losses, params = plain("adam")
    for found in trained(how):
        assert np.abs(found["unweighed adam/params"] - params).max() > 1e-3
        assert np.abs(found["unweighed adam/losses"] - losses).max() > 1e-3


@ways
def test_each_rank_has_the_moments_of_its_part(trained, how):
    ranks = trained(how)
    size, n = len(ranks), ranks[0]["adam/params"].size
    for name, moments in [("momentum", 1), ("adam", 2), ("adamw", 2), ("late adam", 2)]:
        sizes = np.array([found[f"{name}/moments"] for found in ranks])
        assert sizes.shape == (size, moments)
        assert (sizes.sum(0) == n).all()
        assert sizes.max() <= (n + 1) / size + 16  # and what it takes to fill cache lines


@pytest.mark.parametrize("kind", beside["KINDS"])
@pytest.mark.parametrize("how", [how for how in HOWS if how != "local 3"])
def test_fewer_ranks_go_on_from_a_checkpoint(trained, plain, how, kind):
    losses, params = plain(kind)
    for found in trained(how):
        np.testing.assert_allclose(found[f"resumed {kind}/losses"], losses[25:], **CLOSE)
        np.testing.assert_allclose(found[f"resumed {kind}/params"], params, **CLOSE)


@pytest.mark.parametrize("kind", beside["KINDS"])
@pytest.mark.parametrize("how", ["local 3", "mpi 2"])
def test_a_plain_optimizer_goes_on_from_a_checkpoint_of_ranks(trained, plain, how, kind):
    trained(how)
    losses, params = plain(kind)
    model, optimizer = beside["made"](kind, np.float64, 7)
    told = checkpoints.load(trained.folder / how / kind, model=model, optimizer=optimizer)
    assert told == {"step": 25}
    found = beside["alone"](model, optimizer, beside["batches"](np.float64, 25))
    np.testing.assert_allclose(found, losses[25:], **CLOSE)
    np.testing.assert_allclose(optimizer.flat.data, params, **CLOSE)


# ---- Ranks that do not end well


def alive(pid):
    """Whether a process runs; one that has ended and is not yet buried does not."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def failed(folder, command, seconds):
    """Run a script that fails; return what it wrote. It has to end in time, and leave nothing."""
    start = time.monotonic()
    ended = launch(command, scripts(folder))
    assert time.monotonic() - start < seconds
    assert ended.returncode != 0
    notes = [file.read_text(encoding="utf-8").split() for file in folder.glob("*.note")]
    assert len(notes) == 2
    pids = [int(note[0]) for note in notes]
    if os.name != "nt":
        end = time.monotonic() + 10
        while any(map(alive, pids)) and time.monotonic() < end:
            time.sleep(0.02)
        assert not any(map(alive, pids))
    blocks = [block for block in chain(*[note[1:] for note in notes]) if Path(block).exists()]
    for block in blocks:
        Path(block).unlink(missing_ok=True)
    assert not blocks
    return ended


posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")


@pytest.mark.parametrize(
    "how, words",
    [
        ("raises", "worker 1 of 2 raised KeyError: 'missing'"),
        ("leaves", "worker 1 of 2 raised SystemExit: 3"),
        ("tells", "worker 1 of 2 raised SystemExit: no more data"),
        pytest.param("killed", "worker 1 of 2 was killed by signal 9 (SIGKILL)", marks=posix),
        ("sleeps", "worker 1 of 2 has been silent for 5 seconds"),
    ],
)
def test_a_local_rank_that_ends_badly_ends_all(tmp_path, how, words):
    command = [*launcher("local 2", "--timeout", "5"), "fail.py", how]
    ended = failed(tmp_path, command, seconds=30)
    assert ended.returncode == 1
    assert ended.stderr.startswith(words)
    if how == "raises":
        assert 'fail.py", line' in ended.stderr


@pytest.mark.parametrize(
    "start, how, words",
    [
        ("mpi 2", "raises", r"(?s)rank 1 of 2 raised.*KeyError: 'missing'"),
        ("plain 2", "raises", r"(?s)rank 1 of 2 raised.*KeyError: 'missing'"),
        ("mpi 2", "leaves", r"(?i)abort.*\b3\b"),
        ("plain 2", "leaves", "rank 0 of 2 has waited 2 seconds for the others"),
        pytest.param("mpi 2", "killed", "(?i)signal:? 9", marks=posix),
        ("mpi 2", "sleeps", "rank 0 of 2 has waited 2 seconds for the others: one of .* silent"),
    ],
)
def test_an_mpi_rank_that_ends_badly_ends_all(tmp_path, start, how, words):
    ended = failed(tmp_path, [*launcher(start), "fail.py", how], seconds=30)
    assert re.search(words, ended.stdout + ended.stderr)
    assert how != "raises" or "has waited" not in ended.stderr


@pytest.mark.parametrize(
    "options, words",
    [
        (["-n", "0", "fail.py"], "-n must be at least 1, not 0"),
        (["-n", "-2", "fail.py"], "-n must be at least 1, not -2"),
        (["missing.py"], "there is no script missing.py"),
    ],
)
def test_the_launcher_says_what_it_cannot_launch(tmp_path, options, words):
    ended = launch([sys.executable, "-m", "grad.cluster", *options], scripts(tmp_path))
    assert ended.returncode == 2 and words in ended.stderr and "Traceback" not in ended.stderr


def test_mpiexec_without_mpi4py_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)  # as if it were not installed
    for sign in cluster.MPI_SIGNS:
        monkeypatch.delenv(sign, raising=False)
    assert type(cluster.join()) is cluster.Group
    for sign in cluster.MPI_SIGNS:
        with monkeypatch.context() as started:
            started.setenv(sign, "1")
            assert type(cluster.join()) is cluster.Group
            started.setenv(sign, "2")
            with pytest.raises(ModuleNotFoundError, match="pip install mpi4py"):
                cluster.join()


def test_an_mpiexec_of_another_mpi_is_found_out(monkeypatch):
    mpi = SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1))
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)
    monkeypatch.setenv(cluster.MPI_SIGNS[0], "2")
    with pytest.raises(RuntimeError, match="started 2 ranks, and mpi4py sees one"):
        cluster.join()


# ---- What a step together refuses


def at_work(kind="adam"):
    """Return a model and an optimizer that work in a group of one, and their step."""
    model, optimizer = beside["made"](kind, np.float64, 0)
    return optimizer, together.step(model, cross_entropy, optimizer, cluster.Group())


def test_an_optimizer_is_at_work_in_one_group():
    optimizer, _ = at_work()
    with pytest.raises(ValueError, match="at work in a group: make one step"):
        together.step(None, cross_entropy, optimizer, cluster.Group())


@pytest.mark.parametrize("rows, targets", [(0, 0), (3, 2), (2, 3)])
def test_a_batch_has_rows_and_a_target_for_each(rows, targets):
    optimizer, step = at_work()
    before = optimizer.flat.data.copy()
    with pytest.raises(ValueError, match=f"{rows} rows has {targets} targets"):
        step(np.zeros((rows, 3, 4)), np.zeros(targets, int))
    np.testing.assert_array_equal(optimizer.flat.data, before)
    step(np.zeros((2, 3, 4)), np.zeros(2, int))  # nobody has begun: all can go on


def test_a_step_that_ended_in_an_error_is_the_last():
    _, step = at_work()
    with pytest.raises(ValueError, match="classes 0 to 2"):
        step(np.zeros((2, 3, 4)), np.array([0, 9]))
    with pytest.raises(RuntimeError, match="an earlier step ended in an error"):
        step(np.zeros((2, 3, 4)), np.zeros(2, int))


def differ(me, how):
    """Join a group with a model and an optimizer that differ from those of other ranks."""
    width, lr = 9 + me.rank * (how == "parameters"), 0.1 + me.rank * (how == "lr")
    model = MLP(12, [width, 3], rng=me.rank)
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)
    if how == "velocity":
        optimizer.moments["velocity"] += me.rank
    if how == "steps":
        optimizer.steps = me.rank
    together.step(model, cross_entropy, optimizer, cluster.Local(me))


@pytest.mark.parametrize("how", ["parameters", "lr", "velocity", "steps"])
def test_ranks_that_do_not_begin_alike_are_told_in_what(how):
    with pytest.raises(WorkerError, match=f"do not begin alike, but differ in {how}: all build"):
        run(differ, 2, how, method=METHODS[-1], timeout=20.0)


@pytest.mark.skipif(len(METHODS) == 1, reason="Windows has no fork")
def test_ranks_that_begin_alike_in_all_but_parameters_are_fine():
    run(differ, 2, "nothing", method="fork", timeout=20.0)


# ---- Groups and rooms


@given(sizes, st.integers(0, 99))
def test_parts_are_dealt_out_in_order_and_evenly(size, n):
    parts = []
    for rank in range(size):
        group = cluster.Group()
        group.rank, group.size = rank, size
        parts.append(range(n)[group.part(n)])
    assert [i for part in parts for i in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_room_has_a_part_for_each_rank():
    group = cluster.Group()
    group.size = 3
    with pytest.raises(ValueError, match="4 entries do not go evenly to 3 ranks"):
        group.room(4, np.zeros(1))


class FakeNCCL:
    """What NCCLBackend offers, for ranks that are threads: counts are what each rank has."""

    posted, asked, meeting = {}, [], threading.Barrier(2)

    def __init__(self, n_devices, rank, use_mpi=False):
        self.asked.append((n_devices, rank, use_mpi))
        self.size, self.rank = n_devices, rank

    def arrive(self, array):
        """Return what all ranks have come with."""
        self.posted[self.rank] = array.copy()
        self.meeting.wait(timeout=10)
        arrays = [self.posted[rank] for rank in range(self.size)]
        self.meeting.wait(timeout=10)
        return arrays

    def broadcast(self, array, root=0):
        array[...] = self.arrive(array)[root]

    def reduce_scatter(self, source, target, count, op="sum"):
        assert op == "sum" and len(target) == count == len(source) // self.size
        target[...] = sum(self.arrive(source)).reshape(self.size, count)[self.rank]

    def all_gather(self, source, target, count):
        assert len(source) == count == len(target) // self.size
        assert not np.shares_memory(source, target)
        target[...] = np.concatenate(self.arrive(source))


@pytest.mark.parametrize("kind", [cluster.Local, cluster.Mpi])
def test_what_a_room_asks_of_nccl(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(zeros=np.zeros))
    monkeypatch.setitem(sys.modules, "cupyx.distributed", SimpleNamespace(NCCLBackend=FakeNCCL))
    monkeypatch.setattr(FakeNCCL, "asked", [])
    like, ends = SimpleNamespace(dtype=np.dtype(np.float32)), {}

    def rank_of(rank):
        group = object.__new__(kind)
        group.rank, group.size = rank, 2
        room = group.room(32, like)
        assert room.data.dtype == room.grad.dtype == room.total.dtype == np.float32
        room.data[:] = 10 + rank
        room.spread()
        begin = room.data.copy()
        room.grad[:] = np.arange(32) * (rank + 1)
        room.reduce()
        room.data[group.part(32)] -= room.total
        room.gather()
        ends[rank] = begin, room.total, room.data

    threads = [threading.Thread(target=rank_of, args=[rank]) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(FakeNCCL.asked) == [(2, rank, kind is cluster.Mpi) for rank in range(2)]
    for rank in range(2):
        begin, total, data = ends[rank]
        assert (begin == 10).all()
        np.testing.assert_array_equal(total, 3 * np.arange(32)[16 * rank : 16 * (rank + 1)])
        np.testing.assert_array_equal(data, 10 - 3 * np.arange(32))


ON_GPUS = """
import cupy

from grad import cluster

group = cluster.join(timeout=30)
cupy.cuda.Device(group.rank).use()
room = group.room(32, cupy.zeros(1, cupy.float32))
room.data[:] = group.rank
room.spread()
room.grad[:] = group.rank + 1
room.reduce()
room.data[group.part(32)] -= room.total
room.gather()
assert (room.data.get() == -3).all()
"""


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["local 2", "mpi 2"])
def test_gpus_meet_under_nccl(tmp_path, how):
    cupy = pytest.importorskip("cupy", reason="needs CuPy and two GPUs")
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs CuPy and two GPUs")
    (tmp_path / "gpus.py").write_text(ON_GPUS, encoding="utf-8")
    ended = launch([*launcher(how), "gpus.py"], tmp_path)
    assert ended.returncode == 0, ended.stderr
