"""A course of one small notebook, to be copied, solved and spoiled."""

import subprocess
import sys

from harness import ENVIRONMENT

from grad.course import exercise

SETTINGS = '[tool.pytest.ini_options]\naddopts = "-p grad.course.grading --strict-markers"\n'
DOUBLE = '''\
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    return TWO * x
    ### END SOLUTION'''
DOUBLE_CHECK = """\
from grad.course.checks import checking

with checking("double", points=2) as check:
    check.equal(lambda: double(0), 0, "double(0)")
    check.equal(lambda: double(3), 6, "double(3)")
    ### BEGIN HIDDEN TESTS
    import random

    check.same_on(random.sample(range(4, 999), 9), double, lambda x: x + x)
    ### END HIDDEN TESTS"""
AREA = '''\
def area(radius):
    """The area of a circle."""
    ### BEGIN SOLUTION
    return math.pi * radius**2
    ### END SOLUTION'''
AREA_CHECK = """\
from grad.course.checks import checking

with checking("area", points=3) as check:
    check.close(lambda: area(2.0), 12.566370614359172, "area(2.0)")"""
RIGHT = {"double": "def double(x):\n    return x + x", "area": AREA}


def cell(name, source, kind="code", **marks):
    """A cell in nbgrader's form."""
    given = {"grade": False, "grade_id": name, "locked": True, "solution": False, "task": False}
    metadata = {"nbgrader": {**given, "schema_version": 3, **marks}}
    if "points" in marks:
        metadata["tags"] = ["raises-exception"]
    ran = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": name, "metadata": metadata, "source": source, **ran}


def notebook():
    """The solved notebook."""
    answer, check = {"solution": True, "locked": False}, {"grade": True}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": [
            cell("intro", "# Toys", kind="markdown"),
            cell("setup", "import math\n\nTWO = 2"),
            cell("double-text", "## 1.1 Twice", kind="markdown"),
            cell("double", DOUBLE, **answer),
            cell("double-check", DOUBLE_CHECK, points=2, **check),
            cell("area-text", "## 1.2 A circle", kind="markdown"),
            cell("area", AREA, **answer),
            cell("area-check", AREA_CHECK, points=3, **check),
        ],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def make(root, *chapters):
    """A course in `root` whose chapters all have the toy notebook, released."""
    for folder in ("chapters", "grad"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    for chapter in chapters:
        exercise.write(root / "solutions" / chapter / f"{chapter}.ipynb", notebook())
        exercise.write(root / "exercises" / chapter / f"{chapter}.ipynb", released())
    return root


def released():
    """The notebook as a learner gets it."""
    return exercise.blank(notebook())


def named(book, name):
    """A cell by its grade id."""
    return next(cell for cell in book["cells"] if exercise.grade_id(cell) == name)


def answered(answers, book=None):
    """A notebook with these answers in it."""
    book = book or released()
    for name, source in answers.items():
        named(book, name)["source"] = source
    return book


def run(root, *command):
    """Run a Python module in a course, with this package in reach."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=root,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def grad(root, *words):
    """Run the `grad` command in a course."""
    return run(root, "grad.course", *words)
