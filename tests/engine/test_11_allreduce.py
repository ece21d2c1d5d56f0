"""What chapter 11 promises: every rank ends with the same sum, at the cost that was foretold."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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

settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

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
