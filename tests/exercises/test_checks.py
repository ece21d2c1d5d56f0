"""What a check says: not yet, wrong or right, and never right by accident."""

import linecache
import math

import numpy as np
import pytest

from grad.course.checks import NotYet, Wrong, checking
from grad.course.compare import difference, shown, size


def judge(answer, check):
    """Run an answer cell and a check cell as a notebook would."""
    lines = "\n".join(f"    {line}" for line in check.splitlines())
    head = "from grad.course.checks import checking\n\nwith checking('f', points=2) as check:\n"
    notebook = {"__name__": "__main__"}
    for name, source in (("<answer>", answer), ("<check>", head + lines)):
        linecache.cache[name] = len(source), None, source.splitlines(True), name
        exec(compile(source, name, "exec"), notebook)


EQUAL = "check.equal(lambda: f(1), [1, 2], 'f of one')"
STUB = "def f(x):\n    # YOUR CODE\n    raise NotImplementedError()"


def wrong(answer, check=EQUAL):
    with pytest.raises(Wrong) as caught:
        judge(answer, check)
    return str(caught.value)


def not_yet(answer, check=EQUAL):
    with pytest.raises(NotYet) as caught:
        judge(answer, check)
    return str(caught.value)


def test_right_is_one_line_and_its_scores(capsys):
    judge("def f(x):\n    return [1, 2]", f"{EQUAL}\ncheck.within('nodes', 12, budget=14)")
    assert capsys.readouterr().out == "f: right, 2 points\n  nodes: 12 of at most 14\n"


def test_wrong_shows_yours_the_expected_and_where_they_part():
    assert wrong("def f(x):\n    return [1, 5]").splitlines() == [
        "f: wrong. f of one",
        "  yours:    [1, 5]",
        "  expected: [1, 2]",
        "  at [1]: off by 3",
    ]


@pytest.mark.parametrize(
    "check",
    [
        EQUAL,
        "check.close(lambda: f(1), 1.0, 'f')",
        "check.holds(lambda: f(1), 'f')",
        "check.same_on([1, 2], f, abs)",
        "check.raises(RuntimeError, lambda: f(1), 'f')",
        "check.raises(Exception, lambda: f(1), 'f')",
        "check.within('calls', f(1), budget=2)",
        "value = f(1)",
    ],
)
@pytest.mark.parametrize("answer", [STUB, ""], ids=["stub", "not run"])
def test_no_answer_is_not_yet(answer, check):
    assert not_yet(answer, check).startswith("f: not yet. ")


def test_not_yet_names_the_function_that_has_no_answer():
    assert not_yet(STUB) == "f: not yet. `f` still raises NotImplementedError."
    elsewhere = "def f(x):\n    return g(x)\n\ndef g(x):\n    raise NotImplementedError()"
    assert "`g` still raises" in not_yet(elsewhere)


def test_returning_nothing_is_not_yet_until_something_passed():
    assert "nothing was returned" in not_yet("def f(x):\n    pass")
    later = "check.equal(lambda: f(0), 1, 'f(0)')\ncheck.equal(lambda: f(1), 1, 'f(1)')"
    assert "yours:    None" in wrong("def f(x):\n    return 1 if x == 0 else None", later)


@pytest.mark.parametrize("check", ["pass", "check.within('nodes', 1, budget=2)"])
def test_a_check_that_compares_nothing_is_an_error(check):
    with pytest.raises(RuntimeError, match="compared nothing"):
        judge("", check)


def test_same_on_nothing_is_an_error():
    with pytest.raises(RuntimeError, match="compared nothing"):
        judge("", "check.same_on([], abs, abs)")


def test_an_exception_is_wrong_with_the_line_it_came_from():
    answer = "def f(x):\n    return help(x)\n\ndef help(x):\n    return [][x]"
    assert wrong(answer).splitlines() == [
        "f: wrong. f of one",
        "  IndexError: list index out of range",
        "  line 5 of your cell: return [][x]",
    ]


def test_an_exception_inside_a_library_names_the_learners_line():
    assert "line 3 of your cell: return json.loads" in wrong(
        "import json\ndef f(x):\n    return json.loads('nonsense')"
    )


def test_a_wrong_signature_is_shown_where_the_check_asks():
    said = wrong("def f():\n    return [1, 2]")
    assert "f() takes 0 positional arguments" in said and "where the check asks" in said


def test_an_exception_outside_a_lambda_is_wrong_too():
    assert "AttributeError" in wrong("def f(x):\n    return 1", "f(1).data")


def test_same_on_reports_the_smallest_input():
    said = wrong("def f(x):\n    return x if x < 4 else 0", "check.same_on([9, 5, 1, 7], f, abs)")
    assert said.startswith("f: wrong. f(5)\n")


def test_same_on_keeps_the_two_sides_apart():
    emptied = "lambda given: [given.pop() for _ in given[:]][::-1]"
    judge("", f"check.same_on([[2, 1]], list, {emptied})")
    judge("def f(x):\n    x.sort()\n    return x", "check.same_on([[2, 1]], f, sorted)")
    said = wrong("def f(x):\n    x.clear()\n    return x", "check.same_on([[2, 1]], f, sorted)")
    assert "f([2, 1])" in said and "expected: [1, 2]" in said


def test_same_on_spreads_a_tuple():
    judge("def f(x, y):\n    return x + y", "check.same_on([(1, 2), (3, 4)], f, int.__add__)")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("return x", "ValueError is due, and -1 was returned"),
        ("raise ValueError('too low')", "does not mention 'rate'"),
        ("raise KeyError('rate')", "KeyError: 'rate'"),
    ],
)
def test_raises_wants_this_exception_and_these_words(answer, said):
    check = "check.raises(ValueError, lambda: f(-1), 'a negative rate', match='rate')"
    assert said in wrong(f"def f(x):\n    {answer}", check)
    judge("def f(x):\n    raise ValueError('rate must not be negative')", check)


@pytest.mark.parametrize("used", ["15", "float('nan')", "None", "'3'"])
def test_a_score_over_the_budget_is_wrong(used):
    assert "at most: 14" in wrong("", f"check.within('nodes', {used}, budget=14)")


@pytest.mark.parametrize("value", ["1", "[1]", "False", "'yes'", "float('nan')"])
def test_holds_wants_true_itself(value):
    assert "This does not hold: f" in wrong("", f"check.holds(lambda: {value}, 'f')")
    judge("import numpy as np", "check.holds(lambda: np.True_, 'f')")


def test_a_warning_does_not_reach_stderr(capsys):
    judge("import sys\ndef f(x):\n    print('mind', file=sys.stderr)\n    return [1, 2]", EQUAL)
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out == "mind\nf: right, 2 points\n"


def test_ipython_shows_a_verdict_without_a_traceback():
    verdict = Wrong("f: wrong. this")
    assert verdict._render_traceback_() == ["f: wrong. this"]


def test_checking_lets_an_interrupt_through():
    with pytest.raises(KeyboardInterrupt), checking("f", points=1):
        raise KeyboardInterrupt


class Box:
    """A value with data, equal to itself alone."""

    def __init__(self, data):
        self.data = data

    def __repr__(self):
        return f"Box({self.data})"


class Mute:
    def __repr__(self):
        raise ValueError


NAN = math.nan
ALIKE = [
    (1, 1.0),
    (NAN, NAN),
    (math.inf, math.inf),
    (np.float32(2), 2),
    (np.array(2.0), 2.0),
    ([1, (2, {"a": {3}})], [1, (2, {"a": {3}})]),
    (np.arange(3), np.arange(3.0)),
    (np.bool_(True), True),
    ("a", "a"),
    (None, None),
]
APART = [
    (1, 2, "off by 1"),
    (NAN, 1.0, "not a number"),
    (1.0, NAN, "off by nan"),
    (True, 1, "a bool where a number is due"),
    (1, True, "a number where a bool is due"),
    ("1", 1, "a str where a number is due"),
    (None, 1, "nothing where a number is due"),
    ((1, 2), [1, 2], "a tuple where a list is due"),
    # Its repr is an address, and two processes must give a test the same name.
    pytest.param((x for x in [1]), [1], "a generator where a list is due", id="generator"),
    (range(2), [0, 1], "a range where a list is due"),
    ([1], [1, 2], "length 1 where 2 is due"),
    ([[1], [2]], [[1], [3]], "at [1][0]: off by 1"),
    ({"a": 1}, {"b": 1}, "keys ['a'] where ['b'] are due"),
    ({"a": 1}, {"a": 2}, "at ['a']: off by 1"),
    ([1.0, 2.0], np.array([1.0, 2.0]), "a list where a ndarray is due"),
    (np.ones(2), np.ones((2, 1)), "shape (2,) where (2, 1) is due"),
    (np.array([1.0, NAN]), np.ones(2), "at [1]: not a number"),
    (Box(1), Box(1), "they are not equal"),
    (Box(1), 1, "a Box where a number is due"),
    (["a"], ["b"], "at [0]: 'a' where 'b' is due"),
    (len, print, "they are not equal"),
]


@pytest.mark.parametrize(("yours", "expected"), ALIKE, ids=repr)
def test_alike(yours, expected):
    assert difference(yours, expected) == ""


@pytest.mark.parametrize(("yours", "expected", "words"), APART, ids=repr)
def test_apart(yours, expected, words):
    assert difference(yours, expected) == words


def test_close_allows_for_rounding_and_no_more():
    assert difference(0.1 + 0.2, 0.3) and not difference(0.1 + 0.2, 0.3, 1e-9)
    assert difference([1.0, 2.001], [1.0, 2.0], 1e-9) == "at [1]: off by 0.001"
    assert difference(1e-15, 0.0, 1e-9) == ""
    assert difference(Box(0.3), Box(0.1 + 0.2), 1e-9) == ""
    assert difference([Box(1.0)], [Box(2.0)], 1e-9) == "at [0].data: off by 1"


def test_shown_is_short_and_never_fails():
    assert shown(Box(1)) == "Box(1)"
    assert len(shown(list(range(999)))) < 200
    assert shown(Mute()) == "<a Mute whose repr raises ValueError>"


def test_size_counts_parts_before_magnitudes():
    assert sorted([[9, 9], [100], 7, [1, 2], -3, "abc"], key=size) == [
        -3,
        "abc",
        7,
        [100],
        [1, 2],
        [9, 9],
    ]
