"""What chapter 8 promises: layers, losses, optimizers, and a loop that can be interrupted."""

import copy
import json
import math
import os
import random
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

from grad.checkpoints import load, save
from grad.descent import SGD, Adam, AdamW, Flat, clip_grad_norm, cosine, stairs
from grad.layers import (
    MLP,
    Conv2d,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    MaxPool2d,
    Module,
    Sequential,
    flatten,
    glorot,
    he,
    windows,
)
from grad.loader import batches, digits, split
from grad.losses import accuracy, cross_entropy, mse
from grad.memory import no_grad
from grad.tensor import WATCHERS, Tensor, exp, log, relu, tanh
from grad.training import evaluate, finite, fit


def doubled(module):
    """Make the parameters of a module float64, for checks."""
    for p in module.parameters():
        p.__init__(p.data.astype(np.float64))
    return module


def generator(seed=0):
    return np.random.default_rng(seed)


def drawn(*shape, seed=0):
    return Tensor(generator(seed).standard_normal(shape))


def projected(f, leaves, h=1e-6):
    """Compare gradients with a central difference, both along one random direction."""
    rng = generator(1)
    u = rng.standard_normal(f().shape)
    vs = [rng.standard_normal(p.shape) for p in leaves]
    (f() * u).sum().backward()
    told = sum((p.grad * v).sum() for p, v in zip(leaves, vs, strict=True))

    def along(t):
        before = [p.data for p in leaves]
        for p, v in zip(leaves, vs, strict=True):
            p.data = p.data + t * v
        with no_grad():
            value = (f().data * u).sum()
        for p, data in zip(leaves, before, strict=True):
            p.data = data
        return value

    assert told == pytest.approx((along(h) - along(-h)) / (2 * h), rel=1e-6, abs=1e-7)


LAYERS = {
    "linear": (lambda rng: Linear(5, 3, rng=rng), (4, 5)),
    "linear without bias": (lambda rng: Linear(5, 3, bias=False, rng=rng), (4, 5)),
    "conv": (lambda rng: Conv2d(2, 3, 3, rng=rng), (2, 2, 6, 5)),
    "conv, stride, padding": (lambda rng: Conv2d(2, 3, 3, 2, 1, rng=rng), (2, 2, 6, 5)),
    "conv, gaps": (lambda rng: Conv2d(1, 2, 2, stride=3, rng=rng), (2, 1, 7, 8)),
    "pool": (lambda rng: MaxPool2d(2), (2, 3, 4, 6)),
    "norm": (lambda rng: LayerNorm(6), (3, 2, 6)),
    "flatten": (lambda rng: Sequential(flatten, Linear(6, 2, rng=rng)), (3, 2, 3)),
    "mlp": (lambda rng: MLP(4, [5, 3], act=tanh, rng=rng, init=glorot), (6, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_of_a_layer_is_that_of_finite_differences(name):
    make, shape = LAYERS[name]
    layer = doubled(make(generator()))
    for p in layer.parameters():
        p.data += generator(2).standard_normal(p.shape)  # a bias of zeros hides its own faults
    x = drawn(*shape)
    projected(lambda: layer(x), [x, *layer.parameters()])


def test_the_gradient_of_an_embedding_collects_what_is_looked_up_twice():
    layer = doubled(Embedding(5, 3, rng=generator()))
    tokens = np.array([[0, 3], [3, 3]])
    assert layer(tokens).shape == (2, 2, 3)
    projected(lambda: layer(tokens), [layer.weight])
    with pytest.raises(IndexError, match=r"rows 0 to 4, and was asked for -1 to 2"):
        layer(np.array([2, -1]))
    with pytest.raises(TypeError, match="whole numbers, not float64"):
        layer(np.array([1.0]))


def test_the_gradient_of_dropout_flows_where_it_let_through():
    rng = generator()
    layer, state, x = Dropout(0.4, rng), rng.bit_generator.state, drawn(4, 5)

    def again():
        rng.bit_generator.state = state
        return layer(x)

    projected(again, [x])


@pytest.mark.parametrize("loss", ["mse", "mse of two", "cross entropy"])
def test_the_gradient_of_a_loss_is_that_of_finite_differences(loss):
    x, y = drawn(4, 3), drawn(4, 3, seed=3)
    labels = np.array([0, 2, 1, 2])
    if loss == "mse":
        projected(lambda: mse(x, y.data), [x])
    elif loss == "mse of two":
        projected(lambda: mse(x, y), [x, y])
    else:
        projected(lambda: cross_entropy(x, labels), [x])


def torches(layer, torch):
    """Build the torch module that does what one of ours does, with the same weights."""
    nn = torch.nn
    if isinstance(layer, Linear):
        twin = nn.Linear(*layer.weight.shape, bias=layer.bias is not None)
        twin.weight.data = torch.tensor(layer.weight.data.T.copy())
        if layer.bias is not None:
            twin.bias.data = torch.tensor(layer.bias.data.copy())
    elif isinstance(layer, Conv2d):
        inner = layer.linear
        nout = inner.weight.shape[1]
        nin = inner.weight.shape[0] // layer.size**2
        twin = nn.Conv2d(nin, nout, layer.size, layer.stride, layer.padding)
        weight = inner.weight.data.T.reshape(nout, nin, layer.size, layer.size)
        twin.weight.data = torch.tensor(weight.copy())
        twin.bias.data = torch.tensor(inner.bias.data.copy())
    elif isinstance(layer, MaxPool2d):
        twin = nn.MaxPool2d(layer.size)
    elif isinstance(layer, LayerNorm):
        twin = nn.LayerNorm(layer.weight.shape[0], layer.eps)
        twin.weight.data = torch.tensor(layer.weight.data.copy())
        twin.bias.data = torch.tensor(layer.bias.data.copy())
    elif isinstance(layer, (Sequential, MLP)):
        parts = list(layer.layers)
        if isinstance(layer, MLP):
            parts = [q for p in parts for q in (p, layer.act)][:-1]
        twin = nn.Sequential(*[torches(part, torch) for part in parts])
    else:
        twin = {"relu": nn.ReLU, "tanh": nn.Tanh, "flatten": nn.Flatten}[layer.__name__]()
    return twin


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_what_it_gives_in_torch(name):
    torch = pytest.importorskip("torch")
    make, shape = LAYERS[name]
    layer = doubled(make(generator()))
    for p in layer.parameters():
        p.data += generator(2).standard_normal(p.shape)
    twin = torches(layer, torch)
    x = drawn(*shape)
    tx = torch.tensor(x.data, requires_grad=True)
    y, ty = layer(x), twin(tx)
    np.testing.assert_allclose(y.data, ty.detach().numpy(), rtol=1e-10, atol=1e-12)
    u = generator(1).standard_normal(y.shape)
    y.backward(u)
    ty.backward(torch.tensor(u))
    np.testing.assert_allclose(x.grad, tx.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["sgd", "adam", "conv"])
def test_100_steps_have_the_losses_that_they_have_in_torch(kind):
    torch = pytest.importorskip("torch")
    rng = generator()
    images, labels = digits()
    if kind == "conv":
        model = Sequential(
            Conv2d(1, 8, 3, padding=1, rng=rng),
            relu,
            MaxPool2d(2),
            flatten,
            Linear(128, 10, rng=rng),
        )
    else:
        images, model = images.reshape(-1, 64), MLP(64, [32, 10], rng=rng)
    twin = torches(model, torch)
    if kind == "adam":
        ours = Adam(model.parameters(), 1e-3)
        theirs = torch.optim.Adam(twin.parameters(), 1e-3)
    else:
        ours = SGD(model.parameters(), 0.02, 0.9)
        theirs = torch.optim.SGD(twin.parameters(), 0.02, momentum=0.9)
    for step in range(100):
        x, y = images[step * 16 : step * 16 + 16], labels[step * 16 : step * 16 + 16]
        loss = cross_entropy(model(x), y)
        ours.zero_grad()
        loss.backward()
        ours.step()
        other = torch.nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(y))
        theirs.zero_grad()
        other.backward()
        theirs.step()
        assert loss.item() == pytest.approx(other.item(), rel=1e-5, abs=1e-5), step


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam", "adamw"])
def test_an_optimizer_makes_the_steps_that_torch_makes(kind, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("grad.descent.BLOCK", 7)  # several blocks, and parameters cut by them
    make, make_theirs = {
        "sgd": (lambda p: SGD(p, 0.1), lambda p: torch.optim.SGD(p, 0.1)),
        "momentum": (lambda p: SGD(p, 0.1, 0.9), lambda p: torch.optim.SGD(p, 0.1, 0.9)),
        "adam": (
            lambda p: Adam(p, 0.01, (0.8, 0.99), 0.1),
            lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.99), 0.1),
        ),
        "adamw": (
            lambda p: AdamW(p, 0.01, weight_decay=0.1),
            lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
        ),
    }[kind]
    rng = generator()
    params = [Tensor(rng.standard_normal(s).astype(np.float32)) for s in [(3, 4), (5,), ()]]
    others = [torch.nn.Parameter(torch.tensor(p.data)) for p in params]
    ours, theirs = make(params), make_theirs(others)
    for step in range(50):
        ours.lr = theirs.param_groups[0]["lr"] = 0.01 * 0.97**step
        ours.zero_grad()
        for p, other in zip(params, others, strict=True):
            p.grad = rng.standard_normal(p.shape).astype(np.float32)
            other.grad = torch.tensor(p.grad)
        ours.step()
        theirs.step()
    for p, other in zip(params, others, strict=True):
        np.testing.assert_allclose(p.data, other.detach().numpy(), rtol=1e-6, atol=1e-6)


def test_clipping_scales_all_gradients_together():
    params = [Tensor([3.0, 0.0]), Tensor(4.0), Tensor(1.0)]
    params[0].grad, params[1].grad = np.array([3.0, 0.0]), np.array(4.0)
    assert clip_grad_norm(params, 10.0) == 5.0
    assert params[0].grad.tolist() == [3.0, 0.0]
    assert clip_grad_norm(params, 1.0) == 5.0
    np.testing.assert_allclose(params[0].grad, [0.6, 0.0])
    np.testing.assert_allclose(params[1].grad, 0.8)
    assert params[2].grad is None
    params[1].grad = np.array(math.inf)
    with pytest.raises(FloatingPointError, match="norm of inf"):
        clip_grad_norm(params, 1.0)


@pytest.mark.parametrize("size", [4e20, 1e-23])
def test_clipping_measures_what_float32_cannot_square(size):
    w = Tensor([0.0, 0.0])
    w.grad = np.array([3.0, 4.0]) * size
    assert clip_grad_norm([w], size) == pytest.approx(5.0 * size)
    np.testing.assert_allclose(w.grad, np.array([0.6, 0.8]) * size, rtol=1e-6)


def test_schedules():
    schedule = cosine(100, warmup=10)
    assert [schedule(0), schedule(9), schedule(10)] == [0.1, 1.0, 1.0]
    assert schedule(55) == pytest.approx(0.5)
    assert schedule(100) == schedule(1000) == 0.0
    for total, warmup in ((10, 10), (0, 0), (10, -1)):
        with pytest.raises(ValueError, match=f"0 <= warmup < total, not {warmup} and {total}"):
            cosine(total, warmup)
    assert [stairs(10, 0.5)(step) for step in (0, 9, 10, 25)] == [1.0, 1.0, 0.5, 0.25]


def test_initial_weights_keep_the_scale_of_what_passes():
    rng = generator()
    x = rng.standard_normal((2000, 300)).astype(np.float32)
    weights = he((300, 400), rng)
    assert weights.dtype == np.float32
    assert np.square(np.maximum(x, 0) @ weights).mean() == pytest.approx(1.0, rel=0.1)
    weights = glorot((300, 400), rng)
    assert weights.var() == pytest.approx(2 / 700, rel=0.05)
    assert abs(weights).max() <= math.sqrt(6 / 700)


def test_layers_from_one_generator_differ_and_a_seed_repeats_them():
    first, second = (MLP(4, [4, 4], rng=seed).layers for seed in (0, 0))
    assert (first[0].weight == second[0].weight).all()
    assert (first[0].weight != first[1].weight).all()
    assert (Linear(4, 4).weight != Linear(4, 4).weight).all()


def test_weights_are_float32_whatever_draws_them():
    layer = Linear(2, 3, rng=0, init=lambda shape, rng: rng.normal(0.0, 0.1, shape))
    assert layer.weight.dtype == layer.bias.dtype == np.float32


class Tied(Module):
    """A module with parameters in every place where they are looked for."""

    def __init__(self):
        self.scale = Tensor([1.0, 2.0])
        self.blocks = [Linear(2, 2, rng=0), (Linear(2, 1, bias=False, rng=1), relu)]
        self.table = {"head": Tensor(1.0), "note": "text"}
        self.again = self.blocks[0]
        self.tied = self.blocks[0].weight
        self.constant = np.ones(3)
        self.seen = self.scale * 2.0
        self.parent = [self]


def test_parameters_are_found_in_order_and_a_shared_one_once():
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == [
        "scale",
        "blocks.0.weight",
        "blocks.0.bias",
        "blocks.1.0.weight",
        "table.head",
    ]
    assert [type(m).__name__ for m in model.modules()] == ["Tied", "Linear", "Linear"]
    (model.scale * 3.0).sum().backward()
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_two_parameters_of_one_name_are_refused():
    model = Module()
    model.table = {"a.b": Tensor(1.0), "a": {"b": Tensor(2.0)}, 1: Tensor(1.0), "1": Tensor(2.0)}
    with pytest.raises(ValueError, match=r"have the name table\.a\.b, table\.1$"):
        model.state_dict()


def test_a_shared_parameter_gets_one_gradient_and_one_step():
    x = Tensor(2.0)
    shared = Sequential(lambda y: y * x, lambda y: y * x)
    shared.twice = [x, x]
    optimizer = SGD(shared.parameters(), 0.1)
    shared(np.float32(1.0)).backward()
    optimizer.step()
    assert x.item() == pytest.approx(2.0 - 0.1 * 4.0)


def test_a_module_shows_what_it_is_made_of():
    model = Sequential(Conv2d(1, 2, 3, rng=0), relu, Dropout(0.5), flatten, MLP(8, [2], rng=0))
    assert repr(model) == (
        "Sequential(layers=[Conv2d(linear=Linear(weight=(9, 2), bias=(2,)), size=3, stride=1, "
        "padding=0), relu, Dropout(p=0.5), flatten, "
        "MLP(layers=[Linear(weight=(8, 2), bias=(2,))], act=relu)])"
    )


def test_a_module_that_holds_its_parent_can_be_shown():
    model = Sequential(relu)
    model.layers.append(model)
    assert repr(model) == "Sequential(layers=[relu, ...])"


def test_a_state_dict_goes_in_whole_or_not_at_all():
    model, other = MLP(2, [3, 1], rng=0), MLP(2, [3, 1], rng=1)
    optimizer = SGD(model.parameters())
    x, state = np.ones((1, 2), np.float32), other.state_dict()
    arrays = [p.data for p in model.parameters()]
    model.load_state_dict(state)
    assert all(p.data is a for p, a in zip(model.parameters(), arrays, strict=True))
    assert optimizer.flat.data[0] == other.layers[0].weight.data[0, 0]
    assert model(x).item() == other(x).item()
    state["layers.0.weight"][:] = 7.0
    assert not (other.layers[0].weight == 7.0).any()

    before = model.state_dict()
    state["layers.1.weight"] = np.ones((1, 3))
    state["layers.1.bias"] = np.ones(1, complex)
    state["extra"] = state.pop("layers.0.bias")
    with pytest.raises(ValueError, match="does not fit") as error:
        model.load_state_dict(state)
    assert str(error.value) == (
        "the state dict does not fit; missing: layers.0.bias; unexpected: extra; "
        "layers.1.weight has shape (1, 3), not (3, 1); layers.1.bias holds complex128, not float32"
    )
    loss = mse(model(x), np.ones((1, 1)))
    with pytest.raises(RuntimeError, match=r"a graph still needs layers.1.weight: .* del it"):
        model.load_state_dict(other.state_dict())
    del loss
    assert all((before[name] == p.data).all() for name, p in model.named_parameters())


def test_dropout_works_in_training_alone_and_keeps_the_mean():
    model = Sequential(Dropout(0.25, rng=0), relu)
    x = np.ones((200, 200), np.float32)
    y = model(Tensor(x)).data
    assert sorted(set(y.ravel().tolist())) == [0.0, pytest.approx(1 / 0.75)]
    assert y.mean() == pytest.approx(1.0, abs=0.02)
    assert y.dtype == np.float32
    assert model.eval() is model
    assert (model(Tensor(x)).data == x).all()
    assert not model.layers[0].training
    assert model.train().layers[0].training
    with pytest.raises(ValueError, match=r"share p with 0 <= p < 1, not 1\.0"):
        Dropout(1.0)


def test_windows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="window of 3 by 3 does not fit into 2 by 4"):
        windows(np.ones((1, 1, 2, 4)), size=3, stride=1)
    with pytest.raises(ValueError, match="5 by 4 cannot be cut into squares of 2"):
        MaxPool2d(2)(Tensor(np.ones((1, 1, 5, 4))))
    with pytest.raises(ValueError, match=r"takes images of shape .*, not \(3, 4\)"):
        Conv2d(1, 1, 1)(np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"shape \(n, 2, h, w\), not \(1, 3, 4, 4\)"):
        Conv2d(2, 1, 3)(np.ones((1, 3, 4, 4)))
    for size, stride in ((3, 0), (0, 1)):
        with pytest.raises(ValueError, match=f"stride >= 1, not {size} and {stride}"):
            Conv2d(1, 1, size, stride)
    with pytest.raises(ValueError, match="size >= 1, not 0"):
        MaxPool2d(0)


def test_a_norm_refuses_another_width():
    for width, shape in ((5, (3, 1)), (1, (3, 5)), (1, ())):
        with pytest.raises(ValueError, match=rf"LayerNorm of width {width} was given \("):
            LayerNorm(width)(Tensor(np.ones(shape)))


def test_losses_refuse_what_would_broadcast_or_wrap_around():
    scores = Tensor(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"mse .* \(3, 1\) and \(3,\) are not one shape"):
        mse(Tensor(np.zeros((3, 1))), np.zeros(3))
    with pytest.raises(ValueError, match=r"\(3,\) and \(\) are not one shape"):
        mse(Tensor(np.zeros(3)), 1.0)
    for labels in (np.zeros((3, 1), int), np.zeros((3, 4)), [0, 1], []):
        with pytest.raises(ValueError, match=r"labels of shape \(n,\), n > 0, not \(3, 4\) and"):
            cross_entropy(scores, labels)
        with pytest.raises(ValueError, match="accuracy takes scores"):
            accuracy(scores, labels)
    with pytest.raises(ValueError, match=r"mse of nothing: the shape is \(0, 3\)"):
        mse(Tensor(np.zeros((0, 3))), np.zeros((0, 3)))
    with pytest.raises(
        TypeError, match="cross_entropy takes scores as a Tensor or array, not list"
    ):
        cross_entropy([[0.0, 1.0]], [1])
    for nan in (Tensor([[math.nan, 1.0]]), np.array([[1.0, math.nan]])):
        with pytest.raises(FloatingPointError, match="scores that are nan"):
            accuracy(nan, [0])
    with pytest.raises(TypeError, match="labels that are whole numbers, not float64"):
        cross_entropy(scores, [0.0, 1.0, 2.0])
    for dtype in (np.int8, np.int64, np.uint8):
        with pytest.raises(ValueError, match="has classes 0 to 3, and label 1 is 4"):
            cross_entropy(scores, np.array([0, 4, 2], dtype))
    with pytest.raises(ValueError, match="classes 0 to 3, and label 2 is -1"):
        cross_entropy(scores, np.array([0, 3, -1]))


def test_cross_entropy_of_huge_scores_is_finite():
    scores = Tensor([[1e4, 0.0], [-1e4, 1e4]])
    loss = cross_entropy(scores, [1, 1])
    loss.backward()
    assert loss.item() == 5000.0
    assert scores.grad.tolist() == [[0.5, -0.5], [0.0, 0.0]]
    assert accuracy(scores, [1, 1]) == 0.5


def test_parameters_and_gradients_are_views_of_two_flat_arrays():
    model = MLP(2, [3, 1], rng=0)
    before = model.state_dict()
    flat = Flat(model.parameters())
    assert flat.data.size == flat.grad.size == 13
    mse(model(np.ones((4, 2))), np.zeros((4, 1))).backward()
    for name, p in model.named_parameters():
        assert (p.data == before[name]).all()
        assert np.shares_memory(p.data, flat.data)
        assert np.shares_memory(p.grad, flat.grad)
    flat.data[:] = 0.0
    assert all((p == 0.0).all() for p in model.parameters())


def test_settings_that_cannot_be_are_refused():
    w = [Tensor([1.0])]
    with pytest.raises(ValueError, match="no parameters"):
        SGD([])
    with pytest.raises(ValueError, match="same parameter was given twice"):
        Adam([*w, *w])
    with pytest.raises(ValueError, match=r"leaves; a Tensor\(1,\) was computed"):
        SGD([w[0] * 2.0])
    with no_grad(), pytest.raises(ValueError, match="was computed"):
        SGD([w[0] * 2.0])
    with pytest.raises(TypeError, match="Tensors, not ndarray"):
        SGD([np.ones(1)])
    with pytest.raises(ValueError, match="parameters of float32 and float64"):
        SGD([*w, Tensor(np.ones(2))])
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="lr must be a finite number >= 0"):
            SGD(w, lr=bad)
        with pytest.raises(ValueError, match="momentum must be"):
            SGD(w, momentum=bad)
        with pytest.raises(ValueError, match="eps must be"):
            Adam(w, eps=bad)
        with pytest.raises(ValueError, match="weight_decay must be"):
            AdamW(w, weight_decay=bad)
        with pytest.raises(ValueError, match=r"each of betas must be in \[0, 1\), not"):
            Adam(w, betas=(0.9, bad))
        with pytest.raises(ValueError, match="max_norm must be"):
            clip_grad_norm(w, bad)
    with pytest.raises(ValueError, match=r"each of betas must be in \[0, 1\), not 1.0"):
        Adam(w, betas=(1.0, 0.9))
    with pytest.raises(ValueError, match=r"betas must be two numbers, not \(0.9,\)"):
        Adam(w, betas=(0.9,))
    optimizer = SGD(w)
    with pytest.raises(ValueError, match=r"lr must be .* not nan"):
        optimizer.lr = math.nan
    assert optimizer.lr == 1e-3


def test_a_parameter_without_a_gradient_counts_as_one_with_zeros():
    used, idle = Tensor([1.0]), Tensor([1.0])
    optimizer = SGD([used, idle], 0.1, momentum=0.5)
    with pytest.raises(ValueError, match=r"no parameter has a gradient: call backward\(\)"):
        optimizer.step()
    (used * idle).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    (used * 1.0).sum().backward()
    optimizer.step()
    assert idle.item() == pytest.approx(1.0 - 0.1 - 0.05)
    with pytest.raises(ValueError, match=r"gradient of shape \(3,\) is not for a leaf of \(1,\)"):
        used.grad = np.ones(3)


def test_gradients_followed_twice_are_warned_of_once():
    w = Tensor([1.0])
    optimizer = SGD([w], 0.1)

    def step():
        (w * 1.0).sum().backward()
        optimizer.step()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            optimizer.zero_grad()
            (w * 1.0).sum().backward()  # two graphs for one step are in order
            step()
    assert w.grad.tolist() == [2.0]  # to be read after the step
    with pytest.warns(UserWarning, match="already followed: call zero_grad"):
        step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step()


def test_a_step_under_a_living_graph_is_refused_before_anything_moves():
    model = MLP(2, [3, 1], rng=0)
    optimizer = Adam(model.parameters())
    x, y = np.ones((4, 2), np.float32), np.zeros((4, 1))
    mse(model(x), y).backward()
    looked_at = mse(model(x), y)
    before = optimizer.flat.data.copy()
    with pytest.raises(RuntimeError, match=r"still needs parameter 2 of shape \(3, 1\): .*no_grad"):
        optimizer.step()
    assert (optimizer.flat.data == before).all() and optimizer.steps == 0
    del looked_at
    with no_grad():
        looked_at = mse(model(x), y)
    optimizer.step()
    assert looked_at.item() > 0.0
    assert (optimizer.flat.data != before).any()


def test_a_parameter_that_has_moved_elsewhere_is_refused():
    w = Tensor([1.0, 2.0])
    first, second = SGD([w]), SGD([w])
    (w * 1.0).sum().backward()
    second.step()
    with pytest.raises(RuntimeError, match=r"parameter 0 of shape \(2,\) has moved"):
        first.step()


def test_an_optimizer_goes_on_from_its_state_dict():
    def trained(optimizer, steps, start=0):
        [w] = optimizer.flat.params
        for step in range(start, start + steps):
            optimizer.zero_grad()
            (w * generator(step).standard_normal(4)).sum().backward()
            optimizer.step()
        return w.data.tobytes()

    for make in (lambda p: SGD(p, 0.1, 0.9), AdamW):
        whole, half = make([Tensor(np.ones(4))]), make([Tensor(np.ones(4))])
        expected = trained(whole, 6)
        trained(half, 3)
        rest = make([Tensor(half.flat.params[0])])
        half.lr *= 2.0
        rest.load_state_dict(half.state_dict())
        assert rest.lr == half.lr and rest.steps == 3
        rest.lr /= 2.0
        assert trained(rest, 3, 3) == expected
        state = half.state_dict()
        steps = state.pop(f"{type(half).__name__}.steps")
        with pytest.raises(ValueError, match=r"missing: \w+.steps"):
            rest.load_state_dict(state)
        for name, bad in ((f"{type(half).__name__}.steps", -steps), ("lr", np.array(math.nan))):
            with pytest.raises(ValueError, match=rf"{name} must be a finite number >= 0"):
                rest.load_state_dict(half.state_dict() | {name: bad})


def test_an_optimizer_refuses_the_state_of_one_with_other_settings():
    class Other(Adam):
        """Another class with the same settings."""

    def w():
        return [Tensor(np.ones(4))]

    for saved, mine, message in (
        (SGD(w(), 0.1, 0.9), SGD(w(), 0.1, 0.5), r"; momentum is 0.9, not 0.5"),
        (Adam(w(), betas=(0.8, 0.9)), Adam(w()), r"betas is \[0.8, 0.9\], not \[0.9, 0.999\]"),
        (Adam(w(), eps=1e-3), Adam(w()), r"eps is 0.001, not 1e-08"),
        (AdamW(w(), weight_decay=0.5), AdamW(w()), r"weight_decay is 0.5, not 0.01"),
        (Adam(w()), AdamW(w()), r"missing: AdamW.steps; .*unexpected: Adam.steps"),
        (Other(w()), Adam(w()), r"missing: Adam.steps; unexpected: Other.steps"),
    ):
        before = mine.state_dict()
        with pytest.raises(ValueError, match=message):
            mine.load_state_dict(saved.state_dict())
        assert all(np.array_equal(a, before[name]) for name, a in mine.state_dict().items())


def test_batches_hold_every_row_once_and_repeat_with_the_generator():
    x, y = np.arange(10), np.arange(10) * 2
    assert [len(a) for a, _ in batches(x, y, size=4)] == [4, 4, 2]
    assert np.concatenate([a for a, _ in batches(x, y, size=4)]).tolist() == x.tolist()
    rng = generator()
    state = rng.bit_generator.state
    first = [(a.tolist(), b.tolist()) for a, b in batches(x, y, size=3, rng=rng)]
    assert sorted(i for a, _ in first for i in a) == x.tolist()
    assert all([2 * i for i in a] == b for a, b in first)
    second = [(a.tolist(), b.tolist()) for a, b in batches(x, y, size=3, rng=rng)]
    assert first != second
    rng.bit_generator.state = state
    assert first == [(a.tolist(), b.tolist()) for a, b in batches(x, y, size=3, rng=rng)]
    with pytest.raises(ValueError, match=r"different lengths: \[10, 9\]"):
        batches(x, y[:9], size=3)
    with pytest.raises(ValueError, match="at least one row, not 0"):
        batches(x, size=0)


def test_a_split_parts_rows_without_losing_any():
    x = np.arange(20)
    (a, b), (c, d) = split(x, -x, held_out=0.25)
    assert len(a) == 15 and len(c) == 5
    assert sorted([*a, *c]) == x.tolist()
    assert (a == -b).all() and (c == -d).all()
    with pytest.raises(ValueError, match=r"share between 0 and 1, not 1\.0"):
        split(x, held_out=1.0)


def test_the_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = digits()
    expected = datasets.load_digits()
    assert x.shape == (1797, 1, 8, 8) and x.dtype == np.float32
    assert (x[:, 0] * 16.0 == expected.images).all()
    assert (y == expected.target).all() and y.dtype.kind == "i"


def test_finite_names_the_operation_that_gave_a_value():
    x = Tensor([[1.0, 2.0], [3.0, 0.0]])
    with finite():
        exp(x)
        message = r"the value of log, of shape \(2, 2\), is -inf at \[1, 1\]"
        with np.errstate(divide="ignore"), pytest.raises(FloatingPointError, match=message):
            log(x)
    assert WATCHERS == []
    with np.errstate(divide="ignore"):
        log(x)


def test_finite_names_the_operation_that_gave_a_gradient():
    x = Tensor([4.0, 0.0])
    with finite():
        y = (x.sqrt() * 1.0).sum()
    assert WATCHERS == []
    message = r"the gradient of sqrt for argument 0, of shape \(2,\), is inf at \[1\]"
    with np.errstate(divide="ignore"), pytest.raises(FloatingPointError, match=message):
        y.backward()


def test_finite_leaves_the_gradients_and_the_loans_as_they_are():
    x = Tensor([1.0, 2.0])
    with finite():
        y = (x * x).sum()
        with pytest.raises(ValueError, match="read-only"):
            x.data[0] = 5.0
        y.backward()
        x.data[0] = 5.0
    assert x.grad.tolist() == [2.0, 4.0]
    with pytest.raises(KeyError), finite():
        raise KeyError
    assert WATCHERS == []


def test_a_checkpoint_brings_everything_back(tmp_path):
    path = tmp_path / "run.safetensors"
    model, rng = MLP(2, [3, 1], rng=0), generator(5)
    optimizer = Adam(model.parameters(), 0.5)
    mse(model(np.ones((1, 2))), np.zeros((1, 1))).backward()
    optimizer.step()
    save(path, model=model, optimizer=optimizer, rng=rng, epoch=3, history={"loss": [1.5, 0.1]})
    expected, drawn = model.state_dict(), rng.random(4)

    other, again = MLP(2, [3, 1], rng=1), generator(6)
    fresh = Adam(other.parameters())
    rest = load(path, model=other, optimizer=fresh, rng=again)
    assert rest == {"epoch": 3, "history": {"loss": [1.5, 0.1]}}
    assert all((p == expected[name]).all() for name, p in other.named_parameters())
    assert (again.random(4) == drawn).all()
    assert fresh.lr == 0.5 and fresh.steps == 1
    assert (fresh.moments["square"] == optimizer.moments["square"]).all()
    rest = load(path, model=other)  # what nobody asks for is handed back
    assert set(rest) == {"optimizer", "rng", "epoch", "history"}
    assert sorted(os.listdir(tmp_path)) == [path.name]


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path):
    path = tmp_path / "run.safetensors"
    model, rng = MLP(2, [3, 1], rng=0), generator(5)
    save(path, model=model, rng=rng)
    other = MLP(2, [3, 1], rng=1)
    before, state = other.state_dict(), copy.deepcopy(rng.bit_generator.state)
    with pytest.raises(ValueError, match="has no optimizer"):
        load(path, model=other, optimizer=SGD(other.parameters()), rng=rng)
    with pytest.raises(ValueError, match=r"state does not fit a Philox: .*must be for a Philox"):
        load(path, model=other, rng=np.random.Generator(np.random.Philox(1)))
    with pytest.raises(ValueError, match=r"layers.0.weight has shape \(2, 3\), not \(2, 4\)") as e:
        load(path, rng=rng, model=MLP(2, [4, 1], rng=0))
    assert "in model of " in e.value.__notes__[0]
    assert all((p == before[name]).all() for name, p in other.named_parameters())
    assert rng.bit_generator.state == state
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="is no checkpoint"):
        load(path, model=other)


@pytest.mark.parametrize("damage", ["{}", "[1]", "text", '{"bit_generator": "PCG64", "state": {}}'])
def test_a_generator_with_a_damaged_state_changes_nothing(tmp_path, damage):
    path, model, rng = tmp_path / "run.safetensors", MLP(2, [1], rng=0), generator(5)
    arrays = {f"model/{name}": a + 1.0 for name, a in model.state_dict().items()}
    save_file(arrays, path, {"rng": damage})
    before, state = model.state_dict(), copy.deepcopy(rng.bit_generator.state)
    with pytest.raises(ValueError, match="state does not fit a PCG64: ") as error:
        load(path, model=model, rng=rng)
    assert "in rng of " in error.value.__notes__[0]
    assert all((p == before[name]).all() for name, p in model.named_parameters())
    assert rng.bit_generator.state == state


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_generator_of_numpy_goes_on_from_a_checkpoint(tmp_path, kind):
    path, make = tmp_path / "run.safetensors", getattr(np.random, kind)
    rng, other = (np.random.Generator(make(seed)) for seed in (1, 2))
    rng.random(5, np.float32)
    model = Sequential(relu)
    save(path, rng=rng, model=model)
    assert load(path, rng=other, model=model) == {}
    assert (other.integers(1 << 63, size=700) == rng.integers(1 << 63, size=700)).all()


def test_a_note_is_no_state_and_a_state_no_note(tmp_path):
    path, model, rng = tmp_path / "run.safetensors", MLP(2, [1], rng=0), generator()
    save(path, model=model, rng=rng)
    with pytest.raises(ValueError, match="has no rng with a state for MLP"):
        load(path, rng=model)
    with pytest.raises(ValueError, match="has no model with a state for Generator"):
        load(path, model=rng)


def test_arrays_that_others_have_saved_are_returned(tmp_path):
    path, a = tmp_path / "other.safetensors", np.arange(3.0)
    save_file({"model/weight": a, "bias": a}, path, {"format": "pt"})
    rest = load(path)
    assert rest["format"] == "pt"
    assert (rest["model"]["weight"] == a).all() and (rest["bias"][""] == a).all()


def test_two_may_save_at_a_time(tmp_path, monkeypatch):
    path, move = tmp_path / "run.safetensors", os.replace

    def late(part, path):
        monkeypatch.setattr(os, "replace", move)
        save(path, epoch=2)
        move(part, path)

    monkeypatch.setattr(os, "replace", late)
    save(path, epoch=1)
    assert load(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == [path.name]


def test_a_save_that_fails_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    save(path, epoch=1)

    def full(*args):
        raise OSError("no space left")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="no space left"):
                save(path, epoch=2)
        assert load(path) == {"epoch": 1}
    with pytest.raises(TypeError):
        save(path, epoch=object())
    assert load(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == [path.name]


WRITER = """
import sys
import numpy as np
from grad.layers import Module
from grad.tensor import Tensor
from grad.checkpoints import save

model = Module()
model.w = Tensor(np.zeros(1 << 20))
for version in range(1_000_000):
    model.w.data[:] = version
    save(sys.argv[1], model=model, version=version)
    print(version, flush=True)
"""


def test_killed_while_saving_the_last_checkpoint_is_whole(tmp_path):
    path, chance = tmp_path / "run.safetensors", random.Random(0)
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        child.stdout.readline()
        time.sleep(0.1 * chance.random())
        child.kill()
        told = [int(line) for line in child.stdout.read().split()]
        child.wait()
        child.stdout.close()
        model = Module()
        model.w = Tensor(np.zeros(1 << 20))
        version = load(path, model=model)["version"]
        assert (model.w == version).all()
        assert version >= max(told, default=0)


RUN = """
import sys
import numpy as np
from tests.engine.test_08_training import long_run

long_run(sys.argv[1], epochs=12)
"""


def long_run(path, epochs):
    """Train something that needs all of the state: moments, a schedule, random masks and noise."""
    rng = generator(3)
    model = Sequential(Linear(4, 16, rng=rng), relu, Dropout(0.2, rng), Linear(16, 3, rng=rng))
    x = generator(1).standard_normal((80, 4)).astype(np.float32)
    y = np.arange(80) % 3
    history = fit(
        model,
        cross_entropy,
        Adam(model.parameters(), 0.01),
        (x, y),
        epochs=epochs,
        size=16,
        rng=rng,
        schedule=cosine(60, 5),
        augment=lambda x, rng: x + 0.01 * rng.standard_normal(x.shape, np.float32),
        held_out=(x, y),
        path=path,
    )
    return history, {name: a.tobytes() for name, a in model.state_dict().items()}


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path):
    whole = long_run(None, 12)
    assert len(whole[0]["loss"]) == len(whole[0]["held_out"]) == 12
    long_run(tmp_path / "run.safetensors", 5)
    assert long_run(tmp_path / "run.safetensors", 12) == whole


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path):
    path, chance = tmp_path / "run.safetensors", random.Random(1)
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", RUN, str(path)], stderr=subprocess.DEVNULL)
        while not path.exists() and child.poll() is None:
            time.sleep(0.002)
        time.sleep(0.03 * chance.random())
        child.kill()
        child.wait()
    assert path.exists()
    assert long_run(path, 12) == long_run(None, 12)


def test_a_schedule_scales_the_learning_rate_step_by_step_and_leaves_it_as_it_was():
    class Scaled(Module):
        def __init__(self):
            self.w = Tensor(1.0, np.float64)

        def __call__(self, x):
            return self.w * x

    model = Scaled()
    optimizer = SGD(model.parameters(), 0.1)
    fit(
        model,
        lambda out, y: out.sum(),
        optimizer,
        (np.ones(2), np.ones(2)),
        epochs=2,
        size=1,
        rng=generator(),
        schedule=[1.0, 0.5, 0.25, 0.125].__getitem__,
    )
    assert model.w.item() == pytest.approx(1.0 - 0.1 * 1.875)
    assert optimizer.lr == 0.1


def test_a_checkpoint_would_miss_a_generator_of_its_own(tmp_path):
    model = Sequential(Linear(2, 2, rng=0), Dropout(0.5, rng=1))
    data = np.ones((4, 2)), np.zeros(4, int)
    optimizer = SGD(model.parameters())
    with pytest.raises(ValueError, match="give fit and Dropout the same rng"):
        fit(model, cross_entropy, optimizer, data, epochs=1, rng=generator(), path=tmp_path / "run")


def test_a_run_finds_out_at_once_what_cannot_be_saved(tmp_path):
    model, x, y = Linear(2, 1, rng=0), np.ones((4, 2), np.float32), np.ones((4, 1))
    before = model.state_dict()
    with pytest.raises(FileNotFoundError):
        path = tmp_path / "missing" / "run"
        fit(model, mse, SGD(model.parameters()), (x, y), epochs=1, rng=generator(), path=path)
    assert (model.weight == before["weight"]).all()


def test_what_is_interrupted_leaves_the_learning_rate_and_the_mode_as_they_were():
    class Stuck(SGD):
        def update(self):
            """Fail."""
            raise KeyboardInterrupt

    def measure(out, y):
        raise KeyboardInterrupt

    model, x, y = Linear(2, 1, rng=0), np.ones((4, 2), np.float32), np.ones((4, 1))
    optimizer = Stuck(model.parameters(), 0.1)
    with pytest.raises(KeyboardInterrupt):
        fit(model, mse, optimizer, (x, y), epochs=1, rng=generator(), schedule=lambda step: 0.5)
    assert optimizer.lr == 0.1
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, x, y, measure)
    assert model.training


def test_a_run_goes_on_where_only_the_square_of_a_gradient_is_not_finite():
    model, x, y = Linear(1, 1, bias=False, rng=0), np.ones((4, 1), np.float32), np.zeros((4, 1))
    optimizer = SGD(model.parameters(), 1e-21)
    before = model.weight.item()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(
            model,
            lambda out, y: out.sum() * 1e20,
            optimizer,
            (x, y),
            epochs=1,
            rng=generator(),
        )
    assert model.weight.item() == pytest.approx(before - 0.4)


class Chosen(Module):
    """A module with a parameter that it does not use."""

    def __init__(self):
        self.used, self.idle = Tensor(0.0), Tensor(1.0)

    def __call__(self, x):
        return x + self.used


def test_a_gradient_of_an_earlier_batch_stops_nobody():
    model, x = Chosen(), np.ones((4, 1), np.float32)
    optimizer = SGD(model.parameters())
    (model.idle * math.nan).backward()
    fit(model, mse, optimizer, (x, x), epochs=1, rng=generator())
    assert optimizer.steps == 1


def test_a_run_names_the_parameter_in_which_gradients_add_up_to_no_number():
    model, x = Chosen(), np.zeros((8, 1), np.float32)
    message = r"the gradient of parameter used, of shape \(\), is inf"
    with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match=message):
        fit(
            model,
            lambda out, y: (out * 1e38).sum(),
            SGD(model.parameters()),
            (x, x),
            epochs=1,
            rng=generator(),
        )


def test_what_does_not_come_again_is_told_as_such():
    model, x, scales = Chosen(), np.zeros((8, 1), np.float32), iter([1e38, 1.0])
    with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match="is so no more"):
        fit(
            model,
            lambda out, y: (out * next(scales)).sum(),
            SGD(model.parameters()),
            (x, x),
            epochs=1,
            rng=generator(),
        )


def test_a_run_stops_at_the_first_loss_that_is_not_finite():
    model = Sequential(Linear(2, 1, rng=0), log)
    optimizer = SGD(model.parameters(), 0.1)
    x, y = -np.ones((4, 2), np.float32), np.ones((4, 1))
    model.layers[0].weight.data[:] = 1.0
    before = optimizer.flat.data.copy()
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="the value of log"):
        fit(model, mse, optimizer, (x, y), epochs=1, rng=generator())
    assert (optimizer.flat.data == before).all()


def test_a_run_stops_at_the_first_gradient_that_is_not_finite():
    model = Sequential(Linear(2, 1, rng=0), Tensor.sqrt)
    optimizer = SGD(model.parameters(), 0.1)
    x, y = np.zeros((4, 2), np.float32), np.ones((4, 1))
    before = optimizer.flat.data.copy()
    message = "the gradient of sqrt for argument 0"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
        fit(model, mse, optimizer, (x, y), epochs=1, rng=generator())
    assert (optimizer.flat.data == before).all()
    x[2, 1] = math.nan
    message = r"the batch's input, of shape \(4, 2\), is nan at"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
        fit(model, mse, optimizer, (x, y), epochs=1, rng=generator())


def test_evaluate_is_without_dropout_without_a_graph_and_over_all_rows():
    model = Sequential(Linear(2, 2, rng=0), Dropout(0.5))
    x, y = generator().standard_normal((10, 2)).astype(np.float32), np.arange(10) % 2
    outs = []

    def measure(out, y):
        outs.append(out)
        return accuracy(out, y)

    share = evaluate(model, x, y, measure, size=3)
    expected = model.layers[0](x)
    np.testing.assert_allclose(np.concatenate([out.data for out in outs]), expected.data, rtol=1e-5)
    assert share == pytest.approx(accuracy(expected, y))
    with pytest.raises(RuntimeError, match="no graph leads here"):
        outs[0].backward(np.ones((3, 2)))
    assert model.layers[1].training
    seen = []
    fit(
        model,
        cross_entropy,
        SGD(model.parameters()),
        (x, y),
        epochs=2,
        rng=generator(),
        show=lambda history: seen.append(json.dumps(history)),
    )
    assert len(seen) == 2 and "held_out" in seen[0]


def digits_in(images=True):
    x, y = digits()
    return split(x if images else x.reshape(-1, 64), y)


def test_an_mlp_reads_97_percent_of_the_digits():
    data, held_out = digits_in(images=False)
    rng = generator()
    model = MLP(64, [128, 10], rng=rng)
    fit(model, cross_entropy, Adam(model.parameters(), 2e-3), data, epochs=30, rng=rng)
    assert evaluate(model, *held_out) >= 0.97


def test_a_convolutional_net_reads_98_and_a_half_percent_of_the_digits():
    data, held_out = digits_in()
    rng = generator()
    model = Sequential(
        Conv2d(1, 16, 3, padding=1, rng=rng),
        relu,
        Conv2d(16, 32, 3, padding=1, rng=rng),
        relu,
        MaxPool2d(2),
        flatten,
        Linear(512, 64, rng=rng),
        relu,
        Linear(64, 10, rng=rng),
    )
    optimizer, steps = Adam(model.parameters(), 2e-3), 20 * 43
    schedule = cosine(steps, steps // 20)
    fit(model, cross_entropy, optimizer, data, epochs=20, rng=rng, schedule=schedule)
    assert evaluate(model, *held_out) >= 0.985


def test_a_graph_that_only_the_frames_of_an_error_hold_does_not_stop_training():
    w = Tensor([1.0, 2.0])
    optimizer = SGD([w], 0.1)

    class Ring:
        pass

    ring = Ring()
    ring.self, ring.graph = ring, (w * w).sum()
    del ring
    (w * 2.0).sum().backward()
    optimizer.step()
    assert w.numpy().tolist() == pytest.approx([0.8, 1.8])
