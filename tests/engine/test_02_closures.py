"""What chapter 2 promises: rules, lifting, every operation and its check."""

import gc
import math
import weakref

import pytest

from grad import ops
from grad.backend import BACKENDS
from grad.check import gradcheck, slope
from grad.node import Node
from grad.primitive import PRIMITIVES, primitive, recording

# For each primitive, points inside its domain, both signs where both are allowed.
SAMPLES = {
    "add": [(1.5, -2.0), (0.0, 0.0)],
    "sub": [(1.5, -2.0), (-3.0, 4.0)],
    "mul": [(1.5, -2.0), (0.0, 3.0)],
    "div": [(1.5, -2.0), (-3.0, 0.5)],
    "neg": [(1.5,), (-2.0,)],
    "power": [(1.5, 3.0), (-2.0, 2.0), (0.7, -1.5), (-2.0, 3.0), (2.0, 0.0), (0.0, 2.0)],
    "raised": [(1.5, 3.0), (0.7, -1.5)],
    "exp": [(1.5,), (-2.0,)],
    "log": [(1.5,), (0.01,)],
    "sqrt": [(1.5,), (0.25,)],
    "tanh": [(1.5,), (-2.0,)],
    "sigmoid": [(1.5,), (-2.0,)],
    "relu": [(1.5,), (-2.0,)],
    "total": [(1.0, -2.0, 3.0), (5.0,)],
    "dot": [(1.0, -2.0, 3.0, 4.0), (2.0, 5.0)],
    "affine": [(0.5, 1.0, -2.0, 3.0, 4.0), (0.5,)],
    "relu_affine": [(0.5, 1.0, -2.0, 3.0, 1.0), (0.5, 1.0, -2.0, 3.0, 4.0)],
}


CONSTANT = {"power": (1,)}  # arguments that no gradient flows into, by position


def test_every_primitive_has_samples():
    assert set(SAMPLES) == {name for name in PRIMITIVES if hasattr(ops, name)}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("seed", range(5))
def test_every_pullback_agrees_with_finite_differences(name, seed):
    for args in SAMPLES[name]:
        gradcheck(PRIMITIVES[name], *args, constant=CONSTANT.get(name, ()), seed=seed)


@pytest.mark.parametrize(
    ("name", "args", "value"),
    [
        ("div", (1.0, 4.0), 0.25),
        ("power", (2.0, -1.0), 0.5),
        ("raised", (2.0, 3.0), 8.0),
        ("relu", (-2.0,), 0.0),
        ("total", (1.0, 2.0, 3.0), 6.0),
        ("dot", (1.0, 2.0, 3.0, 4.0), 11.0),
        ("affine", (0.5, 1.0, 2.0, 3.0, 4.0), 11.5),
        ("relu_affine", (-50.0, 1.0, 2.0, 3.0, 4.0), 0.0),
    ],
)
def test_values(name, args, value):
    assert PRIMITIVES[name](*args) == value
    assert PRIMITIVES[name](*map(Node, args)).data == value


def test_sigmoid_neither_overflows_nor_cancels():
    assert (ops.sigmoid(-1000.0), ops.sigmoid(0.0), ops.sigmoid(1000.0)) == (0.0, 0.5, 1.0)
    assert ops.sigmoid(-40.0) == pytest.approx(math.exp(-40.0), rel=1e-14)


def test_the_slope_of_relu_at_zero_is_zero():
    assert ops.relu.rule(0.0)[1](1.0) == (0.0,)
    assert ops.relu_affine.rule(0.0, 1.0, 0.0)[1](1.0) == (None, None, None)


def test_relu_keeps_a_nan():
    assert math.isnan(ops.relu(math.nan)) and math.isnan(ops.relu_affine(math.nan))


def test_plain_numbers_among_the_arguments_become_leaves():
    x = Node(3.0)
    y = ops.mul(2.0, x)
    assert (y.data, y.parents[1], y.parents[0].data) == (6.0, x, 2.0)
    assert ops.total(1, x, 2).data == 6.0


def test_a_call_without_nodes_gives_a_plain_number():
    assert ops.exp(0.0) == 1.0 and type(ops.add(1.0, 2.0)) is float


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: ops.log(Node(-1.0)), ValueError, "in log(-1.0)"),
        (lambda: ops.exp(Node(1000.0)), OverflowError, "in exp(1000.0)"),
        (lambda: ops.div(Node(1.0), Node(0.0)), ZeroDivisionError, "in div(1.0, 0.0)"),
        (lambda: ops.power(Node(-8.0), 0.5), ValueError, "in power(-8.0, 0.5)"),
        (lambda: ops.dot(Node(1.0), Node(1.0), Node(1.0)), ValueError, "in dot(1.0, 1.0, 1.0)"),
        (lambda: ops.affine(Node(1.0), Node(2.0)), ValueError, "in affine(1.0, 2.0)"),
        (lambda: ops.relu_affine(Node(1.0), Node(2.0)), ValueError, "in relu_affine(1.0, 2.0)"),
    ],
)
def test_a_rule_that_fails_says_which_operation_it_was(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    assert words in caught.value.__notes__
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_failed_operation_keeps_nothing_alive():
    gc.disable()
    try:
        x = Node(-1.0)
        watch = weakref.ref(x)
        with pytest.raises(ValueError):
            ops.log(x)
        try:
            ops.log(x)
        except ValueError:
            pass
        del x
        assert watch() is None
    finally:
        gc.enable()


def test_a_subclass_of_a_number_computes_like_its_base_and_others_are_refused():
    class Half(float):
        pass

    assert ops.exp(Half(0.0)) == 1.0
    with pytest.raises(TypeError, match="how to compute with str"):
        ops.exp("1")


def test_nothing_is_recorded_while_recording_is_off():
    x = Node(3.0)
    token = recording.set(False)
    try:
        y = ops.mul(x, x)
    finally:
        recording.reset(token)
    assert (y.data, y.parents) == (9.0, ())
    assert ops.mul(x, x).parents == (x, x)


def test_a_pullback_holds_no_node_and_frees_without_the_collector():
    gc.disable()
    try:
        for name, (args, *_) in SAMPLES.items():
            leaves = [Node(a) for a in args]
            result = PRIMITIVES[name](*leaves)
            held = [cell.cell_contents for cell in result.pullback.__closure__ or ()]
            assert not any(isinstance(thing, Node) for thing in held), name
            watches = [weakref.ref(node) for node in (result, *leaves)]
            del result, leaves
            assert not any(watch() for watch in watches), name
    finally:
        gc.enable()


def test_a_primitive_of_your_own_is_registered_and_lifted():
    try:

        @primitive
        def cube(x):
            return x**3, lambda g: (3 * g * x**2,)

        x = Node(2.0)
        assert PRIMITIVES["cube"] is cube
        assert (cube(x).data, cube(x).op, cube(x).pullback(1.0)) == (8.0, "cube", (12.0,))
        gradcheck(cube, 2.0)
    finally:
        PRIMITIVES.pop("cube", None)


def test_a_new_kind_of_number_is_a_new_row():
    import cmath
    from types import SimpleNamespace

    BACKENDS[complex] = SimpleNamespace(exp=cmath.exp)
    try:
        h = 1e-200  # the complex step: no subtraction, so no rounding floor
        assert ops.exp(1.0 + 1j * h).imag / h == pytest.approx(math.e, rel=1e-15)
    finally:
        del BACKENDS[complex]


def test_slope_is_a_central_difference():
    assert slope(lambda x: x**2, 3.0) == pytest.approx(6.0)


def reversal(x):
    return x[::-1], lambda g: (g[::-1],)


def wrong_reversal(x):
    return x[::-1], lambda g: (g,)


def test_gradcheck_sees_what_a_gradient_of_ones_cannot():
    x = [1.0, 2.0, 3.0]
    gradcheck(reversal, x)
    assert wrong_reversal(x)[1]([1.0] * 3) == reversal(x)[1]([1.0] * 3)
    with pytest.raises(AssertionError, match="wrong_reversal: the pullback says"):
        gradcheck(wrong_reversal, x)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, y: (x * y, lambda g: (g * x, g * y)),
        lambda x, y: (x * y, lambda g: (y, x)),
        lambda x, y: (x * y, lambda g: (g * y, 0.0)),
        lambda x, y: (x / y, lambda g: (g / y, g * x / y**2)),
        lambda x, y: (x - y, lambda g: (g, g)),
    ],
)
def test_gradcheck_refuses_wrong_rules(wrong):
    with pytest.raises(AssertionError, match="finite differences say"):
        gradcheck(wrong, 1.5, -2.0)


def test_gradcheck_takes_none_for_zero_unless_the_argument_is_held_still():
    def forgets(x):
        return x * x, lambda g: (None,)

    with pytest.raises(AssertionError, match="forgets: the pullback says 0"):
        gradcheck(forgets, 3.0)
    gradcheck(PRIMITIVES["power"], 3.0, 2, constant=(1,))
    with pytest.raises(AssertionError, match="power"):
        gradcheck(PRIMITIVES["power"], 3.0, 2.0)


def test_gradcheck_counts_the_gradients():
    def short(x, y):
        return x * y, lambda g: (g * y,)

    with pytest.raises(AssertionError, match="short: 2 arguments, 1 gradients"):
        gradcheck(short, 1.0, 2.0)
