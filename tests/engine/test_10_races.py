"""What chapter 10 promises: workers that end together, and policies that keep honest books."""

import copy
import os
import threading
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from grad.descent import SGD
from grad.layers import MLP, Module
from grad.losses import cross_entropy
from grad.policies import (
    POLICIES,
    Event,
    Job,
    Seat,
    add,
    count,
    delayed,
    survivors,
    timeline,
    train,
    watched,
)
from grad.tensor import Tensor
from grad.workers import WorkerError, run

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
    return SimpleNamespace(rank=0, size=2, locks=list(locks), share=np.zeros, meet=lambda: None)


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
