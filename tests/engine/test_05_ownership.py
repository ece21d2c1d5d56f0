"""What chapter 5 promises: who holds what, lifetimes, no_grad, checkpoints, a guarded collector."""

import contextvars
import gc
import math
import random
import subprocess
import sys
import threading
import tracemalloc
import warnings
import weakref
from unittest.mock import Mock

import pytest

from grad.data import moons
from grad.memory import (
    Lifetimes,
    alive,
    checkpoint,
    collector_off,
    detach,
    held,
    no_grad,
    owners,
    why_alive,
)
from grad.nn import MLP
from grad.node import Node, ancestors
from grad.ops import mul, total
from grad.optim import SGD
from grad.order import backward
from grad.primitive import PRIMITIVES, is_recording, primitive
from grad.value import Value


@pytest.fixture(autouse=True)
def own_rows():
    """Take back the rows that a test has entered in the table of operations."""
    rows = dict(PRIMITIVES)
    yield
    PRIMITIVES.clear()
    PRIMITIVES.update(rows)


@pytest.fixture
def quiet():
    """No garbage about, and no collector to tidy up."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Bulk(float):
    """A float that can be watched, as an array could be."""

    __slots__ = ("__weakref__",)


def test_every_node_and_number_of_a_step_dies_with_its_names_for_100_steps(quiet):
    @primitive
    def scaled(x):
        factor = Bulk(3.0)
        numbers.append(weakref.ref(factor))
        return x * factor, lambda g: (g * factor,)

    points, labels = moons(6)
    model = MLP(2, [4, 1])
    optimizer = SGD(model.parameters(), lr=0.01)
    for _ in range(100):
        numbers = []
        losses = [(1 - y * scaled(model(p))).relu() for p, y in zip(points, labels, strict=True)]
        loss = total(*losses) / len(losses)
        nodes = [weakref.ref(node) for node in ancestors(loss)]
        mine = set(model.parameters())
        assert all(number() is not None for number in numbers)
        optimizer.zero_grad()
        loss.backward()
        assert all(number() is None for number in numbers), "a consumed graph holds numbers"
        optimizer.step()
        del losses, loss
        left = {node() for node in nodes} - {None} - mine
        assert not left


def test_alive_counts_what_is_there(quiet):
    before = len(alive())
    x = Value(1.0)
    y = x * x + x
    assert len(alive()) - before == 3
    del y
    assert len(alive()) - before == 1
    assert alive(Bulk) == []


def test_alive_does_not_ask_the_dead(quiet):
    x = Value(1.0)
    stand_in = weakref.proxy(x)
    before = len(alive())
    del x
    assert len(alive()) == before - 1 and type(stand_in) is not Value


# What a thing holds ------------------------------------------------------------------------------


def test_a_node_holds_its_slots_and_a_pullback_the_numbers_it_names():
    x = Value(2.0)
    z = x * Value(3.0)
    assert held(z) == {
        "data": 6.0,
        "grad": 0.0,
        "parents": z.parents,
        "pullback": z.pullback,
        "op": "mul",
        "waiting": 0,
    }
    assert held(z.pullback) == {"x": 2.0, "y": 3.0}
    assert held((x + x).pullback) == {}


def test_held_sees_through_containers_calls_errors_and_methods():
    x = Value(1.0)
    assert held([x])["[0]"] is x and held({"a": x})["['a']"] is x
    assert held(x.exp)["__self__"] is x
    try:
        raise ValueError("no")
    except ValueError as error:
        trace = held(error)["__traceback__"]
        assert held(held(trace)["tb_frame"])["x"] is x
    assert held(lambda y=x: y)["__defaults__"] == (x,)


def test_held_skips_a_variable_that_has_no_value_yet():
    def use():
        return later

    assert held(use) == {}
    later = 1.0
    assert held(use) == {"later": 1.0}


kept = []  # a global of this module: the nearest name for what is put there


def words(thing):
    return [owner.words for owner in owners(thing)]


def test_owners_are_named_by_place():
    x = Value(2.0)
    y = x.exp()
    box = {"loss": y}
    z = y * x
    before = owners(y)
    assert sorted(words(y)) == ["['loss'] of a dict", "[0] of a tuple"]
    assert len(before) == 2
    assert words(z.parents) == ["parents of a node mul"]
    assert words(z.pullback) == ["pullback of a node mul"]

    def use():
        return box

    assert words(box) == ["box of the function test_owners_are_named_by_place.<locals>.use"]
    assert use() is box


class Shelf:
    book = Value(4.0)


def test_a_class_that_holds_is_on_the_way_and_not_its_end():
    way = [owner.words for owner in why_alive(Shelf.book)]
    assert way[-1] == f"the name Shelf in {__name__}" and len(way) > 1


def test_a_holder_without_names_inside_is_named_by_its_kind():
    x = Value(1.0)
    crowd = {x}
    assert words(x) == ["a part of a set"] and crowd


def test_the_items_of_a_tuple_are_held_by_it_alone():
    pair = (Value(1.0), Value(2.0))
    assert [owner.holder is pair for owner in owners(*pair)] == [True, True]


def test_a_weak_reference_and_a_running_call_are_no_owners():
    x = Value(2.0)
    frame = sys._getframe()  # now the collector sees the call too
    watch = weakref.ref(x)
    assert owners(x) == [] and why_alive(x) == []
    assert watch() is x and frame
    del frame


def test_the_way_to_the_nearest_name():
    x = Value(2.0)
    z = (x * 3.0).exp()
    kept.append(z)
    way = why_alive(z.parents[0])
    kept.clear()
    assert [owner.words for owner in way] == [
        "[0] of a tuple",
        "parents of a node exp",
        "[0] of a list",
        f"the name kept in {__name__}",
    ]
    assert way[1].holder is z


def test_a_traceback_keeps_the_graph_of_the_call_that_failed():
    def step():
        loss = Value(2.0).exp()
        kept.append(weakref.ref(loss))
        raise ValueError("after the loss was made")

    try:
        step()
    except ValueError as error:
        caught = error
    sys.modules[__name__].failure = caught
    try:
        way = [owner.words for owner in why_alive(kept.pop()())]
    finally:
        del sys.modules[__name__].failure
    assert way[0].startswith("loss of a call of") and way[0].endswith("step")
    assert way[-2:] == ["__traceback__ of a ValueError", f"the name failure in {__name__}"]


def test_a_variable_that_a_generator_shares_leads_to_the_error_that_keeps_it():
    def step():
        loss = Value(2.0)
        kept.append(weakref.ref(loss))
        sum((lambda: loss.data)() for _ in range(2))
        raise ValueError

    try:
        step()
    except ValueError as error:
        sys.modules[__name__].failure = error
    try:
        loss = kept.pop()
        for _ in range(2):  # asking does not change the answer
            way = [owner.words for owner in why_alive(loss())]
            assert way[0].endswith("step") and way[0].startswith("loss of a call")
            assert way[-1] == f"the name failure in {__name__}"
    finally:
        del sys.modules[__name__].failure


def test_a_suspended_generator_owns_its_variables():
    def count():
        node = Value(1.0)
        yield (lambda: node)
        yield node.data

    running = count()
    node = next(running)()
    assert "node of a generator" in words(node)
    kept.append(running)
    assert [owner.words for owner in why_alive(node)][:2] == [
        "node of a generator",
        "[0] of a list",
    ]
    kept.clear()


def test_the_attributes_of_an_object_are_the_way_to_it():
    class Model:
        pass

    model = Model()
    model.weight = Value(1.0)
    kept.append(model)
    for _ in range(2):
        way = [owner.words for owner in why_alive(model.weight)]
        assert way[-2:] == ["[0] of a list", f"the name kept in {__name__}"]
        assert way[:-2] == ["weight of a Model"]
    kept.clear()


def test_the_way_from_the_first_of_many_steps_is_found():
    mean = Value(0.0)
    first = mean
    for _ in range(1000):
        mean = 0.9 * mean + 0.1 * Value(1.0)
    kept.append(mean)
    way = why_alive(first)
    kept.clear()
    assert len(way) == 2 * 2000 + 2


def test_strange_neighbours_do_not_stop_the_search():
    class Rude:
        def __repr__(self):
            raise RuntimeError

        __hash__ = object.__hash__

    x = Value(1.0)
    others = [Mock(spec=dict), Mock(spec=list), {"__name__": [x]}, {Rude(): 1, "x": x}]
    assert sorted(words(x)) == ["['x'] of a dict", "[0] of a list"]
    assert words(others[2]["__name__"]) == ["['__name__'] of a dict"]
    for other in others:
        assert why_alive(other) == []


def test_a_cycle_has_owners_and_no_way_to_a_name(quiet):
    node = Node(1.0)
    node.data = node
    watch = weakref.ref(node)
    del node
    assert words(watch()) == ["data of a node "] and why_alive(watch()) == []
    gc.collect()


def test_a_chain_of_holders_a_thousand_nodes_long_is_followed():
    x = y = Value(0.5)
    for _ in range(30):
        y = y.tanh()
    kept.append(y)
    way = why_alive(x)
    kept.clear()
    assert len(way) == 2 * 30 + 2


# Lifetimes ---------------------------------------------------------------------------------------


def test_births_and_deaths_are_counted_in_order(quiet):
    x, w = Value(2.0), Value(3.0)
    with Lifetimes(x, w) as log:
        loss = (w * x).exp()
        del loss
    assert log.lives == [["mul", 1, 4], ["exp", 2, 3]]


def test_what_outlives_the_block_has_no_death_until_it_dies(quiet):
    x = Value(2.0)
    with Lifetimes(x) as log:
        y = 1 - x * 2
    assert log.lives == [["", 1, None], ["mul", 2, None], ["", 3, None], ["sub", 4, None]]
    assert type(x) is Value
    del y
    assert {death for *_, death in log.lives} == {5, 6, 7, 8}


def test_watched_leaves_compute_and_learn_as_before():
    x = Value(2.0)
    with Lifetimes(x):
        y = (3 / x + 2**x - x) ** 2
        y.backward()
        assert isinstance(y, Value) and type(y).__name__ == "Value"
    other = Value(2.0)
    ((3 / other + 2**other - other) ** 2).backward()
    assert x.grad == other.grad


def test_leaves_get_their_class_back_when_the_block_fails():
    x = Value(2.0)
    with pytest.raises(KeyError), Lifetimes(x):
        raise KeyError
    assert type(x) is Value


def test_a_log_holds_nothing_and_notes_no_births_when_its_block_is_over(quiet):
    x = Value(2.0)
    watch = weakref.ref(x)
    with Lifetimes(x) as log:
        y = x.exp()
    z = y * y
    assert [op for op, *_ in log.lives] == ["exp"] and z.data
    del x, y, z
    assert watch() is None and log.lives == [["exp", 1, 2]]


def test_only_nodes_are_watched_and_a_refusal_changes_none():
    x = Value(2.0)
    with pytest.raises(TypeError, match="watches nodes"):
        Lifetimes(x, 1.0)
    assert type(x) is Value
    with Lifetimes(x):
        assert type(x)(1.0, op="k").op == "k"


# Graphs not made ---------------------------------------------------------------------------------


def test_no_grad_makes_leaves_and_is_put_back():
    x = Value(2.0)
    with no_grad():
        y = x * x
        with no_grad():
            pass
        assert not is_recording()
    assert y.data == 4.0 and y.parents == () and is_recording()
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert is_recording()


def test_no_grad_decorates_a_function():
    @no_grad()
    def predict(x):
        return x * x

    assert predict(Value(2.0)).parents == () and is_recording()


def test_no_grad_is_for_one_thread():
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(is_recording()))
        thread.start()
        thread.join()
        assert contextvars.copy_context().run(is_recording) is False
    assert seen == [True]


def test_detach_keeps_the_number_and_drops_the_past():
    x = Value(2.0)
    y = x * x
    d = detach(y)
    (d * x).backward()
    assert type(d) is Value and d.parents == () and x.grad == 4.0 and d.grad == 2.0


def test_microbatches_add_up_to_the_batch_with_fewer_nodes_alive(quiet):
    random.seed(0)
    model = MLP(2, [4, 1])
    points, labels = moons(20)
    cases = list(zip(points, labels, strict=True))

    def loss_of(part):
        return total(*[(model(p) - y) ** 2 for p, y in part]) / len(cases)

    model.zero_grad()
    loss = loss_of(cases)
    whole_alive = len(alive())
    loss.backward()
    whole = [p.grad for p in model.parameters()]
    del loss
    model.zero_grad()
    peak = 0
    for start in range(0, 20, 5):
        loss = loss_of(cases[start : start + 5])
        peak = max(peak, len(alive()))
        loss.backward()
        del loss
    assert [p.grad for p in model.parameters()] == pytest.approx(whole, rel=1e-12)
    assert peak < whole_alive / 2


# Checkpoints -------------------------------------------------------------------------------------


def stretch(n, w, look=lambda g: (g,)):
    @primitive
    def seen(v):
        return v, look

    def f(y):
        y = seen(y)
        for _ in range(n):
            y = (w * y).tanh()
        return y

    return f


def gradients(segments, length=64):
    """Return (loss, gradients, the most nodes alive on the way back) of a chain cut in segments."""
    x, w = Value(0.7), Value(1.1)
    before, counts = len(alive()), []

    def look(g):
        counts.append(len(alive()) - before)
        return (g,)

    y = x
    for _ in range(segments):
        y = checkpoint(stretch(length // segments, w, look), y)
    if not segments:
        y = stretch(length, w, look)(y)
    y.backward()
    return y.data, (x.grad, w.grad), max(counts)


def test_a_checkpointed_chain_has_the_same_gradients_and_fewer_nodes(quiet):
    plain, cut = gradients(0), gradients(8)
    assert cut[0] == plain[0]
    assert cut[1] == pytest.approx(plain[1], rel=1e-13)
    assert plain[2] == 1 + 2 * 64
    assert cut[2] == 8 + 1 + 1 + 2 * 8  # the checkpoints, a fresh leaf, and one segment's graph


def test_a_checkpoint_is_one_node_and_holds_no_graph(quiet):
    x = Value(0.5)
    y = checkpoint(stretch(10, Value(1.2)), x)
    assert ancestors(y) == [y, x] and y.op == "checkpoint"
    y.backward()
    assert x.grad != 0.0
    with pytest.raises(RuntimeError, match="already been through 'checkpoint'"):
        y.backward()


def test_checkpoints_nest_take_numbers_and_run_under_no_grad():
    x, plain = Value(0.5), Value(0.5)
    outer = checkpoint(lambda a, b: checkpoint(lambda c: c.exp() * c, a * b) + a, x, 3.0)
    outer.backward()
    u = plain * 3.0
    (u.exp() * u + plain).backward()
    assert x.grad == pytest.approx(plain.grad, rel=1e-14)
    with no_grad():
        assert checkpoint(lambda a: a * a, x).parents == ()


def test_a_graph_recorded_under_no_grad_backward_still_runs_again():
    x = Value(0.5)
    y = checkpoint(lambda a: a * a, x)
    with no_grad():
        y.backward()
    assert x.grad == 1.0 and is_recording()


def test_a_checkpoint_takes_arrays():
    np = pytest.importorskip("numpy")
    x = Node(np.array([1.0, 2.0]))
    y = checkpoint(lambda v: mul(v, v), x)
    backward(y, np.ones(2))
    assert x.grad.tolist() == [2.0, 4.0]
    factor = [2.0]
    y = checkpoint(lambda v: mul(v, Node(np.array([1.0, factor[0]]))), x)
    factor[0] = 3.0
    with pytest.raises(RuntimeError, match="ran f again"):
        backward(y, np.ones(2))


def test_a_checkpoint_keeps_the_class_of_each_argument():
    class Silent(Value):
        __slots__ = ()

    x, c = Value(3.0), Silent(2.0)
    seen = []

    def f(c, x):
        seen.append((type(c), type(x)))
        return x * c * x

    checkpoint(f, c, x).backward()
    assert seen == [(Silent, Value)] * 2 and x.grad == 12.0


def test_nan_is_like_nan_and_unlike_a_number():
    x, bad = Value(3.0), [math.nan]
    y = checkpoint(lambda v: v * bad[0], x)
    y.backward()
    assert math.isnan(x.grad)
    y = checkpoint(lambda v: v * bad[0], x)
    bad[0] = 1.0
    with pytest.raises(RuntimeError, match="instead of nan"):
        y.backward()


def test_checkpoint_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="checkpoint was given no node"):
        checkpoint(lambda x: x, 1.0)
    with pytest.raises(TypeError, match="one node, not list"):
        checkpoint(lambda x: [x, x], Value(1.0))
    assert is_recording()


def test_checkpoint_notices_that_the_second_run_differs():
    w, x = Value(2.0), Value(3.0)
    y = checkpoint(lambda a: w * a, x)
    w.data = 5.0
    with pytest.raises(RuntimeError, match=r"got 15\.0 instead of 6\.0"):
        y.backward()


def test_a_computed_node_used_inside_and_outside_a_checkpoint_is_refused_not_wrong():
    x = Value(0.5)
    c = x * x
    with pytest.raises(RuntimeError, match="already been through 'mul'"):
        (checkpoint(lambda a: a * c, x) + c).backward()


# The collector -----------------------------------------------------------------------------------


def test_training_needs_no_collector():
    x = Value(0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with collector_off():
            assert not gc.isenabled()
            for _ in range(10):
                ((x * 3.0 - 1.0).tanh() ** 2).backward()
                x.grad = 0.0
    assert gc.isenabled()


def test_nodes_left_in_cycles_are_counted_and_freed():
    with pytest.warns(UserWarning, match="2 node") as caught, collector_off():
        node, other = Node(1.0), Node(2.0)
        node.data, other.data = other, node
        watch = weakref.ref(node)
        del node, other
    assert watch() is None
    assert caught[0].filename == __file__


def test_the_collector_is_put_back_as_it_was(quiet):
    with pytest.raises(KeyError), collector_off():
        raise KeyError
    assert not gc.isenabled()


def test_a_planted_leak_is_seen_in_bytes(quiet):
    def grown(rule, steps=20):
        op = primitive(rule)
        x = Value(1.0)
        results = [op(x) for _ in range(3)]
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        results += [op(x) for _ in range(steps)]
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return (after - before) / steps

    def leaky(x):
        work = [x] * 1000
        return sum(work), lambda g: (g * len(work),)

    def mended(x):
        work = [x] * 1000
        count = len(work)
        return sum(work), lambda g: (g * count,)

    assert grown(leaky) > 8000 > 2000 > grown(mended)


def test_looking_at_memory_imports_no_numpy():
    code = "import sys, grad.memory; print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
