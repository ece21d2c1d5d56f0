"""What chapter 10 promises: workers that end together, and policies that keep honest books."""

import copy
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from itertools import pairwise
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from grad.descent import SGD
from grad.layers import MLP, Module, Sequential, flatten
from grad.losses import cross_entropy
from grad.policies import POLICIES, Job, Seat, delayed, train
from grad.races import Event, add, count, survivors, timeline, watched
from grad.tensor import Tensor, tanh
from grad.workers import WorkerError, gather, run

METHODS = ["spawn", *["fork"] * hasattr(os, "fork")]


def generator(seed=0):
    return np.random.default_rng(seed)


# Adding to cells


def in_threads(*calls):
    """Run every (f, *args) in a thread of its own; return what they returned."""
    found = [None] * len(calls)

    def keep(i, f, *args):
        found[i] = f(*args)

    threads = [threading.Thread(target=keep, args=(i, *call)) for i, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    return found


@pytest.mark.parametrize("pick", [3, slice(2, 5), np.array([0, 4])])
def test_add_counts_every_pick_of_every_round(pick):
    cells = np.zeros(6)
    add(cells, [pick] * 7)
    wanted = np.zeros(6)
    wanted[pick] = 7
    np.testing.assert_array_equal(cells, wanted)


def test_threads_under_a_lock_lose_nothing():
    cells, lock = np.zeros(20_000), threading.Lock()
    in_threads(*[(add, cells, [slice(None)] * 300, lock)] * 2)
    np.testing.assert_array_equal(cells, 600)


def forced(lock, patience):
    """Two threads: the first reads, and waits for the second to have its turn before it writes."""
    cells = np.zeros(1, np.int64)
    first_has_read, second_is_done = threading.Event(), threading.Event()

    def first():
        def between():
            first_has_read.set()
            second_is_done.wait(timeout=patience)

        return watched(cells, 1, between, lock)

    def second():
        first_has_read.wait(timeout=30)
        events = watched(cells, 1, int, lock)
        second_is_done.set()
        return events

    return *in_threads([first], [second]), cells.item()


class Open:
    """A lock that keeps nobody out."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def test_who_writes_between_reading_and_writing_is_overwritten():
    [a], [b], end = forced(Open(), patience=30)
    assert (a.read, b.read, end) == (0, 0, 1)
    assert a.before < b.before <= b.after < a.after
    assert survivors([a, b], end) == [a]


def test_a_lock_keeps_the_second_out_until_the_first_has_written():
    [a], [b], end = forced(threading.Lock(), patience=0.2)
    assert (a.read, b.read, end) == (0, 1, 2)
    assert survivors([a, b], end) == [a, b]


def test_survivors_go_back_from_the_last_writer():
    # One worker counts to 3; another has slept since 0, and sets it back to 1.
    counted = [Event(10 * i, 10 * i + 5, i) for i in range(3)]
    sleeper, later = Event(1, 27, 0), Event(30, 35, 1)
    assert survivors([*counted, sleeper], 1) == [sleeper]
    assert survivors([*counted, later, sleeper], 2) == [sleeper, later]
    assert survivors(counted, 3) == counted
    # It writes 1 when another, who has read the 1 of the first, is about to write 2.
    first, second, sleeper = Event(0, 5, 0), Event(20, 30, 1), Event(1, 22, 0)
    assert survivors([first, second, sleeper], 2) == [first, second]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cells, touched", [(1, 1), (1000, 1000), (1000, 20)])
def test_workers_under_a_lock_lose_nothing(method, cells, touched):
    assert run(count, 2, 400, cells, touched, locks=1, method=method) == [0, 0]


@pytest.mark.parametrize("cells, touched", [(1, 1), (1000, 1000), (1000, 20)])
def test_workers_without_a_lock_agree_on_what_is_lost(cells, touched):
    mine, theirs = run(count, 2, 400, cells, touched)
    assert mine == theirs and 0 <= mine <= 400 * touched


def test_count_sees_what_is_lost():
    """With a worker that sees, at the last meeting, memory in which an addition was overwritten."""
    meetings = []
    cells = np.zeros(5)

    def meet():
        meetings.append(cells.sum())
        if len(meetings) == 2:
            cells[2] -= 1

    me = SimpleNamespace(rank=0, size=1, locks=[], share=lambda *a: cells, meet=meet)
    assert count(me, 4, 5, 5) == 1
    assert meetings == [0, 20]


@pytest.mark.parametrize("locks", [0, 1])
def test_a_timeline_ends_where_its_survivors_lead(locks):
    (ours, end), (theirs, same) = run(timeline, 2, 300, locks=locks)
    assert end == same and len(ours) == len(theirs) == 300
    kept = survivors(ours + theirs, end)
    assert [event.read for event in kept] == list(range(end))
    assert set(kept) <= set(ours + theirs)
    if locks:
        assert len(kept) == 600
        events = sorted(ours + theirs)
        assert all(a.after <= b.before for a, b in pairwise(events))


# Policies


def digits_like(rows=8, steps=30, seed=3, lr=0.2):
    rng = generator(7)
    x = rng.standard_normal((120, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0.5)
    return Job(MLP(6, [12, 3], rng=1), cross_entropy, x, y, lr, rows, steps, seed)


def flat(model):
    return np.concatenate([p.data.reshape(-1) for p in model.parameters()])


def plain(job):
    """What one loop with SGD makes of a job."""
    model = copy.deepcopy(job.model)
    optimizer = SGD(model.parameters(), job.lr)
    losses = []
    for rows in job.batches():
        loss = job.loss(model(job.x[rows]), job.y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return flat(model), losses


class Slope(Module):
    """A model whose gradient is the mean row of x, wherever it stands: with whole rows, exact."""

    def __init__(self, width):
        self.weight = Tensor(np.zeros(width, np.float32))

    def __call__(self, x):
        return (self.weight * x).sum(1)


def mean(prediction, target):
    return prediction.sum() / len(target)


def exact(width=3000, steps=150):
    """A job whose every move is exact in float32, and so is the sum of any of them."""
    x = generator(5).integers(-8, 9, (64, width)).astype(np.float32)
    return Job(Slope(width), mean, x, np.zeros(64, np.int64), 0.5, 4, steps)


def exact_end(job):
    return -job.lr * sum(job.x[rows].mean(0) for rows in job.batches())


def test_batches_are_full_and_go_through_the_data_epoch_by_epoch():
    job = digits_like(rows=50, steps=5)  # two to an epoch, and 20 rows are left out of each
    batches = job.batches()
    assert batches.shape == (5, 50)
    for epoch in (batches[:2], batches[2:4]):
        assert len(np.unique(epoch)) == 100
    assert not np.array_equal(batches[:2], batches[2:4])
    np.testing.assert_array_equal(batches, job.batches())
    assert not np.array_equal(batches, job._replace(seed=4).batches())


def test_alone_is_plain_sgd():
    job = digits_like()
    before = flat(job.model)
    report = train("alone", 1, job, audit=True)
    np.testing.assert_allclose(report.params, plain(job)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(flat(job.model), before)
    assert report.staleness == [0] * job.steps
    assert report.lost < 1e-5 and report.seconds > 0.0
    losses = [mine(job, report.params), mine(job, before)]
    assert report.loss == pytest.approx(losses[0], rel=1e-5) and losses[0] < 0.8 * losses[1]


def mine(job, params):
    """The loss of a job over all its data, with the given parameters."""
    model, at = copy.deepcopy(job.model), 0
    for p in model.parameters():
        p.data[...] = params[at : at + p.size].reshape(p.shape)
        at += p.size
    return job.loss(model(job.x), job.y).item()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_reduce_is_alone_up_to_rounding_and_repeats_to_the_bit(size):
    job = digits_like(rows=8)  # three workers get 3, 3 and 2 rows
    report = train("reduce", size, job, audit=True)
    np.testing.assert_allclose(report.params, plain(job)[0], rtol=1e-4, atol=1e-5)
    assert report.staleness == [0] * (size * job.steps)
    assert report.lost < 1e-5
    if size == 3:
        again = train("reduce", size, job)
        np.testing.assert_array_equal(again.params, report.params)
        assert again.lost is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name, locks", [("lock", 1), ("parts", 1), ("parts", 3)])
def test_locks_lose_nothing(name, locks, method):
    job = exact()
    report = train(name, 2, job, locks=locks, audit=True, method=method)
    assert report.lost == 0.0
    np.testing.assert_array_equal(report.params, exact_end(job))
    assert len(report.staleness) == job.steps and min(report.staleness) >= 0
    if name == "lock":
        assert max(report.staleness) == 0


def test_hogwild_learns_and_its_books_are_consistent():
    job = digits_like(steps=400, lr=0.05)
    report = train("hogwild", 2, job, audit=True)
    assert report.loss < 0.8 * mine(job, flat(job.model))
    assert len(report.staleness) == 400 and 0 <= min(report.staleness)
    assert max(report.staleness) <= 200
    assert 0.0 <= report.lost < 1.0
    job = exact()
    report = train("hogwild", 2, job, audit=True)
    off = np.abs(report.params - exact_end(job)).sum()
    way = sum(np.abs(job.lr * job.x[rows].mean(0)).sum() for rows in job.batches())
    assert report.lost == pytest.approx(off / way)


def seat_for(name, job, me):
    return Seat(me, job, POLICIES[name], audit=True)


def stand_in(locks=()):
    """Worker 0 of 2, without the other."""
    return SimpleNamespace(
        rank=0, size=2, locks=list(locks), share=np.zeros, meet=lambda: None, beat=int
    )


class Door(Open):
    """A lock at which the other worker, as it is opened, has made another update."""

    def __enter__(self):
        self.seat.counts[1, 0] += 1


def test_staleness_counts_the_updates_of_others_between_reading_and_writing():
    job = exact(width=5)
    seat = seat_for("hogwild", job, stand_in())
    x, y = job.x[:4], job.y[:4]
    seat.counts[1, 0] = 7
    seat.read()
    seat.counts[1, 0] += 3
    seat.move(x, y)
    assert seat.staleness == [3]
    seat.wrote()
    assert seat.counts[:, 0].tolist() == [1, 10]
    POLICIES["hogwild"].turn(seat, x, y)
    assert seat.staleness == [3, 0] and seat.counts[0, 0] == 2


def test_a_lock_around_the_step_lets_in_nothing_stale_and_locks_of_parts_do():
    for name, doors, wanted in [("lock", 1, [0]), ("parts", 3, [3])]:
        job = exact(width=5)
        x, y = job.x[:4], job.y[:4]
        locks = [Door() for _ in range(doors)]
        seat = seat_for(name, job, stand_in(locks))
        for door in locks:
            door.seat = seat
        POLICIES[name].turn(seat, x, y)
        assert seat.staleness == wanted
        np.testing.assert_array_equal(seat.params, -job.lr * x.mean(0))


def test_an_audit_sees_a_move_that_was_overwritten():
    job = exact(width=5)
    seat = seat_for("hogwild", job, stand_in())
    for start in (0, 4):
        POLICIES["hogwild"].turn(seat, job.x[start : start + 4], job.y[:4])
        if start == 0:
            seat.params[...] = 0.0  # as if somebody had written what it had read before
    first, second = (job.lr * job.x[i : i + 4].mean(0) for i in (0, 4))
    np.testing.assert_array_equal(seat.moved + seat.params, first)
    assert seat.way == np.abs(first).sum() + np.abs(second).sum()


def test_a_copy_is_what_parts_compute_on():
    job = exact(width=5)
    shared = seat_for("hogwild", job, stand_in())
    assert np.shares_memory(job.model.weight.data, shared.params)
    copied = seat_for("parts", job, stand_in())
    assert not np.shares_memory(job.model.weight.data, copied.params)
    job = digits_like()
    seat = seat_for("parts", job, stand_in([Open(), Open()]))
    seat.params += 0.25
    POLICIES["parts"].turn(seat, job.x[:8], job.y[:8])
    np.testing.assert_array_equal(seat.data, seat.params + seat.moves[0])


@pytest.mark.parametrize(
    "name, size, change, options, words",
    [
        ("hogwhile", 2, {}, {}, "there is no policy 'hogwhile', but alone, lock, parts, hogwild"),
        ("alone", 2, {}, {}, "alone is one worker, not 2"),
        ("lock", 2, {}, dict(locks=0), "lock needs 1 lock, and is given 0"),
        ("parts", 2, {}, dict(locks=0), "parts needs 1 lock, and is given 0"),
        ("reduce", 9, {}, {}, "8 rows are work for 1 to 8 workers, not for 9"),
        ("hogwild", 3, dict(steps=2), {}, "2 batches are work for 1 to 2 workers, not for 3"),
        ("hogwild", 0, {}, {}, "30 batches are work for 1 to 30 workers, not for 0"),
        ("alone", 1, dict(rows=121), {}, "a batch of 121 rows cannot be drawn from 120"),
    ],
)
def test_refusals(name, size, change, options, words):
    with pytest.raises(ValueError, match=words):
        train(name, size, digits_like()._replace(**change), **options)


def test_a_loss_that_is_no_number_ends_the_training():
    job = digits_like()
    job.x[3] = np.nan
    with pytest.raises(WorkerError, match="the loss is nan"):
        train("hogwild", 2, job)


# Late gradients


class Parabola(Module):
    """curvature / 2 * w^2, whatever x is."""

    def __init__(self, curvature):
        self.w, self.curvature = Tensor(np.ones(1, np.float32)), curvature

    def __call__(self, x):
        return self.w * self.w * (0.5 * self.curvature)


def first(prediction, target):
    return prediction.sum()


def on_parabola(lr, delay, steps, curvature=4.0):
    rows = np.zeros((2, 1), np.float32)
    return delayed(Job(Parabola(curvature), first, rows, rows, lr, 1, steps), delay)


def test_delayed_by_nothing_is_plain_sgd():
    job = digits_like()
    before = flat(job.model)
    np.testing.assert_allclose(delayed(job, 0), plain(job)[1], rtol=1e-5)
    np.testing.assert_array_equal(flat(job.model), before)


def test_delayed_follows_the_gradient_of_so_many_steps_ago():
    w, lr, c, delay = [1.0], 0.03, 4.0, 3
    for t in range(40):
        w.append(w[-1] - lr * c * w[max(t - delay, 0)])
    wanted = [0.5 * c * w[max(t - delay, 0)] ** 2 for t in range(40)]
    np.testing.assert_allclose(on_parabola(lr, delay, 40, c), wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("delay", range(17))
def test_delay_sets_a_limit_to_the_learning_rate(delay):
    limit = 2.0 * np.sin(np.pi / (2 * (2 * delay + 1))) / 4.0
    steps = 200 * (delay + 1)

    def growth(lr):
        losses = on_parabola(lr, delay, steps)
        half = steps // 2
        return max(losses[half:]) / max(losses[:half])

    assert growth(0.96 * limit) < 0.5
    assert growth(1.04 * limit) > 2.0


# Workers: what they are told, and memory in common


def met(me, word):
    """Tell what this worker was told, with what it finds of BLAS and of cores."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    threads = {pool["num_threads"] for pool in threadpool_info()}
    return SimpleNamespace(
        told=(me.rank, me.size, word, len(me.locks)),
        pid=os.getpid(),
        threads=threads,
        cores=cores,
        own_core=me.own_core,
    )


def works_alone(me, seconds, beats):
    """Come to no meeting for some time, and tell of it or not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        if beats:
            me.beat()
    return me.rank


def test_who_comes_to_no_meeting_and_beats_is_not_silent():
    assert run(works_alone, 2, 3.0, True, timeout=1.5) == [0, 1]
    with pytest.raises(WorkerError, match=r"worker 0, 1 of 2 .* silent for 0\.8 s"):
        run(works_alone, 2, 30.0, False, timeout=0.8)


def test_two_who_ask_for_different_arrays_are_told():
    with pytest.raises(WorkerError, match=r"RuntimeError: this worker has come to share\(\d+, "):
        run(asks, 2, timeout=20.0)


def asks(me):
    """Ask for an array that the others have another idea of."""
    return me.share(10 + me.rank).shape


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_results_come_in_the_order_of_ranks(method, size):
    found = run(met, size, "word", locks=2, method=method)
    assert [one.told for one in found] == [(rank, size, "word", 2) for rank in range(size)]
    assert len({os.getpid(), *[one.pid for one in found]}) == size + 1
    assert all(one.threads == {1} for one in found)
    if not hasattr(os, "sched_getaffinity"):
        return
    mine = sorted(os.sched_getaffinity(0))
    if size <= len(mine):
        assert all(one.own_core for one in found)
        assert [one.cores for one in found] == [[core] for core in mine[:size]]
    else:
        assert not any(one.own_core for one in found)
        assert all(one.cores == mine for one in found)


def there(name):
    """Whether shared memory has this name."""
    try:
        memory = SharedMemory(name)
    except FileNotFoundError:
        return False
    memory.close()
    return True


ASKED = [((), np.float64), (3, np.float32), ((2, 0, 3), np.float32), ((4, 5), np.int64), (1, "?")]


def shares(me):
    """Share arrays, write into one of them on each rank in turn, and return what is to be seen."""
    arrays, names = [], []
    for shape, dtype in ASKED:
        arrays.append(me.share(shape, dtype))
        names.append(me.board.read())
    kinds = [(a.shape, a.dtype, bool(a.any()), a.flags.writeable) for a in arrays]
    me.meet()
    for i, a in enumerate(arrays):
        if i % me.size == me.rank:
            a[...] = i + 1
    me.meet()
    return kinds, [a.copy() for a in arrays], names


@pytest.mark.parametrize("method", METHODS)
def test_shared_arrays_are_of_zeros_and_for_all(method):
    for kinds, arrays, names in run(shares, 2, method=method):
        assert kinds == [
            (np.empty(shape).shape, np.dtype(dtype), False, True) for shape, dtype in ASKED
        ]
        assert not any(there(name) for name in names)
        for i, a in enumerate(arrays):
            np.testing.assert_array_equal(a, np.full_like(a, i + 1))


def relay(me, rounds):
    """Write what only this round has, meet, and count what of the others is not there yet."""
    rows, missing = me.share((me.size, 3), np.int64), 0
    for k in range(1, rounds + 1):
        rows[me.rank] = k
        me.meet()
        missing += int((rows != k).sum())
        me.meet()
    return missing, me.meetings


@pytest.mark.parametrize("size", [2, 3, (os.cpu_count() or 1) + 3])
def test_what_was_written_before_a_meeting_is_seen_after_it(size):
    rounds = 1000 if size == 2 else 200
    assert run(relay, size, rounds, method=METHODS[-1]) == [(0, 2 * rounds + 2)] * size


def come_to(me, doings):
    """Do what the rank is told, in order."""
    for doing in doings[me.rank]:
        me.share(3) if doing == "share" else me.meet(doing)


@pytest.mark.parametrize("doings", [(["meet"], ["reduce"]), (["a", "share"], ["a", "a", "a"])])
def test_workers_that_come_to_different_meetings_are_told(doings):
    with pytest.raises(WorkerError, match=r"this worker has come to .* something else: all must"):
        run(come_to, 2, doings, method=METHODS[-1], timeout=20.0)
    run(come_to, 2, [doings[0]] * 2, method=METHODS[-1], timeout=20.0)


def test_runs_at_the_same_time_have_memory_of_their_own():
    first, second = in_threads((run, relay, 2, 300), (run, relay, 2, 400))
    assert first == [(0, 602)] * 2 and second == [(0, 802)] * 2


def shared_often(me, times):
    """Share, let go, and count what this process has open before and after."""
    before = len(os.listdir("/dev/fd"))
    for _ in range(times):
        me.share(8)
    return len(os.listdir("/dev/fd")) - before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no list of what a process has open")
def test_memory_that_nobody_has_any_more_is_closed():
    run(met, 1, "", method="fork")  # what the first run opens stays: it tracks resources
    before = len(os.listdir("/dev/fd"))
    assert run(shared_often, 2, 20, method="fork") == [0, 0]
    assert len(os.listdir("/dev/fd")) <= before


def follow(me, model, loss, x, y):
    """Follow a loss in a worker; return it, and the gradients."""
    value = loss(model(x), y)
    value.backward()
    return value.item(), [p.grad for p in model.parameters()]


def test_models_and_losses_go_to_workers_and_back():
    rng = generator()
    model = Sequential(flatten, MLP(12, [5, 3], act=tanh, rng=rng))
    x, y = rng.standard_normal((4, 3, 4), np.float32), np.array([0, 1, 2, 0])
    ((value, grads),) = run(follow, 1, model, cross_entropy, x, y)
    assert not any(p.grad is not None for p in model.parameters())
    expected, wanted = follow(None, model, cross_entropy, x, y)
    assert value == pytest.approx(expected, rel=1e-6)
    for grad, want in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(grad, want, rtol=1e-5, atol=1e-6)
    again = pickle.loads(pickle.dumps(model))
    assert again.layers[0] is flatten and again.layers[1].act is tanh
    again.parameters()[0].data[...] = 0
    assert model.parameters()[0].data.any()


# Workers that do not end well

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")


class Late:
    """A standard output that takes its time."""

    def __init__(self, path):
        self.path, self.text = path, ""

    def write(self, text):
        self.text += text

    def flush(self):
        text, self.text = self.text, ""
        if text:
            time.sleep(0.3)
            self.path.write_text(text, encoding="utf-8")


def prints(me, path, wrong):
    """Print to an output that takes its time, and perhaps raise."""
    sys.stdout = Late(path)
    print("the last words")
    if wrong:
        raise ValueError("wrong")


@pytest.mark.parametrize("wrong", [False, True])
def test_what_a_worker_has_printed_is_not_lost(tmp_path, wrong):
    with pytest.raises(WorkerError, match="wrong") if wrong else nullcontext():
        run(prints, 1, tmp_path / "out", wrong, method=METHODS[-1])
    assert (tmp_path / "out").read_text(encoding="utf-8") == "the last words\n"


def fall_silent():
    time.sleep(100)


def go_round():
    while True:
        pass


ENDS = {
    "raises": lambda: {}["missing"],
    "leaves": lambda: sys.exit(3),
    "exits": lambda: os._exit(3),
    "ends at 0": lambda: os._exit(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "unpicklable": lambda: lambda: None,
    "returns": lambda: None,
    "sleeps": fall_silent,
    "goes round": go_round,
    "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "interrupts": lambda: (os.kill(os.getppid(), signal.SIGINT), fall_silent()),
}


def note(me, folder):
    """Write down who this worker is, and the name of the memory that was shared last."""
    file = folder / f"{me.rank}.note"
    part = file.with_suffix(".part")
    part.write_text(f"{os.getpid()} {me.board.read()}", encoding="utf-8")
    part.replace(file)


def until(condition, seconds=15.0):
    """Wait until a condition holds, and no longer than so many seconds; return whether it does."""
    end = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return holds


def badly(me, folder, how, waiting):
    """Come to one meeting; then worker 1 ends as it is told, and worker 0 waits for it."""
    array = me.share(5)
    first = me.board.read()
    note(me, folder)
    me.meet()
    if me.rank == 1:
        if waiting == "share":
            assert until(lambda: me.board.read() != first)
            note(me, folder)
        return ENDS[how]()
    return me.share(6) if waiting == "share" else array[0] + (me.meet() or 0)


def alive(pid):
    """Whether a process runs; one that has ended and is not yet buried does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def notes(folder):
    """Return the pids and the names that workers have written down."""
    found = [file.read_text(encoding="utf-8").split() for file in folder.glob("*.note")]
    return [int(pid) for pid, _ in found], {name for _, name in found}


def assert_nothing_is_left(folder, size=2):
    """Fail if a worker lives, or memory that it has noted can be opened."""
    assert not multiprocessing.active_children()
    pids, names = notes(folder)
    assert len(pids) == size and all(names)
    assert os.name == "nt" or not any(alive(pid) for pid in pids)
    assert not any(there(name) for name in names)


SILENT = r"worker 1 of 2 has been silent for 1 seconds, after 3 meetings"
BAD_ENDS = [
    ("raises", r"worker 1 of 2 raised KeyError: 'missing'"),
    ("leaves", r"worker 1 of 2 raised SystemExit: 3"),
    ("exits", r"worker 1 of 2 ended with exit code 3 and returned nothing"),
    ("ends at 0", r"worker 1 of 2 ended with exit code 0 and returned nothing"),
    pytest.param("killed", r"worker 1 of 2 was killed by signal 9 \(SIGKILL\)", marks=posix),
    ("unpicklable", r"worker 1 of 2 raised \w+Error: .*<lambda>.*"),
    ("returns", r"worker 0 of 2 .*silent.*; worker 1 returned before the last of them"),
    ("sleeps", SILENT),
    ("goes round", SILENT),
    pytest.param("stopped", SILENT, marks=posix),
]


def bad_end(folder, how, words, waiting, method, timeout):
    """Let a worker end badly; return the error, when nothing was left of it in time."""
    start = time.monotonic()
    with pytest.raises(WorkerError) as caught:
        run(badly, 2, folder, how, waiting, method=method, timeout=timeout)
    assert time.monotonic() - start < timeout + 10
    assert re.fullmatch(words, str(caught.value))
    assert_nothing_is_left(folder)
    return caught.value


@pytest.mark.skipif(len(METHODS) == 1, reason="Windows has no fork")
@pytest.mark.parametrize("how, words", BAD_ENDS)
def test_a_worker_that_ends_badly_ends_all(tmp_path, how, words):
    error = bad_end(tmp_path, how, words, "meet", "fork", 1.0)
    if how == "raises":
        assert "return ENDS[how]()" in "".join(error.__notes__)


@pytest.mark.parametrize("how, words", [BAD_ENDS[0], BAD_ENDS[2], BAD_ENDS[4]])
def test_a_spawned_worker_that_ends_badly_ends_all(tmp_path, how, words):
    bad_end(tmp_path, how, words, "meet", "spawn", 60.0)


@pytest.mark.parametrize("how, words", [BAD_ENDS[0], BAD_ENDS[4]])
def test_memory_that_was_never_shared_in_full_goes_too(tmp_path, how, words):
    bad_end(tmp_path, how, words, "share", METHODS[-1], 60.0)


def test_a_spawned_worker_that_is_silent_is_named(tmp_path):
    words = r"worker 1 of 2 has been silent for 6 seconds, after 3 meetings"
    bad_end(tmp_path, "sleeps", words, "meet", "spawn", 6.0)


@posix
def test_who_interrupts_the_parent_ends_the_workers(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            run(badly, 2, tmp_path, "interrupts", "meet", timeout=20.0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert_nothing_is_left(tmp_path)


@posix
def test_a_message_that_breaks_off_is_a_worker_that_died():
    mine, theirs = multiprocessing.Pipe(duplex=False)
    os.write(theirs.fileno(), (1000).to_bytes(4, "big") + b"only a part")
    theirs.close()
    process = SimpleNamespace(join=lambda: None, exitcode=-signal.SIGKILL)
    with mine, pytest.raises(WorkerError, match="worker 0 of 1 was killed by signal 9"):
        gather({mine: 0}, [process], SimpleNamespace(marks=[0]), 5.0)


ORPHANS = """
import sys
from pathlib import Path
from grad.workers import run
from test_10_races import badly

if __name__ == "__main__":
    run(badly, 2, Path(sys.argv[1]), sys.argv[2], sys.argv[3], method=sys.argv[4])
"""


def script(tmp_path, text, *args, **options):
    """Start a script that finds this module."""
    path = tmp_path / "script.py"
    path.write_text(text, encoding="utf-8")
    here = [str(Path(__file__).parent), *sys.path]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(here)}
    return subprocess.Popen([sys.executable, str(path), *map(str, args)], env=env, **options)


@posix
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how, waiting", [("goes round", "meet"), ("sleeps", "share")])
def test_workers_do_not_outlive_their_parent(tmp_path, method, how, waiting):
    parent = script(tmp_path, ORPHANS, tmp_path, how, waiting, method, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: len(notes(tmp_path)[0]) == 2)
        time.sleep(0.2)  # until both are where they stay
    finally:
        parent.kill()
        parent.wait(timeout=10)
    pids, names = notes(tmp_path)
    assert until(lambda: not any(alive(pid) for pid in pids))
    assert until(lambda: not any(there(name) for name in names))


# What workers refuse

UNGUARDED = """
from grad.workers import run
from test_10_races import met

print(len(run(met, 2, "x" * {length})))
"""


@pytest.mark.parametrize("length", [1, 1_000_000])
def test_a_script_that_starts_workers_when_imported_is_told_why_not(tmp_path, length):
    text = UNGUARDED.format(length=length)
    one = script(tmp_path, text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    out, err = one.communicate(timeout=60)
    assert one.returncode == 1 and not out
    assert 'under if __name__ == "__main__"' in err
    assert re.search(r"WorkerError: worker \d of 2 ended with exit code 1 and returned", err)


HANGS = """
import time
from grad.workers import run
from test_10_races import met

if __name__ == "__main__":
    run(met, 1, "x" * 1_000_000, timeout=2.0)
else:
    time.sleep(100)
"""


def test_a_worker_that_never_begins_is_silent_too(tmp_path):
    one = script(tmp_path, HANGS, stderr=subprocess.PIPE, encoding="utf-8")
    try:
        _, err = one.communicate(timeout=20)
    finally:
        one.kill()
    assert "WorkerError: worker 0 of 1 has been silent for 2 seconds, after 0 meetings" in err


def starts_workers(me):
    return run(met, 1, "")


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_starts_no_workers(method):
    with pytest.raises(WorkerError, match="raised RuntimeError: a worker cannot start workers"):
        run(starts_workers, 1, method=method)


def test_functions_that_no_worker_could_import_are_refused():
    def nested(me):
        return me.rank

    for f in (lambda me: me.rank, nested):
        with pytest.raises(ValueError, match=r"finds .*<\w+>.* nowhere: put it at the top"):
            run(f, 1)
        if len(METHODS) == 2:
            assert run(f, 2, method="fork") == [0, 1]


def test_functions_of_a_notebook_are_refused(monkeypatch):
    def cell(me):
        return me.rank

    cell.__module__, cell.__qualname__ = "__main__", "cell"
    notebook = ModuleType("__main__")
    notebook.cell = cell
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    with pytest.raises(ValueError, match="finds cell nowhere: put it at the top of a module"):
        run(cell, 1)


@pytest.mark.parametrize("size", [0, -1])
def test_there_is_at_least_one_worker(size):
    with pytest.raises(ValueError, match=f"at least one worker, not {size}"):
        run(met, size, "")


def test_a_way_to_start_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="cannot find context for 'magic'"):
        run(met, 1, "", method="magic")
