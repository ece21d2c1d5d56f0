"""What chapter 1 promises: nodes, the walk over them, and the pictures."""

import gc
import itertools
import weakref

import pytest

from grad.draw import Steps, graph
from grad.node import Node, ancestors, nothing


def ladder(rungs):
    """A chain of diamonds: each node is made from the one before, twice."""
    node = Node(1.0)
    for _ in range(rungs):
        node = Node(node.data * 2, (node, node), op="add")
    return node


def test_a_leaf_has_no_parents_and_hands_nothing_back():
    leaf = Node(3.0)
    assert (leaf.data, leaf.grad, leaf.parents, leaf.op) == (3.0, 0.0, (), "")
    assert leaf.pullback is nothing and leaf.pullback(1.0) == ()


def test_equal_nodes_are_not_the_same_node():
    a, b = Node(2.0), Node(2.0)
    assert a != b and len({a, b}) == 2


def test_a_node_has_no_room_for_a_misspelt_attribute():
    with pytest.raises(AttributeError):
        Node(1.0).gard = 2.0


def test_ancestors_lists_each_node_once():
    x = Node(2.0)
    square = Node(4.0, (x, x), op="mul")
    assert ancestors(square) == [square, x]
    assert len(ancestors(ladder(60))) == 61


def test_ancestors_needs_no_recursion():
    node = Node(0.0)
    for _ in range(100_000):
        node = Node(0.0, (node,))
    assert len(ancestors(node)) == 100_001


def test_a_graph_dies_with_its_last_holder():
    gc.disable()
    try:
        x = Node(1.0)
        middle = Node(2.0, (x, x))
        end = Node(3.0, (middle,))
        watch = weakref.ref(middle)
        del middle
        assert watch() is not None
        del end
        assert watch() is None
    finally:
        gc.enable()


def test_the_picture_shows_every_node_and_edge_once():
    x, y = Node(2.0), Node(-3.0)
    z = Node(-6.0, (x, y), op="mul")
    source = graph(z, x=x, y=y).source
    assert source.count("->") == 2
    assert [source.count(text) for text in ('"x\n2"', '"y\n-3"', '"mul\n-6"')] == [1, 1, 1]


def test_the_picture_shows_gradients_once_any_has_arrived():
    x = Node(2.0)
    y = Node(4.0, (x, x), op="mul")
    assert "grad" not in graph(y).source
    x.grad = 4.0
    assert "grad 4" in graph(y).source and "grad 0" in graph(y).source
    assert "grad" not in graph(y, grads=False).source


def test_marked_nodes_look_different():
    x = Node(2.0)
    assert graph(x, mark=[x]).source != graph(x).source


def test_a_picture_needs_no_system_program(monkeypatch):
    monkeypatch.setenv("PATH", "")
    svg = graph(Node(2.0)).pipe(encoding="utf-8")
    assert "<svg" in svg and ">2<" in svg


def test_steps_hold_every_frame_and_escape_their_captions():
    frames = [(graph(Node(float(i))), f"{i} < 3") for i in range(3)]
    html = Steps(frames)._repr_html_()
    assert html.count("<img") == 3 and "1 &lt; 3" in html and "1 < 3" not in html
    assert html == Steps(frames)._repr_html_()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_every_parent_of_an_ancestor_is_an_ancestor(n):
    pool = [Node(0.0) for _ in range(n)]
    for i, j in itertools.product(range(n), repeat=2):
        pool.append(Node(0.0, (pool[i], pool[j])))
    end = Node(0.0, tuple(pool[n:]))
    found = set(ancestors(end))
    assert all(parent in found for node in found for parent in node.parents)
