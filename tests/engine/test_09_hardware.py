"""What chapter 9 promises: a replay equal to the code it was recorded from, or a clear refusal."""

import gc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grad import meter, replay, tensor
from grad.descent import SGD, Adam
from grad.layers import (
    MLP,
    Conv2d,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    MaxPool2d,
    Module,
    flatten,
)
from grad.loans import LOANS
from grad.losses import cross_entropy, mse
from grad.memory import alive
from grad.plan import PASSES
from grad.replay import Program
from grad.steps import Leaf, Step
from grad.tensor import Tensor
from grad.trace import Recording, ReplayError, Traced, View

settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


class Net(Module):
    """Layers under names, and what to do with them."""

    def __init__(self, forward, **layers):
        self.forward = forward
        vars(self).update(layers)

    def __call__(self, x):
        return self.forward(self, x)


def conv(rng):
    """Padding, windows, a largest of each square."""
    return Net(
        lambda m, x: m.out(flatten(m.pool(m.conv(x).relu()))),
        conv=Conv2d(1, 4, 3, padding=1, rng=rng),
        pool=MaxPool2d(2),
        out=Linear(64, 10, rng=rng),
    )


def normed(rng):
    """A LayerNorm in the middle."""
    return Net(
        lambda m, x: m.b(m.norm(m.a(x)).tanh()),
        a=Linear(8, 16, rng=rng),
        norm=LayerNorm(16),
        b=Linear(16, 3, rng=rng),
    )


def attention(rng):
    """Tokens, two heads, stacks of matrices, a mask."""

    def forward(m, x):
        n, t = x.shape
        h = m.table(x)
        q, k, v = (f(h).reshape(n, t, 2, 4).transpose(0, 2, 1, 3) for f in (m.q, m.k, m.v))
        scores = (q @ k.transpose(0, 1, 3, 2)) * 0.5
        seen = np.tril(np.ones((t, t), bool))
        shares = tensor.softmax(tensor.where(seen, scores, -1e9), axis=-1)
        return m.out((shares @ v).transpose(0, 2, 1, 3).reshape(n * t, 8))

    # Without bias: that of k has no effect, and Adam would follow the rounding of its gradient.
    heads = {name: Linear(8, 8, bias=False, rng=rng) for name in "qkv"}
    return Net(forward, table=Embedding(11, 8, rng=rng), **heads, out=Linear(8, 11, rng=rng))


def joined(rng):
    """Arrays side by side and on top of each other, and one that is used twice."""

    def forward(m, x):
        p, q = m.a(x).sigmoid(), m.b(x).exp()
        both = tensor.concatenate((p, q), axis=1)
        return m.out(tensor.concatenate((both, tensor.stack((p, q), axis=0).sum(0)), axis=1))

    a, b, out = Linear(4, 5, rng=rng), Linear(4, 5, rng=rng), Linear(15, 3, rng=rng)
    return Net(forward, a=a, b=b, out=out)


def shared(rng):
    """One layer twice: its gradient has two parts."""
    a, b = Linear(4, 4, rng=rng), Linear(4, 3, rng=rng)
    return Net(lambda m, x: m.b(m.a(m.a(x).tanh()).tanh()), a=a, b=b)


def dropped(rng):
    """Numbers drawn anew at each step."""
    a, b = Linear(4, 16, rng=rng), Linear(16, 3, rng=rng)

    def forward(m, x):
        m.drop(x)  # not used, but drawn
        return m.b(m.drop(m.a(x).relu()))

    return Net(forward, a=a, drop=Dropout(0.5, rng=7), b=b)


def perceptron(act):
    """An MLP for two numbers and one."""
    return lambda rng: MLP(2, [16, 16, 1], act=act, rng=rng)


def chosen(scores, labels):
    """Cross-entropy in small steps, and a term of its own."""
    logs = scores - tensor.logsumexp(scores, axis=1, keepdims=True)
    penalty = ((scores * scores).max(1) ** 2).sum() * 0.01
    return penalty - logs[np.arange(len(labels)), labels].mean()


def regression(rng):
    return rng.standard_normal((32, 2), np.float32), rng.standard_normal((32, 1), np.float32)


def classes(*shape, count=3):
    """Make a function that draws a batch of such inputs, and a label for each."""
    return lambda rng: (rng.standard_normal(shape, np.float32), rng.integers(0, count, shape[0]))


def tokens(rng):
    return rng.integers(0, 11, (3, 6)), rng.integers(0, 11, (3, 6))


CASES = {
    "relu": (perceptron(Tensor.relu), mse, regression),
    "tanh": (perceptron(Tensor.tanh), mse, regression),
    "sigmoid": (perceptron(Tensor.sigmoid), mse, regression),
    "fed in float64": (
        perceptron(Tensor.relu),
        mse,
        lambda rng: tuple(a.astype(float) for a in regression(rng)),
    ),
    "conv": (conv, cross_entropy, classes(6, 1, 8, 8, count=10)),
    "layer norm": (normed, cross_entropy, classes(9, 8)),
    "attention": (attention, lambda p, y: cross_entropy(p, y.reshape(-1)), tokens),
    "joined": (joined, cross_entropy, classes(7, 4)),
    "shared": (shared, cross_entropy, classes(7, 4)),
    "dropout": (dropped, cross_entropy, classes(7, 4)),
    "chosen": (normed, chosen, classes(9, 8)),
}


def eager(model, loss, optimizer, x, y):
    """One step of training by the code itself; return the loss."""
    value = loss(model(x), y)
    optimizer.zero_grad()
    value.backward()
    number = value.item()
    del value
    optimizer.step()
    return number


@pytest.mark.parametrize("optimizer", [lambda p: SGD(p, 0.05, 0.9), Adam], ids=["SGD", "Adam"])
@pytest.mark.parametrize("name", CASES)
def test_replay_is_the_code(name, optimizer):
    make, loss, batch = CASES[name]
    one, two = (make(np.random.default_rng(1)) for _ in range(2))
    ours, theirs = optimizer(one.parameters()), optimizer(two.parameters())
    step, rng = replay.step(one, loss, ours), np.random.default_rng(5)
    for k in range(20):
        x, y = batch(rng)
        if k == 10:
            ours.lr = theirs.lr = 0.01
        assert step(x, y) == pytest.approx(eager(two, loss, theirs, x, y), rel=1e-6)
        np.testing.assert_allclose(ours.flat.data, theirs.flat.data, rtol=1e-5, atol=1e-6)
    assert step.program is not None


def test_passes_leave_less_to_do():
    make, loss, batch = CASES["chosen"]
    model = make(np.random.default_rng(0))
    learns = [*model.norm.parameters(), *model.b.parameters()]  # nobody asks what a should do
    step = replay.step(model, loss, SGD(learns, 0.1))
    step(*batch(np.random.default_rng(0)))
    recording = Recording()
    value, _ = recording.listen(step.trace, recording)
    calls = []
    for k in range(len(PASSES) + 1):
        program = Program(recording, value, PASSES[:k])
        calls.append(len(program.calls))
    assert calls == sorted(calls, reverse=True) and len(set(calls)) == len(PASSES) + 1
    own = sum(b.nbytes for b in recording.buffers if b.role == "own")
    assert program.bytes < Program(recording, value, reuse=False).bytes < own


# One line for each thing that a step may do to a list of 4 by 4 arrays.
DEEDS = [
    lambda h, i, j: h.append(h[i] + h[j]),
    lambda h, i, j: h.append(h[i] * 0.5 - h[j].T),
    lambda h, i, j: h.append(h[i] @ h[j] * 0.25),
    lambda h, i, j: h.append(np.where(h[i] > 0, h[j], 0.5)),
    lambda h, i, j: h.append(h[max(i, 2)].T),
    lambda h, i, j: h.append(h[i][::-1, 1:2] + np.tanh(h[j])),
    lambda h, i, j: h.append(np.tanh(h[i][[0, 3, 3, 1]])),
    lambda h, i, j: h.append(h[i].sum(0, keepdims=True) * 0.2 + np.zeros_like(h[j])),
    lambda h, i, j: h.append(h[i].T.reshape(2, 8).reshape(4, 4)),
    lambda h, i, j: h.append(np.concatenate([h[i][:2], h[j][1:3]])),
    lambda h, i, j: h.append(h[i].copy()),
    lambda h, i, j: h.append(h[i] * 0.5 + (h[i] * 0.5).T),
    lambda h, i, j: h[i].__imul__(0.5) if i > 1 else None,
    lambda h, i, j: h[i].__iadd__(np.tanh(h[j])) if i > 1 else None,
    lambda h, i, j: h[i].__setitem__(slice(1, 3), h[j][2:].copy()) if i > 1 else None,
    lambda h, i, j: h[i].__setitem__([0, 2], h[j][1:3] * 0.5) if i > 1 else None,
    lambda h, i, j: np.add.at(h[i], [1, 1, 3], np.tanh(h[j][:3])) if i > 1 else None,
]


def work(deeds, x, p, room):
    """Do some deeds to arrays made from x and p; return a number, and leave an array in room."""
    have = [x, p, x * 1.0, p + 1.0, np.ones_like(x), np.full_like(x, 0.5)]
    for deed, i, j in deeds:
        DEEDS[deed](have, i % len(have), j % len(have))
        if len(have) > 12:
            del have[7]
    room[...] = have[-1]
    room[1:] += have[2][1:]
    value = np.add.reduce((have[-1] * have[3]).reshape(-1), 0, keepdims=True)
    room.reshape(-1)[:1] = value
    return value


index = st.integers(0, 99)


@settings(max_examples=100)
@example([(0, 0, 4), (12, 4, 0)])  # a constant that is used, and then changed
@given(st.lists(st.tuples(st.integers(0, len(DEEDS) - 1), index, index), max_size=25))
def test_every_pass_keeps_what_is_computed(deeds):
    rng = np.random.default_rng(len(deeds))
    x, p, room = rng.standard_normal((3, 4, 4))
    recording = Recording()
    traced = [recording.buffer("fed", x), recording.buffer("parameter", p)]
    value = recording.listen(work, deeds, *traced, recording.buffer("gradient", room))
    value = recording.view(value)
    x[...] = rng.standard_normal((4, 4))
    there = np.empty((4, 4))
    expected = work(deeds, x.copy(), p.copy(), there)
    for count in range(len(PASSES) + 1):
        for passes in combinations(PASSES, count):
            for reuse in False, True:
                program = Program(recording, value, passes, reuse)
                for _ in range(2):  # what a first run leaves behind must not matter
                    room[...] = np.nan
                    for call in program.run:
                        call()
                    np.testing.assert_allclose(program.loss, expected, rtol=1e-9, atol=1e-9)
                    np.testing.assert_allclose(room, there, rtol=1e-9, atol=1e-9)


def test_a_part_changed_in_place_is_one_call():
    recording = Recording()

    def change(a):
        a[1:] += 1.0

    recording.listen(change, recording.own(np.zeros(4)))
    assert [call.f for call in recording.calls] == [np.add]


# ---- What is refused

RNG = np.random.default_rng(3)
X = RNG.standard_normal((5, 7, 4)).astype(np.float32)
Y = np.array([[0, 1, 2, 0, 1, 2, k % 3] for k in range(5)])


def linear():
    return Linear(4, 3, rng=np.random.default_rng(1))


def until(loss, model=None, batches=None, raises=ReplayError, match=""):
    """Train by replay until it raises; see that parameters are untouched; return at which call."""
    model = model or linear()
    optimizer = SGD(model.parameters(), 0.05)
    step = replay.step(model, loss, optimizer)
    for k, (x, y) in enumerate(batches or zip(X, Y, strict=True)):
        before = optimizer.flat.data.copy()
        try:
            step(x, y)
        except raises as error:
            assert np.array_equal(optimizer.flat.data, before)
            assert match in str(error), str(error)
            assert type(model) is not Linear or type(model.weight.data) is np.ndarray
            return k
    pytest.fail("nothing was refused")


def test_another_shape_or_dtype_is_refused():
    batches = [(X[0], Y[0]), (X[1], Y[1]), (X[2][:5], Y[2][:5])]
    assert until(cross_entropy, None, batches, ValueError, "(5, 4): record another step") == 2
    assert until(cross_entropy, None, batches[1:], ValueError, "float32 of shape (7, 4)") == 1
    batches[2] = X[2].astype(float), Y[2]
    assert until(cross_entropy, None, batches, ValueError, "given float64 of shape (7, 4)") == 2


def test_another_road_is_refused():
    def loss(scores, labels):
        return cross_entropy(scores, labels) if labels[-1] < 2 else (scores * scores).sum()

    assert until(loss, match="would take another road at loss") == 2
    assert until(loss, match="test_09_hardware.py") == 2
    many = [(X[0], Y[0]), (X[1], Y[0]), (X[0], Y[2])]
    assert until(loss, batches=many, match="bool(...), which was True") == 2
    same = [(X[0], Y[0])] * 3 + [(X[0], Y[2])]
    assert until(loss, batches=same, match="did not ask for the same") == 3


def test_the_codes_own_error_comes_first():
    batches = [(X[0], Y[0]), (X[1], Y[1]), (X[2], np.full(7, 9))]
    assert until(cross_entropy, None, batches, ValueError, "label 0 is 9") == 2


@pytest.mark.parametrize(
    "loss, match, call",
    [
        (lambda p, y: cross_entropy(p * p.data.max().item(), y), "did not ask for the same", 1),
        (lambda p, y: cross_entropy(p * float(p.sum()), y), "did not ask for the same", 1),
        (lambda p, y: cross_entropy(p + RNG.random(p.shape), y), "add (", 1),
        (lambda p, y: cross_entropy(p * np.array(p.data), y), "new in each of the recorded", 1),
        (lambda p, y: (p * np.eye(3)[y]).sum(), "mul (", 1),
        (lambda p, y: p[np.nonzero(y)].sum(), "nonzero in a way that is not recorded", 0),
        (lambda p, y: (p.data.sort(), p.sum())[1], ".sort(), which works in place and unseen", 0),
        (lambda p, y: (p.data.put(0, 1.0), p.sum())[1], ".put(), which works in place", 0),
        (lambda p, y: (y.fill(1), cross_entropy(p, y))[1], "writes into the batch", 0),
        (lambda p, y: (p * p.data.byteswap()).sum(), ".byteswap()", 0),
        (lambda p, y: (p * p.data.__copy__()).sum(), "that was made unseen", 0),
        (lambda p, y: (p * Tensor(p.data)).sum(), "is no parameter of the model", 0),
    ],
)
def test_what_is_not_seen_is_refused(loss, match, call):
    assert until(loss, match=match) == call


def test_a_state_is_refused():
    def mean(m, x):
        m.mean *= 0.9
        m.mean += 0.1 * x.mean(0)
        return m.a(x - m.mean)

    model = Net(mean, a=linear(), mean=np.zeros(4, np.float32))
    assert until(cross_entropy, model, match="an array that was there before") == 0

    def later(m, x):
        m.mean = m.mean * 0.9 + 0.1 * x.mean(0)
        return m.a(x - m.mean)

    model = Net(later, a=linear(), mean=np.zeros(4, np.float32))
    assert until(cross_entropy, model, match="the step changes mean of Net") == 0

    def written(m, x):
        m.mean[...] = x.mean(0)  # a plain array: nobody asks the one that is written in
        return m.a(x)

    model = Net(written, a=linear(), mean=np.zeros(4, np.float32))
    assert until(cross_entropy, model, match="the step changes mean of Net") == 0

    def count(m, x):
        m.count += 1
        return m.a(x * float(m.count))

    model = Net(count, a=linear(), count=0)
    assert until(cross_entropy, model, match="did not ask for the same") == 1

    def slyly(m, x):
        y = m.a(x)
        y.data.view(np.ndarray)[...] *= 2.0
        return y

    model = Net(slyly, a=linear())
    assert until(lambda p, y: (p * p).sum(), model, raises=(ReplayError, ValueError)) <= 1


def test_what_was_written_unseen_is_noticed():
    def slyly(m, x):
        h = x * np.float32(1.0)
        h.view(np.ndarray)[...] *= 2.0
        return m.a(h)

    model = Net(slyly, a=linear())
    assert until(cross_entropy, model, match="the step gives other numbers") == 1


def test_a_loss_that_is_no_number():
    for k in range(4):
        batches = [(X[0], Y[0])] * k + [(X[0] * np.nan, Y[0])]
        assert until(cross_entropy, None, batches, FloatingPointError, "the loss is nan") == k
    assert until(lambda p, y: p * 2, raises=ValueError, match="one number") == 0


def test_a_parameter_that_has_moved_is_refused():
    model = linear()
    step = replay.step(model, cross_entropy, SGD(model.parameters(), 0.1))
    for x, y in zip(X[:3], Y, strict=False):
        step(x, y)
    model.weight.data = model.weight.data.copy()
    with pytest.raises(ReplayError, match="has moved"):
        step(X[3], Y[3])


def test_another_mode_is_refused():
    model = dropped(np.random.default_rng(0))
    step = replay.step(model, cross_entropy, SGD(model.parameters(), 0.1))
    for x, y in zip(X[:3], Y, strict=False):
        step(x, y)
    model.eval()
    with pytest.raises(ReplayError, match=r"recorded with Net.training = True"):
        step(X[3], Y[3])
    model.train()
    step(X[3], Y[3])


def test_a_parameter_that_does_not_learn_is_read_anew():
    rng = np.random.default_rng(0)
    a, b = Linear(4, 4, rng=rng), Linear(4, 3, rng=rng)
    model = Net(lambda m, x: m.b(m.a(x).tanh()), a=a, b=b)
    step = replay.step(model, cross_entropy, SGD(b.parameters(), 0.1))
    for x, y in zip(X[:3], Y, strict=False):
        step(x, y)
    a.weight.data[...] = 0.25
    expected = cross_entropy(model(X[3]), Y[3]).item()
    assert step(X[3], Y[3]) == pytest.approx(expected, rel=1e-6)
    assert a.weight.grad is None


def test_nothing_stays_alive():
    gc.collect()
    gc.disable()
    try:
        steps, leaves, loans = len(alive(Step)), len(alive(Leaf)), len(LOANS)
        model = conv(np.random.default_rng(0))
        optimizer = SGD(model.parameters(), 0.1)
        step, rng = replay.step(model, cross_entropy, optimizer), np.random.default_rng(0)
        step(*classes(6, 1, 8, 8)(rng))
        assert all(b.array is None for b in step.first.buffers if b.role == "own")
        for _ in range(2):
            step(*classes(6, 1, 8, 8)(rng))
        mine = len(alive(Leaf)) - leaves
        assert (len(alive(Step)), mine, len(LOANS)) == (steps, len(model.parameters()), loans)
        assert not [x for x in gc.get_objects() if type(x) is Traced]
        assert all(p.data.flags.writeable for p in model.parameters())
        assert all(p.grad is not None for p in model.parameters())
    finally:
        gc.enable()


def test_a_traced_array_is_harmless_afterwards():
    def keeping(m, x):
        m.last = m.a(x)
        return m.last

    model = Net(keeping, a=linear())
    step = replay.step(model, cross_entropy, SGD(model.parameters(), 0.1))
    step(X[0], Y[0])
    kept = model.last.data
    assert type(kept + 1) is np.ndarray and type(kept[0]) is np.ndarray
    assert float(kept.sum()) == pytest.approx(float(np.asarray(kept).sum()))


# ---- The meter


def test_a_profile_counts_what_is_done():
    model = MLP(8, [16, 4], rng=1)
    optimizer = Adam(model.parameters())
    step, rng = replay.step(model, cross_entropy, optimizer), np.random.default_rng(0)
    with pytest.raises(ReplayError, match="recorded"):
        meter.profile(step)
    for _ in range(3):
        step(*classes(32, 8, count=4)(rng))
    before, state = optimizer.flat.data.copy(), optimizer.state_dict()
    found = {(row.op, row.way): row for row in meter.profile(step, repeat=3).rows}
    assert np.array_equal(optimizer.flat.data, before)
    assert all(np.array_equal(state[name], now) for name, now in optimizer.state_dict().items())
    forward = found["matmul", "forward"]
    assert forward.calls == 2 and forward.flops == 2 * 32 * (8 * 16 + 16 * 4)
    assert forward.bytes == 4 * (32 * 8 + 8 * 16 + 32 * 16 + 32 * 16 + 16 * 4 + 32 * 4)
    assert found["matmul", "backward"].flops == 2 * 32 * (8 * 16 + 2 * 16 * 4)
    assert found["add", "forward"].bytes == 4 * (2 * 32 * 16 + 16 + 2 * 32 * 4 + 4)
    update = found["Adam", "update"]
    assert (
        update.flops
        == 10 * optimizer.flat.data.size
        == 10 * update.calls * update.flops // (10 * update.calls)
    )
    assert sum(row.calls for row in found.values()) == len(step.program.calls) + update.calls


def test_a_view_knows_its_bytes():
    eight = np.dtype(np.float64)
    assert View(0, 24, (4,), (-8,), eight).span == (0, 32)
    assert View(0, 8, (3, 2), (32, 8), eight).span == (8, 88)
    assert meter.touched(View(0, 0, (4, 4), (0, 8), eight)) == 32  # repeated by broadcasting


def test_a_profile_is_a_table():
    model = MLP(2, [3, 1], rng=1)
    step = replay.step(model, mse, SGD(model.parameters(), 0.1))
    for _ in range(2):
        step(*regression(np.random.default_rng(0)))
    profile = meter.profile(step, repeat=2)
    lines = repr(profile).splitlines()
    assert lines[0].split() == list(profile.HEAD) and len({len(line) for line in lines}) == 1
    assert [row.seconds for row in profile.rows] == sorted(
        (row.seconds for row in profile.rows), reverse=True
    )
    assert lines[-1].startswith("all") and "100%" in lines[-1]
    assert profile._repr_html_().count("<tr>") == len(lines)


def test_rates_are_positive():
    assert meter.bandwidth(1 << 16) > 0 and meter.gemm_rate(16) > 0


def test_gradients_of_another_loss_are_forgotten_as_the_code_would():
    def make():
        rng = np.random.default_rng(3)
        return Net(
            None, body=Linear(4, 5, rng=rng), a=Linear(5, 3, rng=rng), b=Linear(5, 3, rng=rng)
        )

    ours, theirs = make(), make()
    one, two = SGD(ours.parameters(), 0.1, 0.9), SGD(theirs.parameters(), 0.1, 0.9)
    steps = [
        replay.step(lambda x, head=h: head(ours.body(x).relu()), cross_entropy, one)
        for h in (ours.a, ours.b)
    ]
    rng = np.random.default_rng(5)
    for k in range(12):
        x, y = rng.standard_normal((6, 4), np.float32), rng.integers(0, 3, 6)
        head = (theirs.a, theirs.b)[k % 2]
        eager(lambda x, head=head: head(theirs.body(x).relu()), cross_entropy, two, x, y)
        steps[k % 2](x, y)
        np.testing.assert_allclose(one.flat.data, two.flat.data, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "f",
    [
        lambda h: np.clip(h, -1.0, 1.0, h),
        lambda h: np.nan_to_num(h, copy=False),
        lambda h: np.trim_zeros(h[0]),
        lambda h: np.split(h[0], np.argmax(h[0])[None])[0],
        lambda h: np.modf(h)[0],
    ],
    ids=["clip", "nan_to_num", "trim_zeros", "split", "modf"],
)
def test_what_only_looks_like_a_view_is_refused(f):
    h = Recording()
    x = h.buffer("fed", np.array([[0.0, 3.0, -2.0, 0.0]], np.float32))
    with pytest.raises(ReplayError, match="which is not recorded"):
        h.listen(lambda: f(x * 1.0))


def test_a_batch_that_differs_is_waited_for():
    rng = np.random.default_rng(2)
    model = MLP(4, [5, 3], rng=rng)
    step = replay.step(
        model,
        lambda p, y: cross_entropy(p, y) * float(np.array(y).max()),
        SGD(model.parameters(), 0.1),
    )
    x, y = rng.standard_normal((3, 4), np.float32), np.array([0, 1, 1])
    for _ in range(4):
        step(x, y)
    assert step.program and step.first, "proved on one batch only"
    with pytest.raises(ReplayError, match=r"did not ask for the same|gives other numbers"):
        step(x, np.array([0, 1, 2]))


def test_a_batch_on_which_the_code_fails_is_not_the_measure_of_the_next():
    model = MLP(4, [5, 3], rng=np.random.default_rng(2))
    step = replay.step(model, cross_entropy, SGD(model.parameters(), 0.1))
    with pytest.raises(ValueError, match="matmul"):
        step(np.zeros((3, 9), np.float32), np.array([0, 1, 1]))
    assert step(np.ones((3, 4), np.float32), np.array([0, 1, 1])) > 0


def test_a_refusal_leaves_the_generators_where_they_were():
    model = Net(
        lambda m, x: m.drop(m.a(x)), a=linear(), drop=Dropout(0.5, rng=np.random.default_rng(1))
    )

    def loss(scores, labels):
        return cross_entropy(scores, labels) if labels[-1] < 2 else (scores * scores).sum()

    step = replay.step(model, loss, SGD(model.parameters(), 0.1))
    step(X[0], Y[0] * 0)
    step(X[1], Y[0] * 0)
    before = model.drop.rng.bit_generator.state
    with pytest.raises(ReplayError, match="another road"):
        step(X[0], Y[0] * 0 + 2)
    assert model.drop.rng.bit_generator.state == before


def test_float64_numbers_are_recorded_too():
    model = Net(lambda m, x: m.a(x * (1.0 / np.sum(np.abs(x)))), a=linear())
    step = replay.step(model, cross_entropy, SGD(model.parameters(), 0.1))
    for k in range(4):
        step(X[k % 2].astype(np.float64), Y[0])
    assert step.program


def test_a_profile_leaves_gradients_and_counts_what_is_asked_of_no_ufunc():
    model = Net(lambda m, x: m.a(x * np.mean(x, axis=0)), a=linear())
    step = replay.step(model, cross_entropy, SGD(model.parameters(), 0.1))
    for k in range(3):
        step(X[k % 2], Y[0])
    before = step.optimizer.flat.grad.copy()
    rows = {(row.op, row.way): row for row in meter.profile(step, 3).rows}
    assert np.array_equal(step.optimizer.flat.grad, before)
    assert all(row.bytes > 0 for row in rows.values())
