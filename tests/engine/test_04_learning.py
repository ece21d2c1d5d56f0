"""What chapter 4 promises: networks, the optimizer, data, and code written for micrograd."""

import math
import random
import subprocess
import sys
import textwrap
import warnings

import pytest

import grad
from grad.data import moons, scaler, split, table
from grad.nn import MLP, Layer, Neuron
from grad.node import ancestors
from grad.optim import SGD
from grad.value import Value


def test_a_neuron_is_one_node():
    neuron = Neuron(3)
    out = neuron([1.0, 2.0, 3.0])
    assert out.op == "relu_affine" and len(ancestors(out)) == 1 + 1 + 3 + 3


def test_neuron_values_and_slopes():
    neuron = Neuron(2, nonlin=False)
    neuron.w[0].data, neuron.w[1].data, neuron.b.data = 2.0, -1.0, 0.5
    x = [Value(3.0), Value(4.0)]
    out = neuron(x)
    out.backward()
    assert out.data == 2.5
    assert [p.grad for p in (*neuron.parameters(), *x)] == [3.0, 4.0, 1.0, 2.0, -1.0]


def test_the_wrong_number_of_inputs_is_refused():
    with pytest.raises(ValueError, match="a neuron with 2 weights was given 3 inputs"):
        MLP(2, [3, 1])([1.0, 2.0, 3.0])


def test_a_layer_makes_one_leaf_of_a_number_for_all_its_neurons():
    out = Layer(2, 3)([1.0, 2.0])
    leaves = {node for one in out for node in ancestors(one) if not node.parents}
    assert len(leaves) == 3 * 3 + 2


def test_a_layer_of_one_neuron_may_stand_in_the_middle():
    assert type(MLP(2, [1, 1])([1.0, 2.0])) is Value


def test_a_weight_moved_by_a_numpy_step_still_computes():
    np = pytest.importorskip("numpy")
    p = Value(1.0)
    p.data -= np.float64(0.5)
    assert p.exp().data == pytest.approx(math.exp(0.5)) and type(p.exp().data) is float


def test_parameters_are_leaves_each_listed_once():
    model = MLP(2, [16, 16, 1])
    params = model.parameters()
    assert len(params) == len(set(params)) == 3 * 16 + 17 * 16 + 17
    assert not any(p.parents for p in params)
    assert isinstance(Layer(2, 1)([1.0, 2.0]), Value) and len(Layer(2, 3)([1.0, 2.0])) == 3
    assert repr(MLP(1, [1])) == "MLP of [Layer of [LinearNeuron(1)]]"


def test_zero_grad_reaches_every_parameter():
    model = MLP(2, [3, 1])
    model([1.0, 2.0]).backward()
    assert any(p.grad for p in model.parameters())
    model.zero_grad()
    assert not any(p.grad for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lr": -0.1}, "lr must be a finite number >= 0, not -0.1"),
        ({"lr": math.inf}, "lr must be a finite number"),
        ({"lr": math.nan}, "lr must be a finite number"),
        ({"lr": 0.1, "momentum": -1.0}, "momentum must be a finite number >= 0"),
        ({"lr": 0.1, "momentum": math.nan}, "momentum must be a finite number"),
    ],
)
def test_bad_hyperparameters_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        SGD([Value(1.0)], **arguments)


def test_no_parameters_and_duplicates_are_refused():
    p = Value(1.0)
    with pytest.raises(ValueError, match="no parameters"):
        SGD([], lr=0.1)
    with pytest.raises(ValueError, match="moves leaves"):
        SGD([p * 2.0], lr=0.1)
    with pytest.raises(ValueError, match="same parameter twice"):
        SGD([p, Value(1.0), p], lr=0.1)
    SGD(iter([p]), lr=0.1)


def test_a_step_follows_momentum():
    p = Value(1.0)
    optimizer = SGD([p], lr=0.1, momentum=0.5)
    for expected in (0.8, 0.5, 0.15):
        optimizer.zero_grad()
        (p * 2.0).backward()
        optimizer.step()
        assert p.data == pytest.approx(expected)


def test_sgd_agrees_with_torch():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    ours = [Value(0.3), Value(-1.2)]
    theirs = [torch.tensor(p.data, dtype=torch.float64, requires_grad=True) for p in ours]
    optimizers = SGD(ours, lr=0.05, momentum=0.9), torch.optim.SGD(theirs, lr=0.05, momentum=0.9)
    for _ in range(20):
        for (a, b), optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            ((a * b - 1.0) ** 2 + a.tanh()).backward()
            optimizer.step()
    assert [p.data for p in ours] == pytest.approx([p.item() for p in theirs], rel=1e-12)


def step(p, optimizer, *, zero):
    if zero:
        optimizer.zero_grad()
    (p * p).backward()
    optimizer.step()


def test_a_forgotten_zero_grad_is_warned_about_at_the_callers_line():
    p = Value(1.0)
    optimizer = SGD([p], lr=0.1)
    step(p, optimizer, zero=False)
    with pytest.warns(UserWarning, match=r"call zero_grad\(\) before backward") as caught:
        step(p, optimizer, zero=False)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="earlier step"):
        optimizer.step()


def test_scaling_a_gradient_does_not_hide_that_it_was_used():
    p = Value(1.0)
    optimizer = SGD([p], lr=0.1)
    step(p, optimizer, zero=False)
    (p * p).backward()
    p.grad *= 0.5
    with pytest.warns(UserWarning, match="earlier step"):
        optimizer.step()
    assert type(p.data) is float


@pytest.mark.parametrize("reset", ["optimizer", "module", "by hand"])
def test_no_warning_where_gradients_are_reset(reset):
    model = Neuron(1, nonlin=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            if reset == "by hand":
                for p in model.parameters():
                    p.grad = 0.0
            else:
                {"optimizer": optimizer, "module": model}[reset].zero_grad()
            model([2.0]).backward()
            model([1.0]).backward()  # accumulating on purpose is no mistake
            optimizer.step()
            assert sum(p.grad + p.grad for p in model.parameters()) > 0.0


def test_moons_are_reproducible_and_balanced():
    points, labels = moons(100, seed=3)
    assert (points, labels) == moons(100, seed=3) and points != moons(100, seed=4)[0]
    assert sum(labels) == 0 and all(len(point) == 2 for point in points)


def test_tables_are_read_without_importing_what_they_come_with():
    code = """
import sys
from grad.data import table
print(len(table("iris")[0]), "numpy" in sys.modules or "sklearn" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["150", "False"]


def test_tables_agree_with_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    for name in ("iris", "breast_cancer"):
        theirs = getattr(datasets, f"load_{name}")()
        rows, labels = table(name)
        assert rows == theirs.data.tolist() and labels == theirs.target.tolist()


def test_a_missing_table_says_what_to_install(monkeypatch):
    monkeypatch.setattr("grad.data.PathFinder.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        table("iris")


def test_split_loses_nothing_and_scaler_uses_only_what_it_was_given():
    rows, labels = [[float(i)] for i in range(20)], list(range(20))
    train, y, held, z = split(rows, labels, held_out=0.25, seed=1)
    assert sorted(train + held) == rows and sorted(y + z) == labels and len(held) == 5
    assert all(row == [float(label)] for row, label in zip(train + held, y + z, strict=True))
    scale = scaler([[1.0], [3.0]])
    assert scale([[1.0], [3.0], [7.0]]) == [[-1.0], [1.0], [5.0]]
    assert scaler([[0.1]] * 10)([[0.1], [1.1]]) == [[pytest.approx(0.0)], [pytest.approx(1.0)]]


@pytest.mark.parametrize(
    ("rows", "labels", "held_out", "words"),
    [
        ([[1.0]], [1, 2], 0.25, "1 rows and 2 labels"),
        ([[1.0]], [1], 25, "between 0 and 1, not 25"),
        ([[1.0]], [1], 0.0, "between 0 and 1, not 0.0"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(rows, labels, held_out, words):
    with pytest.raises(ValueError, match=words):
        split(rows, labels, held_out)


def test_a_network_learns_two_moons():
    random.seed(0)
    points, labels = moons(60, seed=0)
    model = MLP(2, [8, 1])
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(80):
        optimizer.zero_grad()
        margins = [model(x) * y for x, y in zip(points, labels, strict=True)]
        loss = sum((1.0 - m).relu() for m in margins) * (1.0 / len(points))
        loss.backward()
        optimizer.step()
    right = sum(m.data > 0 for m in margins) / len(margins)
    assert right >= 0.95, f"did not converge: {right:.2f} of the points are right"


# Code written for micrograd --------------------------------------------------------------------

DEMO = """
    import random
    {imports}

    random.seed(1337)
    X = [[0.9, 0.1], [-0.4, 0.6], [1.2, -0.5], [0.3, 0.4], [-1.0, 0.0], [0.5, -0.4]]
    y = [-1, -1, 1, 1, -1, 1]
    model = MLP(2, [16, 16, 1])
    print(len(model.parameters()))

    def loss():
        inputs = [list(map(Value, row)) for row in X]
        scores = list(map(model, inputs))
        losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(y, scores)]
        data_loss = sum(losses) * (1.0 / len(losses))
        reg_loss = 1e-4 * sum((p * p for p in model.parameters()))
        return data_loss + reg_loss

    for k in range(10):
        total = loss()
        model.zero_grad()
        total.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.9 * k / 100) * 0.1 * p.grad
        print(f"{{total.data:.9f}}")

    a, b = Value(-4.0), Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    g.backward()
    print(f"{{g.data:.4f}} {{a.grad:.4f}} {{b.grad:.4f}}")
"""


def run_demo(imports):
    code = textwrap.dedent(DEMO).format(imports=imports)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_code_written_for_micrograd_runs_with_the_import_changed():
    ours = run_demo("from grad import Value\nfrom grad.nn import MLP")
    assert ours.split()[0] == "337" and ours.split()[-3:] == ["24.7041", "138.8338", "645.5773"]


def test_and_gives_the_same_numbers_as_micrograd():
    pytest.importorskip("micrograd", reason="micrograd is not installed")
    theirs = run_demo("from micrograd.engine import Value\nfrom micrograd.nn import MLP")
    assert run_demo("from grad import Value\nfrom grad.nn import MLP") == theirs


# The package as a whole ------------------------------------------------------------------------


def test_part_one_imports_no_numpy():
    modules = "node backend primitive ops check order value nn optim data draw"
    code = f"""
import sys
import grad
assert not [m for m in sys.modules if m.startswith("grad.")], "import grad loads more than itself"
for name in {modules.split()!r}:
    getattr(grad, name)
print("numpy" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Tenser'"):
        grad.Tenser  # noqa: B018
