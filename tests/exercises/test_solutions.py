"""The exercises of the course: every check put to the test, and the notebooks graded."""

import ast
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import harness
import pytest
from harness import ROOT
from toy import SETTINGS, grad, run

from grad.course import exercise, places

NOTEBOOKS = sorted(ROOT.glob("solutions/*/*.ipynb"))
EXERCISES = harness.exercises()
FACTS = re.compile(r"^[●]{1,5}[○]{0,4} · \d+ minutes? · (\d+) points? · about \d+ lines?$", re.M)
notebooks = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
exercises = pytest.mark.parametrize("asked", EXERCISES, ids=str)


@cache
def verdicts(notebook):
    """Exercise -> (what must be tried, the verdicts), for all exercises of a notebook at once."""
    table = harness.planted(notebook.stem)
    tried = {
        one.name: list(harness.cases(one, table.get(one.name, [])))
        for one in EXERCISES
        if one.notebook == notebook
    }
    flat = [(name, case) for name, cases in tried.items() for case in cases]
    heard = iter(harness.judge(notebook, flat))
    return {name: [(case, *next(heard)) for case in cases] for name, cases in tried.items()}


@exercises
def test_the_check_tells_right_from_wrong_and_from_not_yet(asked):
    bad = [
        f"{case.what}: {kind}, not {case.expect}\n{words}"
        for case, kind, words in verdicts(asked.notebook)[asked.name]
        if kind != case.expect
    ]
    assert not bad, "\n\n".join(bad)


@exercises
def test_three_wrong_answers_are_planted(asked):
    table = harness.planted(asked.notebook.stem)
    mistakes = [what for what, _ in table.get(asked.name, [])]
    assert len(mistakes) >= 3 and len(mistakes) == len(set(mistakes))


@notebooks
def test_planted_answers_have_an_exercise(notebook):
    assert (
        harness.planted(notebook.stem).keys() <= exercise.exercises(exercise.read(notebook)).keys()
    )


@notebooks
def test_every_cell_has_a_name_of_its_own(notebook):
    book = exercise.read(notebook)
    names = [exercise.grade_id(cell) for cell in book["cells"]]
    assert all(names) and len(names) == len(set(names))
    assert all(exercise.mark(cell)["schema_version"] == 3 for cell in book["cells"])
    assert all(exercise.is_answer(cell) or exercise.is_locked(cell) for cell in book["cells"])


@notebooks
def test_a_chapter_has_five_to_eight_exercises(notebook):
    assert 5 <= len(exercise.exercises(exercise.read(notebook))) <= 8


@exercises
def test_the_form_of_an_exercise(asked):
    book = exercise.read(asked.notebook)
    cells = {exercise.grade_id(cell): cell for cell in book["cells"]}
    answers = exercise.exercises(book)[asked.name]
    assert asked.name in answers
    for name in answers:
        assert "### BEGIN SOLUTION" in cells[name]["source"]
        assert all(
            isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom))
            for node in ast.parse(exercise.stub(cells[name]["source"])).body
        ), "an answer is a function or a class, so that a stub stops in the check"

    (points,) = FACTS.findall(cells[f"{asked.name}-text"]["source"])
    assert "<details>" in cells[f"{asked.name}-text"]["source"]
    check = cells[f"{asked.name}-check"]
    assert int(points) == asked.points == exercise.mark(check)["points"]
    assert f'with checking("{asked.name}", points={points}) as check:' in check["source"]
    assert "from grad.course.checks import checking" in check["source"].splitlines()
    assert check["metadata"]["tags"] == ["raises-exception"]
    assert "### BEGIN HIDDEN TESTS" in check["source"]
    for source in (check["source"], exercise.visible(check["source"])):
        assert not isinstance(ast.parse(source).body[-1], ast.Expr), "nbgrader takes it for a grade"


@notebooks
def test_the_stored_outputs_are_right(notebook):
    for cell in exercise.read(notebook)["cells"]:
        if exercise.is_check(cell):
            name, points = (
                exercise.grade_id(cell).removesuffix("-check"),
                exercise.mark(cell)["points"],
            )
            said = "".join(line for out in cell["outputs"] for line in out.get("text", []))
            assert f"{name}: right, {points} point" in said


def test_exercises_are_released():
    if not NOTEBOOKS:
        pytest.skip("there are no solutions yet")
    pytest.importorskip(
        "nbgrader", reason="nbgrader is not installed: the release was not compared"
    )
    done = grad(ROOT, "release", "--check")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
class TestEndToEnd:
    """All the notebooks, in kernels."""

    @pytest.fixture(autouse=True)
    def needed(self):
        if not NOTEBOOKS:
            pytest.skip("there are no solutions yet")
        pytest.importorskip("nbval", reason="nbval is not installed: no notebook was run")

    @pytest.fixture
    def course(self, tmp_path):
        """The course with its exercises blank."""
        for folder in ("chapters", "grad"):
            (tmp_path / folder).mkdir()
        (tmp_path / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
        shutil.copytree(ROOT / "solutions", tmp_path / "solutions")
        for path in NOTEBOOKS:
            blank = exercise.blank(exercise.read(path))
            exercise.write(tmp_path / "exercises" / path.stem / path.name, blank)
        return tmp_path

    def test_unsolved_fails_at_every_check_and_nowhere_else(self, course):
        done = run(course, "pytest", "--nbval-lax", "exercises", "-q", "--tb=no")
        lines = done.stdout.splitlines()
        failed = {line.split()[1] for line in lines if line.startswith(("FAILED", "ERROR"))}
        at = "exercises/{0}/{0}.ipynb::{1}-check"
        assert failed == {at.format(e.notebook.stem, e.name) for e in EXERCISES}, done.stdout
        assert f"total 0 / {sum(e.points for e in EXERCISES)}" in lines

    def test_solved_earns_full_marks(self, course):
        for path in NOTEBOOKS:
            full = exercise.fill(exercise.blank(exercise.read(path)), exercise.read(path))
            exercise.write(course / "exercises" / path.stem / path.name, full)
        done = grad(course, "grade", "--timeout", 60)
        points = sum(e.points for e in EXERCISES)
        assert done.stdout.splitlines()[-1] == f"total {points} / {points}", done.stdout
        assert done.returncode == 0

    def test_solutions_reproduce_their_outputs(self):
        options = ["--nbval", "--nbval-current-env", f"--nbval-sanitize-with={places.SANITIZE}"]
        options += ["--nbval-cell-timeout=120", "-p", "no:cacheprovider", "-q"]
        done = run(ROOT, "pytest", *options, "solutions")
        assert done.returncode == 0, done.stdout

    def test_nbgrader_agrees(self, tmp_path):
        pytest.importorskip("nbgrader", reason="nbgrader is not installed: it did not grade")
        shutil.copytree(ROOT / "solutions", tmp_path / "solutions")
        script = Path(__file__).with_name("instructor.py")
        command = [sys.executable, str(script), str(tmp_path)]
        done = subprocess.run(
            command, capture_output=True, env=harness.ENVIRONMENT, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr
        scores = json.loads(done.stdout.splitlines()[-1])
        points = {path.stem: 0 for path in NOTEBOOKS}
        for one in EXERCISES:
            points[one.notebook.stem] += one.points
        assert scores == [[chapter, total, 0, total] for chapter, total in points.items()]
