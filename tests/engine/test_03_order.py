"""What chapter 3 promises: Kahn's order, levels, the walk back, and Value."""

import gc
import graphlib
import itertools
import math
import random
import warnings
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grad import ops
from grad.node import Node, ancestors
from grad.order import backward, levels, toposort
from grad.value import Value

# The same examples on every run, however slow the machine.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


@st.composite
def graphs(draw):
    """A random multigraph: a list of nodes, each made from earlier ones, repeats allowed."""
    nodes = [Node(0.0) for _ in range(draw(st.integers(1, 4)))]
    for _ in range(draw(st.integers(0, 30))):
        picks = st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=4)
        nodes.append(Node(0.0, tuple(nodes[i] for i in draw(picks))))
    return nodes


@given(graphs())
def test_each_node_comes_after_every_node_that_uses_it(nodes):
    root = nodes[-1]
    order = toposort(root)
    place = {node: i for i, node in enumerate(order)}
    assert set(order) == {node for node in ancestors(root) if node.parents}
    assert all(
        place[node] < place[parent] for node in order for parent in node.parents if parent.parents
    )
    assert all(node.waiting == 0 for node in nodes)


@given(graphs())
def test_levels_are_a_partition_in_which_nothing_depends_on_anything(nodes):
    root = nodes[-1]
    groups = levels(root)
    assert sorted(map(id, toposort(root))) == sorted(id(n) for group in groups for n in group)
    depth = {node: i for i, group in enumerate(groups) for node in group}
    users = {node: [u for u in depth if node in u.parents] for node in depth}
    assert all(
        depth[node] == 1 + max((depth[u] for u in users[node]), default=-1) for node in depth
    )


@given(graphs())
def test_the_standard_library_accepts_the_order(nodes):
    order = toposort(nodes[-1])
    judge = graphlib.TopologicalSorter()
    for node in order:
        judge.add(node)
        for parent in node.parents:
            if parent.parents:
                judge.add(parent, node)
    judge.prepare()
    ready = set()
    for node in order:
        ready.update(judge.get_ready())
        assert node in ready
        judge.done(node)


def test_a_leaf_has_nothing_to_sort():
    assert toposort(Node(1.0)) == [] and levels(Node(1.0)) == []


def closed(length, tail=0, head=0):
    """A chain whose first `length` computed nodes form a ring, with a tail below, a head above."""
    nodes = [Node(1.0)]
    for i in range(tail + length + head):
        nodes.append(Node(1.0, (nodes[-1],), op=f"op{i}"))
    ring = nodes[tail + 1 : tail + 1 + length]
    ring[0].parents = (*ring[0].parents, ring[-1])
    return nodes, ring


@pytest.mark.parametrize(("length", "tail", "head"), [(1, 0, 0), (2, 0, 0), (2, 3, 0), (3, 2, 4)])
def test_a_cycle_is_found_and_named(length, tail, head):
    nodes, ring = closed(length, tail, head)
    with pytest.raises(graphlib.CycleError, match="the graph has a cycle: op") as caught:
        toposort(nodes[-1])
    path = caught.value.args[1]
    assert all(a in b.parents for a, b in itertools.pairwise(path))
    assert path[0] is path[-1] and set(path) == set(ring) and len(path) == length + 1
    assert all(node.waiting == 0 for node in nodes)


def test_a_long_cycle_is_found_in_linear_time_and_named_in_short():
    nodes, _ = closed(50_000)
    with pytest.raises(graphlib.CycleError) as caught:
        toposort(nodes[-1])
    assert len(caught.value.args[0]) < 200 and len(caught.value.args[1]) == 50_001


def test_a_pullback_that_fails_says_which_operation_it_was():
    x = Value(0.0)
    with pytest.raises(ZeroDivisionError) as caught:
        x.sqrt().backward()
    assert "in the pullback of sqrt" in caught.value.__notes__


def test_a_cycle_is_refused_before_any_gradient_has_moved():
    x = Value(2.0)
    y = x * 3.0
    z = (y + x) * (y + x)
    y.parents = (x, z)
    with pytest.raises(graphlib.CycleError):
        z.backward()
    assert [x.grad, y.grad, z.grad] == [0.0, 0.0, 0.0]


def test_an_interrupted_sort_leaves_no_counts_behind():
    class Trap(Node):
        """A node whose parents cannot be read a second time."""

        reads = 0

        @property
        def parents(self):
            type(self).reads += 1
            if type(self).reads == 4:
                raise KeyboardInterrupt
            return self.held

        @parents.setter
        def parents(self, held):
            self.held = held

    x = Node(1.0)
    trap = Trap(1.0, (Node(1.0, (x,)),))
    root = Node(1.0, (Node(1.0, (trap,)), trap))
    with pytest.raises(KeyboardInterrupt):
        toposort(root)
    assert all(node.waiting == 0 for node in ancestors(root))


def test_sixty_diamonds_take_linear_time():
    x = y = Value(1.0)
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_a_chain_of_a_million_nodes_is_walked_and_freed_at_once():
    gc.disable()
    try:
        x = y = Value(1.0)
        for i in range(1_000_000):
            y = y + x
            if i == 500_000:
                watch = weakref.ref(y)
        y.backward()
        assert x.grad == 1_000_001.0
        del y
        assert watch() is None
    finally:
        gc.enable()


def test_training_memory_is_flat_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        x = Value(0.5)
        sizes = []
        for _ in range(100):
            loss = ((x * 3.0 - 1.0).tanh() ** 2 + x.exp()).relu()
            loss.backward()
            x.grad = 0.0
            del loss
            sizes.append(len(gc.get_objects()))
        assert sizes[-1] - sizes[10] < 45  # under half an object a step; a node is several
    finally:
        gc.enable()


def test_a_node_used_twice_collects_both_gradients():
    x = Value(3.0)
    (x * x + x).backward()
    assert x.grad == 7.0


def test_leaves_collect_over_graphs_and_intermediates_do_not():
    x = Value(3.0)
    for _ in range(2):
        y = x * x
        (y * y).backward()
    assert (x.grad, y.grad) == (216.0, 18.0)


def test_the_seed_scales_every_gradient():
    x = Value(3.0)
    (x * x).backward(seed=0.5)
    assert x.grad == 3.0


def test_backward_on_a_leaf_gives_it_the_seed_each_time():
    x = Value(3.0)
    x.backward()
    x.backward(seed=2.0)
    assert x.grad == 3.0


def test_a_second_backward_is_refused_by_the_name_of_the_operation():
    x = Value(3.0)
    z = x * x
    z.backward()
    with pytest.raises(RuntimeError, match="already been through 'mul'"):
        z.backward()
    assert x.grad == 6.0


def test_a_part_used_by_an_earlier_backward_is_refused_before_any_gradient_has_moved():
    x, w = Value(3.0), Value(2.0)
    shared = x.exp()
    (shared + 1.0).backward()
    before = x.grad
    with pytest.raises(RuntimeError, match="already been through 'exp'"):
        (shared * w).backward()
    assert (x.grad, w.grad) == (before, 0.0)


def test_backward_lets_go_of_what_the_pullbacks_held_and_keeps_the_graph():
    class Big(float):
        """A float that can be watched."""

    x = Value(1.0)
    x.data = Big(2.0)
    y = x * x
    watch = weakref.ref(x.data)
    x.data = 2.0
    assert watch() is not None
    y.backward()
    assert watch() is None and y.parents == (x, x)


# Value ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "kind"),
    [(True, "bool"), ("3", "str"), (1j, "complex"), (None, "NoneType"), ([1.0], "list")],
)
def test_a_value_holds_one_real_number(bad, kind):
    with pytest.raises(TypeError, match=f"a Value holds one real number, not {kind}"):
        Value(bad)
    with pytest.raises(TypeError, match=f"a Value holds one real number, not {kind}"):
        Value(1.0) + bad
    with pytest.raises(TypeError, match=f"a Value holds one real number, not {kind}"):
        bad * Value(1.0)


def test_a_foreign_number_does_not_slip_into_the_graph():
    class Foreign:
        """Something with a `data` that multiplies, as torch's tensors have."""

        data = property(lambda self: self)

        def __rmul__(self, other):
            return self

    with pytest.raises(TypeError, match="a Value holds one real number, not Foreign"):
        Value(3.0) * Foreign()


def test_an_integer_becomes_a_float():
    assert type(Value(3).data) is float
    assert type((2 * Value(3)).data) is float


@pytest.mark.parametrize(
    ("expression", "value", "slope"),
    [
        (lambda x: x + 2, 5.0, 1.0),
        (lambda x: 2 + x, 5.0, 1.0),
        (lambda x: x - 2, 1.0, 1.0),
        (lambda x: 2 - x, -1.0, -1.0),
        (lambda x: x * 2, 6.0, 2.0),
        (lambda x: 2 * x, 6.0, 2.0),
        (lambda x: x / 2, 1.5, 0.5),
        (lambda x: 6 / x, 2.0, -6 / 9),
        (lambda x: x**2, 9.0, 6.0),
        (lambda x: 2**x, 8.0, 8.0 * math.log(2.0)),
        (lambda x: x**x, 27.0, 27.0 * (1.0 + math.log(3.0))),
        (lambda x: -x, -3.0, -1.0),
        (lambda x: x.exp(), math.exp(3.0), math.exp(3.0)),
        (lambda x: x.log(), math.log(3.0), 1 / 3),
        (lambda x: x.sqrt(), math.sqrt(3.0), 0.5 / math.sqrt(3.0)),
        (lambda x: x.tanh(), math.tanh(3.0), 1 - math.tanh(3.0) ** 2),
        (lambda x: x.sigmoid(), 1 / (1 + math.exp(-3.0)), 0.045176659730912),
        (lambda x: x.relu(), 3.0, 1.0),
    ],
)
def test_operators_and_their_slopes(expression, value, slope):
    x = Value(3)
    y = expression(x)
    y.backward()
    assert type(y) is Value
    assert y.data == pytest.approx(value) and x.grad == pytest.approx(slope)


def test_equality_is_identity():
    a, b = Value(1.0), Value(1.0)
    assert a == a and a != b and len({a, b}) == 2


def test_a_numpy_scalar_may_stand_on_either_side():
    np = pytest.importorskip("numpy")
    for scalar in (np.float64(2.0), np.float32(2.0), np.int64(2)):
        for product in (scalar * Value(3.0), Value(3.0) * scalar):
            assert type(product) is Value and product.data == 6.0 and type(product.data) is float


def test_the_readme_expression():
    x, y = Value(2.0), Value(-3.0)
    z = x * y + x**2
    z.backward()
    assert (z.data, x.grad, y.grad) == (-2.0, 1.0, 2.0)


# Random expressions against two oracles --------------------------------------------------------

UNARY = ["neg", "exp", "log", "sqrt", "tanh", "sigmoid", "relu"]
BINARY = ["add", "sub", "mul", "div", "raised"]


def evaluate(program, xs, tools):
    """Run a program, a list of (operation, argument, argument); list the xs and every result."""
    pool = list(xs)
    for name, i, j in program:
        a, b = pool[i % len(pool)], pool[j % len(pool)]
        pool.append(tools[name](a) if name in UNARY else tools[name](a, b))
    return pool


programs = st.lists(
    st.tuples(st.sampled_from(UNARY + BINARY), st.integers(0, 99), st.integers(0, 99)),
    min_size=1,
    max_size=12,
)
points = st.lists(st.floats(0.3, 1.7), min_size=3, max_size=3)
OURS = {name: getattr(ops, name) for name in UNARY + BINARY}


def tame(program, xs):
    """Our value and gradients, or None where the expression leaves its domain or grows wild."""
    leaves = [Value(x) for x in xs]
    try:
        pool = evaluate(program, leaves, OURS)
        if pool[-1].parents and all(1e-3 < abs(node.data) < 1e3 for node in pool):
            pool[-1].backward()
            return pool[-1].data, [leaf.grad for leaf in leaves]
    except (ValueError, OverflowError, ZeroDivisionError):
        pass
    return None


@settings(max_examples=200)
@given(programs, points)
def test_random_expressions_agree_with_finite_differences(program, xs):
    ours = tame(program, xs)
    if ours is None:
        return
    h = 1e-6
    for i, grad in enumerate(ours[1]):
        up, down = (
            evaluate(program, [x + s * (j == i) for j, x in enumerate(xs)], OURS)[-1]
            for s in (h, -h)
        )
        seen = (up - down) / (2 * h)
        scale = 1.0 + abs(grad) + abs(seen)
        assert abs(grad - seen) / scale < 1e-3, (program, xs)


@settings(max_examples=200)
@given(programs, points)
def test_random_expressions_agree_with_the_autograd_package(program, xs):
    autograd = pytest.importorskip("autograd")
    import autograd.numpy as anp

    ours = tame(program, xs)
    if ours is None:
        return
    theirs = {
        "neg": lambda x: -x,
        "exp": anp.exp,
        "log": anp.log,
        "sqrt": anp.sqrt,
        "tanh": anp.tanh,
        "sigmoid": lambda x: 1.0 / (1.0 + anp.exp(-x)),
        "relu": lambda x: anp.where(x > 0, x, 0.0),
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "div": lambda x, y: x / y,
        "raised": lambda x, y: x**y,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an input that the result does not depend on
        grads = autograd.grad(lambda xs: evaluate(program, xs, theirs)[-1])(xs)
    assert ours[1] == pytest.approx(list(map(float, grads)), rel=1e-7, abs=1e-9)


def test_random_expressions_agree_with_torch():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = {name: getattr(torch, name) for name in UNARY if name not in ("log", "sqrt")}
    theirs |= {"log": torch.log, "sqrt": torch.sqrt, "raised": torch.pow}
    theirs |= {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}
    rng = random.Random(0)
    compared = 0
    while compared < 100:
        program = [
            (rng.choice(UNARY + BINARY), rng.randrange(99), rng.randrange(99)) for _ in range(8)
        ]
        xs = [rng.uniform(0.3, 1.7) for _ in range(3)]
        ours = tame(program, xs)
        if ours is None:
            continue
        leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in xs]
        out = evaluate(program, leaves, theirs)[-1]
        out.backward()
        assert ours[0] == pytest.approx(out.item())
        grads = [0.0 if leaf.grad is None else leaf.grad.item() for leaf in leaves]
        assert ours[1] == pytest.approx(grads, rel=1e-9, abs=1e-12)
        compared += 1


def test_backward_is_a_function_too():
    x = Node(3.0)
    backward(ops.mul(x, x))
    assert x.grad == 6.0
