"""What chapter 6 promises: the tape, sums collapsed, and a replay equal to the eager engine."""

import copy
import gc
import math
import random
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grad import ops
from grad.check import gradcheck
from grad.data import moons
from grad.levels import Program, grouped, record
from grad.memory import alive, checkpoint
from grad.nn import MLP
from grad.ops import affine, dot, relu_affine, total
from grad.order import levels
from grad.primitive import PRIMITIVES, primitive
from grad.tape import collapse, depths, flatten
from grad.value import Value

# The same examples on every run, however slow the machine.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def own_rows():
    """Take back the rows that a test has entered in the table of operations."""
    rows = dict(PRIMITIVES)
    yield
    PRIMITIVES.clear()
    PRIMITIVES.update(rows)


def close(ours, theirs, tolerance=1e-12):
    """Compare entry by entry, against the larger of 1 and the largest entry."""
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    assert ours.shape == theirs.shape
    scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
    assert np.abs(ours - theirs).max(initial=0.0) <= tolerance * scale


def demo(points=20, seed=3):
    """Return (leaves of the inputs, model, the function that builds the loss)."""
    X, y = moons(points)
    random.seed(seed)
    model = MLP(2, [5, 4, 1])
    inputs = [[Value(v) for v in row] for row in X]

    def loss_of():
        losses = [(1 + -label * model(row)).relu() for row, label in zip(inputs, y, strict=True)]
        return sum(losses) * (1.0 / points) + 1e-2 * sum(p * p for p in model.parameters())

    return inputs, model, loss_of


# The tape ----------------------------------------------------------------------------------------


def test_a_tape_lists_arguments_before_results_and_the_loss_last():
    x, y = Value(2.0), Value(3.0)
    tape = flatten((x * y + x).exp())
    assert tape.ops == ["", "", "mul", "add", "exp"]
    assert [tape.leaves[i] for i in tape.args[2]] == [x, y] and tape.args[4] == (3,)
    assert all(a < i for i, args in enumerate(tape.args) for a in args)


def test_nary_operations_are_spelled_as_products_and_a_sum():
    x, y, b = Value(2.0), Value(3.0), Value(4.0)
    assert flatten(dot(x, y, y, x)).ops[2:] == ["mul", "mul", "total"]
    assert flatten(affine(b, x, y)).ops[3:] == ["mul", "total"]
    assert flatten(relu_affine(b, x, y)).ops[3:] == ["mul", "total", "relu"]


def test_a_chain_of_additions_becomes_one_level():
    terms = [Value(float(i)) for i in range(50)]
    tape = flatten(sum(v * v for v in terms))
    assert max(depths(tape)) == 51 and max(depths(collapse(tape))) == 2
    assert collapse(tape).ops.count("total") == 1


def test_a_sum_that_is_used_twice_does_not_melt():
    x, y = Value(2.0), Value(3.0)
    s = x + y
    assert collapse(flatten(s + s)).ops == ["", "", "total", "total"]
    assert collapse(flatten((s + x) * s)).ops.count("total") == 2


def test_the_collapse_of_a_long_chain_takes_linear_time():
    x = y = Value(1.0)
    for _ in range(200_000):
        y = y + x
    short = collapse(flatten(y))
    assert short.ops == ["", "total"] and len(short.args[1]) == 200_001


def test_depths_are_the_levels_of_the_graph_seen_from_the_leaves():
    _, _, loss_of = demo(4)
    loss = loss_of()
    depth = depths(flatten(total(loss, loss)))
    assert depth[-1] == max(depth) and min(depth) == 0
    x = Value(1.0)
    z = (x.exp() * x).tanh()
    assert max(depths(flatten(z))) == len(levels(z)) == 3


def test_both_spellings_of_a_network_give_the_same_program():
    _, model, loss_of = demo()
    fused = record(loss_of(), w=model.parameters())

    def spelled(neuron, x):
        act = sum((wi * xi for wi, xi in zip(neuron.w, x, strict=True)), neuron.b)
        return act.relu() if neuron.nonlin else act

    class Spelled(MLP):
        def __call__(self, x):
            for layer in self.layers:
                x = [spelled(neuron, x) for neuron in layer.neurons]
            return x[0]

    model.__class__ = Spelled
    by_hand = record(loss_of(), w=model.parameters())
    shape = [[(g.op, *g.where.shape) for g in level] for level in fused.levels]
    assert shape == [[(g.op, *g.where.shape) for g in level] for level in by_hand.levels]
    close(by_hand.forward(), fused.forward())


# Replay against eager ----------------------------------------------------------------------------


def compare(loss_of, tolerance=1e-12, **leaves):
    """Record, replay with other numbers, and compare with the eager engine."""
    program = record(loss_of(), **leaves)
    rng = random.Random(1)
    for _ in range(3):
        loss = loss_of()
        flat = {name: np.array(nodes, dtype=object) for name, nodes in leaves.items()}
        numbers = {
            name: np.array([n.data for n in nodes.flat]).reshape(nodes.shape)
            for name, nodes in flat.items()
        }
        close(program.forward(**numbers), loss.data, tolerance)
        for nodes in flat.values():
            for node in nodes.flat:
                node.grad = 0.0
        loss.backward()
        grads = program.backward()
        assert list(grads) == list(leaves)
        for name, nodes in flat.items():
            close(
                grads[name],
                np.array([n.grad for n in nodes.flat]).reshape(nodes.shape),
                tolerance,
            )
            for node in nodes.flat:
                node.data += rng.uniform(-0.1, 0.1)
    return program


def test_a_network_is_replayed_with_new_inputs_and_new_weights():
    inputs, model, loss_of = demo()
    program = compare(loss_of, x=inputs, w=model.parameters())
    assert program.backward()["x"].shape == (20, 2)
    assert len(program.levels) < 15 < len(levels(loss_of()))


NAMES = ["neg", "exp", "tanh", "sigmoid", "relu", "add", "sub", "mul", "total", "dot", "affine"]


@st.composite
def losses(draw):
    """A random program over three leaves and a constant, with repeats, sums and dead ends."""
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from(NAMES), st.lists(st.integers(0, 99), min_size=5, max_size=5)),
            min_size=1,
            max_size=25,
        )
    )

    def build(leaves):
        pool = [*leaves, Value(0.7)]
        for name, picks in steps:
            code = PRIMITIVES[name].rule.__code__
            count = code.co_argcount or 4
            if name == "affine":
                count = 5
            args = [pool[i % len(pool)] for i in picks[:count]]
            out = PRIMITIVES[name](*args)
            pool.append(out if abs(out.data) < 3 else out.tanh())
        return pool[-1] + pool[len(pool) // 2] * pool[-1]

    return build


@settings(max_examples=300)
@given(losses(), st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3))
def test_replay_equals_eager_on_random_graphs(build, numbers):
    leaves = [Value(x) for x in numbers]
    loss = build(leaves)
    program = record(loss, v=leaves)
    close(program.forward(), loss.data)
    loss.backward()
    close(program.backward()["v"], [leaf.grad for leaf in leaves])


def test_every_primitive_is_replayed():
    point = {"power": (1.3, 3.0), "raised": (1.3, 0.4), "log": (0.8,), "sqrt": (0.8,)}
    for name, op in list(PRIMITIVES.items()):
        if op.__module__ != ops.__name__:
            continue
        code = op.rule.__code__
        count = code.co_argcount or {"affine": 5, "relu_affine": 5}.get(name, 4)
        xs = point.get(name, tuple(0.3 + 0.2 * i for i in range(count)))
        rows = [[Value(x + 0.1 * k) for x in xs] for k in range(3)]
        if name == "power":
            rows = [[row[0], Value(xs[1])] for row in rows]
        losses = [op(*row) for row in rows]
        loss = total(*losses)
        program = record(loss, v=rows)
        loss.backward()
        close(program.forward(), loss.data)
        close(program.backward()["v"], [[leaf.grad for leaf in row] for row in rows])


def test_powers_with_different_exponents_share_a_group():
    x, y = Value(1.5), Value(-2.0)
    compare(lambda: x**3 + y**2 + x**0 + y**-1 * 0.5, v=[x, y])


def test_diamonds_and_repeated_parents():
    x = Value(0.5)

    def build():
        y = x
        for _ in range(20):
            y = y + y
        return y * y

    compare(build, x=x)


def test_an_unused_parameter_gets_a_gradient_of_zero():
    x, unused, last = Value(0.5), Value(2.0), Value(3.0)
    program = compare(lambda: x * x, v=[x, unused], u=last)
    assert program.backward()["u"] == 0.0 and program.backward()["v"][1] == 0.0


def test_a_program_without_names_is_a_constant():
    program = record(Value(2.0) * 3.0)
    assert program.forward() == 6.0 and program.backward() == {}


def test_a_million_additions_are_one_call():
    x = y = Value(1.0)
    for _ in range(300_000):
        y = y + x
    program = record(y, x=x)
    assert len(program.levels) == 1
    assert program.forward(x=2.0) == 600_002.0
    assert program.backward()["x"] == 300_001.0


def test_gradients_are_copies_and_backward_can_be_asked_again():
    x = Value(3.0)
    program = record(x * x, x=[x])
    first = program.backward()["x"]
    program.forward(x=[5.0])
    assert program.backward()["x"] == program.backward()["x"] == 10.0 and first == 6.0


def test_recording_consumes_nothing_and_keeps_no_graph():
    gc.collect()
    gc.disable()
    try:
        x = Value(3.0)
        loss = (x * x).exp()
        watch = weakref.ref(loss)
        program = record(loss, x=x)
        loss.backward()
        del loss
        assert watch() is None and x.grad != 0.0
        before = len(alive())
        for _ in range(5):
            program.forward(x=1.0)
            program.backward()
        assert len(alive()) == before
    finally:
        gc.enable()


def test_training_by_replay_is_training():
    _, model, loss_of = demo()
    eager = [p.data for p in model.parameters()]
    program = record(loss_of(), w=model.parameters())
    w = np.array(eager)
    for _ in range(30):
        program.forward(w=w)
        w -= 0.1 * program.backward()["w"]
    for _ in range(30):
        model.zero_grad()
        loss_of().backward()
        for p in model.parameters():
            p.data -= 0.1 * p.grad
    close(w, [p.data for p in model.parameters()], 1e-10)


def test_the_replay_of_a_layer_is_a_matrix_product():
    inputs, model, loss_of = demo()
    program = record(loss_of(), x=inputs, w=model.parameters())
    first = model.layers[0].neurons
    X = np.array([[v.data for v in row] for row in inputs])
    W = np.array([[v.data for v in n.w] for n in first])
    b = np.array([n.b.data for n in first])
    (relus,) = [g for g in program.levels[2] if g.op == "relu"]
    close(np.sort(relus.values), np.sort(np.maximum(X @ W.T + b, 0.0).ravel()))


# What is refused ---------------------------------------------------------------------------------


def test_a_changed_branch_is_refused():
    x = Value(1.0)

    def build():
        return x * x if x.data > 0 else -x

    program = record(build(), x=x)
    program.check(build())
    x.data = -1.0
    assert program.forward(x=-1.0) == 1.0  # the product, though the code would negate
    with pytest.raises(RuntimeError, match=r"took another road: entry 1 was .*mul.* is .*neg"):
        program.check(build())


def test_a_changed_constant_and_a_longer_graph_are_refused_by_check():
    x = Value(1.0)
    program = record(x * 2.0, x=x)
    with pytest.raises(RuntimeError, match=r"entry 1 was 2\.0 .* is 3\.0 now"):
        program.check(x * 3.0)
    with pytest.raises(RuntimeError, match="entry 3 was None"):
        program.check((x * 2.0).exp())
    with pytest.raises(RuntimeError, match=r"entry 0 was x .* is 1\.0 now"):
        program.check(Value(1.0) * 2.0)  # the same number in another leaf
    constant = record(x * math.nan, x=x)
    constant.check(x * math.nan)


def test_a_leaf_without_a_name_that_was_changed_is_refused():
    x, w = Value(1.0), Value(2.0)
    program = record(x * w, x=x)
    w.data = 5.0
    with pytest.raises(ValueError, match="without a name has been changed: name it"):
        program.forward(x=3.0)
    with pytest.raises(RuntimeError, match="cut short"):
        program.backward()
    w.data = 2.0
    assert program.forward() == 2.0, "a refused feed leaves everything as it was"


def test_shapes_and_names_are_checked():
    x = [Value(1.0), Value(2.0)]
    program = record(x[0] * x[1], x=x)
    with pytest.raises(ValueError, match=r"x was recorded with shape \(2,\), not \(3,\)"):
        program.forward(x=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"no leaves are named 'y', only \['x'\]"):
        program.forward(y=1.0)


@pytest.mark.parametrize("bad", [[1.0, None], ["1", "2"], [1j, 2.0], [True, False]])
def test_only_real_numbers_are_fed_and_all_or_none(bad):
    a, b = Value(1.0), [Value(2.0), Value(3.0)]
    program = record(a * b[0] * b[1], a=a, b=b)
    with pytest.raises(TypeError, match="b takes real numbers, not"):
        program.forward(a=7.0, b=bad)
    assert program.forward() == 6.0


def test_an_overflow_on_the_way_to_a_finite_number_names_the_operation():
    @primitive
    def logistic(x):
        y = 1.0 / (1.0 + np.exp(-x))
        return y, lambda g: (g * y * (1.0 - y),)

    x = Value(1.0)
    program = record(logistic(x), x=x)
    with pytest.raises(FloatingPointError) as caught:
        program.forward(x=-800.0)
    assert caught.value.__notes__ == ["in the replay of logistic"]


def test_a_program_is_not_copied():
    x = Value(1.0)
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        copy.deepcopy(record(x * x, x=x))


def test_a_name_may_be_any_word():
    x, y = Value(2.0), Value(3.0)
    program = record(x * y, loss=x, tape=y)
    assert program.forward(loss=4.0, tape=5.0) == 20.0


def test_a_tape_with_an_entry_that_nothing_uses_is_refused():
    a, b = Value(2.0), Value(3.0)
    tape = flatten((a + b) * b)
    at = {leaf: i for i, leaf in tape.leaves.items()}
    whole = Program(tape, v=[a, b])
    assert whole.backward()["v"].tolist() == [3.0, 8.0]
    tape.ops.insert(2, "mul")
    tape.args.insert(2, (at[a], at[b]))
    tape.args[3:] = [tuple(i + (i > 1) for i in args) for args in tape.args[3:]]
    with pytest.raises(ValueError, match="nothing uses entry 2"):
        Program(tape, v=[a, b])


def test_a_gradient_of_none_is_zero_also_after_one_that_was_not():
    @primitive
    def gate(x):
        live = x > 0
        return x * live, lambda g: (g * live if np.any(live) else None,)

    xs = [Value(1.0), Value(2.0)]
    program = record(total(*map(gate, xs)), x=xs)
    assert program.backward()["x"].tolist() == [1.0, 1.0]
    program.forward(x=[-1.0, -2.0])
    assert program.backward()["x"].tolist() == [0.0, 0.0]


def test_only_leaves_can_be_named_and_once():
    x = Value(1.0)
    y = x * x
    with pytest.raises(ValueError, match="a name is for a leaf"):
        record(y, y=y)
    with pytest.raises(ValueError, match="a name is for a leaf"):
        record(y, x=1.0)
    with pytest.raises(ValueError, match="rectangular"):
        record(y, x=[[x], [Value(1.0), Value(2.0)]])
    with pytest.raises(ValueError, match="the same leaf was named twice"):
        record(y, x=x, again=[x])
    with pytest.raises(ValueError, match="nothing to run"):
        record(x, x=x)


def test_an_operation_without_a_row_is_refused():
    x = Value(1.0)
    with pytest.raises(ValueError, match=r"no row of PRIMITIVES .* 'checkpoint'"):
        record(checkpoint(lambda v: v * v, x), x=x)


def test_undefined_arithmetic_is_refused_with_the_name_of_the_operation():
    x = Value(1.0)
    program = record(x.log() + (x * x).exp(), x=x)
    for bad, said in ((-1.0, "log(-1.0)"), (0.0, "log(0.0)"), (100.0, "exp(10000.0)")):
        with pytest.raises(FloatingPointError) as caught:
            program.forward(x=bad)
        assert caught.value.__notes__ == [f"in the replay of {said}"]
    assert math.isfinite(program.forward(x=1.0))
    root = record(x.sqrt(), x=x)
    assert root.forward(x=0.0) == 0.0
    with pytest.raises(FloatingPointError) as caught:
        root.backward()
    assert caught.value.__notes__ == ["in the replay of the pullback of sqrt"]


def test_a_rule_for_floats_alone_is_named():
    @primitive
    def steep(x):
        return (x if x > 0 else 0.1 * x), lambda g: (g if x > 0 else 0.1 * g,)

    xs = [Value(1.0), Value(-1.0)]
    with pytest.raises(ValueError) as caught:
        record(total(*map(steep, xs)), x=xs)
    assert caught.value.__notes__ == ["in the replay of steep"]


def test_rules_compute_with_arrays():
    x = np.array([0.5, -2.0, 3.0])
    for name in ("exp", "tanh", "sigmoid", "relu", "neg"):
        value, pullback = PRIMITIVES[name].rule(x)
        (grads,) = pullback(np.ones(3))
        for i, number in enumerate(x.tolist()):
            single, back = PRIMITIVES[name].rule(number)
            assert value[i] == pytest.approx(single, rel=1e-15)
            assert grads[i] == pytest.approx(back(1.0)[0], rel=1e-14)
            gradcheck(PRIMITIVES[name], number)


def test_groups_are_the_levels():
    _, model, loss_of = demo(6)
    tape = collapse(flatten(loss_of()))
    seen = sorted(i for group in grouped(tape).values() for i in group)
    assert seen == [i for i, args in enumerate(tape.args) if args]
    program = Program(tape, w=model.parameters())
    assert sum(len(g.values) for level in program.levels for g in level) == len(seen)
