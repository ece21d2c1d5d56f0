"""What grading promises: only an answer earns points, and what was given is always put back."""

import json

import pytest
from toy import RIGHT, answered, grad, make, named, released, run

from grad.course import exercise

pytest.importorskip("nbval", reason="nbval is not installed: exercises were not graded")
pytestmark = pytest.mark.slow

LIMIT = 4  # seconds for one cell
HARD_CODED = {
    "double": "def double(x):\n    return {0: 0, 3: 6}[x]",
    "area": "area = lambda r: 3.0",
}
ENDLESS = "def double(x):\n    while True:\n        pass"
STUBBORN = """\
def double(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass"""
SHADOW = """\
class checking:
    def __init__(self, *_, **__): pass
    def __enter__(self): return self
    def __exit__(self, *_): return True
    def __getattr__(self, name): return lambda *_, **__: None"""


def checks(book):
    return [cell for cell in book["cells"] if exercise.is_check(cell)]


def edited(book):
    for check in checks(book):
        check["source"] = "print('right')"


def deleted(book):
    book["cells"] = [cell for cell in book["cells"] if not exercise.is_check(cell)]


def tagged(book):
    for check in checks(book):
        check["metadata"]["tags"] = ["nbval-skip"]


def renamed(book):
    for check in checks(book):
        exercise.mark(check)["grade_id"] += "-mine"


def dearer(book):
    for check in checks(book):
        exercise.mark(check)["points"] = 100


def shadowed(book):
    for check in checks(book):
        check["source"] = check["source"].partition("\n")[2]
    named(book, "setup")["source"] += f"\n{SHADOW}"
    own = {"cell_type": "code", "metadata": {}, "source": SHADOW, "outputs": []}
    book["cells"].insert(-1, own)


def without_setup(book):
    book["cells"].remove(named(book, "setup"))


NOTEBOOKS = {  # chapter -> what was done to its notebook, and the answers in it
    "01_unsolved": (None, {}),
    "02_solved": (None, RIGHT),
    "03_edited": (edited, {}),
    "04_deleted": (deleted, {}),
    "05_tagged": (tagged, {}),
    "06_renamed": (renamed, {}),
    "07_dearer": (dearer, {}),
    "08_shadowed": (shadowed, {}),
    "09_hardcoded": (None, HARD_CODED),
    "10_endless": (None, {**RIGHT, "double": ENDLESS}),
    "11_stubborn": (None, {**RIGHT, "double": STUBBORN}),
    "12_broken": (None, {}),
    "13_missing": (None, {}),
    "14_nosetup": (without_setup, RIGHT),
    "15_stopped": (None, {**RIGHT, "double": "def double(x) return x"}),
    "16_exit": (None, {**RIGHT, "double": "import os\n\ndef double(x):\n    os._exit(0)"}),
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """One run over all the notebooks: (chapter, exercise) -> its row; what was said; the status."""
    root = make(tmp_path_factory.mktemp("course"), *NOTEBOOKS)
    for chapter, (spoil, answers) in NOTEBOOKS.items():
        book = answered(answers)
        if spoil:
            spoil(book)
        exercise.write(root / "exercises" / chapter / f"{chapter}.ipynb", book)
    broken = root / "exercises/12_broken/12_broken.ipynb"
    broken.write_text(broken.read_text("utf-8")[:-40], "utf-8")
    (root / "exercises/13_missing/13_missing.ipynb").unlink()
    done = grad(root, "grade", "--json", root / "grades.json", "--timeout", LIMIT)
    result = json.loads((root / "grades.json").read_text("utf-8"))
    rows = {(row["chapter"], row["exercise"]): row for row in result["exercises"]}
    return rows, done.stdout, done.returncode


def earned(graded, chapter):
    return [row["earned"] for (name, _), row in graded[0].items() if name == chapter]


def row(graded, chapter, name="double"):
    return graded[0][chapter, name]


def test_every_notebook_is_in_the_table(graded):
    assert {chapter for chapter, _ in graded[0]} == set(NOTEBOOKS)
    assert sum(row["points"] for row in graded[0].values()) == 5 * len(NOTEBOOKS)


def test_the_table_ends_with_the_total_and_holds_nothing_else(graded):
    rows, said, status = graded
    lines = said.splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[-1] == f"total {sum(r['earned'] for r in rows.values())} / {5 * len(NOTEBOOKS)}"
    assert status == 1


def test_the_stub_is_not_yet(graded):
    assert earned(graded, "01_unsolved") == [0, 0]
    assert row(graded, "01_unsolved")["why"].startswith("not yet. ")


def test_right_answers_earn_full_marks(graded):
    assert earned(graded, "02_solved") == [2, 3]
    assert row(graded, "02_solved")["why"] == ""


@pytest.mark.parametrize(
    ("chapter", "how"),
    [
        ("03_edited", "edited"),
        ("04_deleted", "deleted"),
        ("05_tagged", "tagged"),
        ("06_renamed", "renamed"),
        ("07_dearer", "marked anew"),
        ("08_shadowed", "edited"),
    ],
)
def test_a_spoiled_check_is_put_back_and_earns_nothing(graded, chapter, how):
    assert earned(graded, chapter) == [0, 0]
    assert f"its check was {how} and is put back" in row(graded, chapter, "area")["note"]
    assert "not yet" in row(graded, chapter)["why"]


def test_hidden_tests_see_through_a_hard_coded_answer(graded):
    assert earned(graded, "09_hardcoded") == [0, 0]
    assert row(graded, "09_hardcoded")["why"].startswith("wrong. double(")


@pytest.mark.parametrize("chapter", ["10_endless", "11_stubborn"])
def test_an_endless_loop_is_cut_off(graded, chapter):
    assert row(graded, chapter)["earned"] == 0
    assert row(graded, chapter)["why"] == f"cut off after {LIMIT} s"


def test_the_exercises_after_an_endless_loop_are_still_graded(graded):
    assert row(graded, "10_endless", "area")["earned"] == 3


def test_a_kernel_that_died_earns_nothing(graded):
    assert earned(graded, "16_exit") == [0, 0]
    assert row(graded, "16_exit", "area")["why"] == "the kernel died"


def test_a_file_that_is_no_notebook_gets_one_line(graded):
    assert row(graded, "12_broken", "all 2")["earned"] == 0
    assert "12_broken.ipynb is not valid JSON" in row(graded, "12_broken", "all 2")["why"]


def test_a_missing_notebook_gets_one_line(graded):
    assert row(graded, "13_missing", "all 2")["earned"] == 0
    assert "grad reset 13_missing" in row(graded, "13_missing", "all 2")["why"]


def test_a_deleted_setup_cell_is_put_back(graded):
    assert earned(graded, "14_nosetup") == [2, 3]
    assert "its setup cell was deleted" in row(graded, "14_nosetup")["note"]


def test_an_answer_that_stops_is_named(graded):
    assert earned(graded, "15_stopped") == [0, 3]
    assert "the cell double stops: SyntaxError" in row(graded, "15_stopped")["why"]


def test_run_all_goes_through_an_unsolved_notebook_and_shows_verdicts_alone(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    book = answered({"area": "def area(radius):\n    return radius / 0"})
    book = nbformat.reads(exercise.text(book), 4)
    NotebookClient(book, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = {cell.id: cell.outputs for cell in book.cells if cell.get("outputs")}
    assert [output.output_type for outputs in said.values() for output in outputs] == ["error"] * 2
    first, second = (outputs[0].traceback for outputs in said.values())
    assert first == ["double: not yet. `double` still raises NotImplementedError."]
    assert second[0].splitlines() == [
        "area: wrong. area(2.0)",
        "  ZeroDivisionError: float division by zero",
        "  line 2 of your cell: return radius / 0",
    ]


@pytest.mark.parametrize("word", ["2", "02", "solved", "02_solved"])
def test_a_chapter_has_four_names(tmp_path, monkeypatch, word):
    monkeypatch.chdir(make(tmp_path, "01_unsolved", "02_solved"))
    assert exercise.chapters([word]) == ["02_solved"]


def test_full_marks_exit_0_and_plain_pytest_agrees(tmp_path):
    root = make(tmp_path, "01_toy", "02_toy", "03_gone")
    exercise.write(root / "exercises/01_toy/01_toy.ipynb", answered(RIGHT))
    own = {"cell_type": "code", "metadata": {}, "source": "1 / 0", "outputs": []}
    scratch = {**released(), "cells": [own]}
    exercise.write(root / "exercises/01_toy/scratch.ipynb", scratch)
    done = grad(root, "grade", "1")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "total 5 / 5"

    (root / "exercises/01_toy/scratch.ipynb").unlink()
    (root / "exercises/03_gone/03_gone.ipynb").unlink()
    done = run(root, "pytest", "--nbval-lax", "exercises")
    failed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")}
    at, gone = "exercises/02_toy/02_toy.ipynb::", "::exercises/03_gone/03_gone.ipynb"
    assert failed == {f"{at}double-check", f"{at}area-check", gone}, done.stdout
    assert "total 5 / 15" in done.stdout
    assert "HIDDEN" not in done.stdout and "random" not in done.stdout


def test_grading_in_several_processes_is_refused(tmp_path):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed: -n was not refused")
    root = make(tmp_path, "01_toy")
    done = run(root, "pytest", "-n", 2, "--nbval-lax", "exercises")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "leave out -n" in done.stdout


def test_the_plugin_is_silent_without_nbval(tmp_path):
    root = make(tmp_path, "01_toy")
    (root / "test_one.py").write_text("def test_one(): pass\n", "utf-8")
    done = run(root, "pytest", "-p", "no:nbval", "-q")
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
    code = "import sys, grad.course.grading; print({'nbval', 'nbformat'} & set(sys.modules))"
    assert run(root, "timeit", "-n1", "-r1", code).stdout.startswith("set()")


def test_grading_without_nbval_says_what_to_install(tmp_path, monkeypatch, capsys):
    from grad.course import cli, grade

    monkeypatch.chdir(make(tmp_path, "01_toy"))
    monkeypatch.setattr(grade, "find_spec", lambda name: None)
    assert cli.main(["grade"]) == 2
    assert 'needs nbval. pip install -e ".[course]"' in capsys.readouterr().err
