"""Run the course through nbgrader as an instructor would, and print what each student earned.

    python tests/exercises/instructor.py COURSE

COURSE holds solutions/ and becomes an nbgrader course with two students: one hands in the
solutions, one the notebooks as released.
"""

import json
import os
import sys
import sysconfig
from pathlib import Path

from nbgrader.apps import NbGraderAPI
from traitlets.config import Config

from grad.course import exercise

# nbgrader calls alembic by name, also where the environment is not activated.
os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])


def course(root):
    """The nbgrader course in a folder."""
    config = Config()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.source_directory = "solutions"
    config.CourseDirectory.release_directory = "released"
    config.ClearSolutions.code_stub = {"python": exercise.STUB}
    config.IncludeHeaderFooter.header = ""
    return NbGraderAPI(config=config)


def must(result):
    """nbgrader returns its errors."""
    if not result["success"]:
        sys.exit(result["log"] or result["error"])


def grade(root):
    """Chapter -> what nbgrader gave the solver and the idler, and the points there are."""
    api = course(root)
    for path in sorted(root.glob("solutions/*/*.ipynb")):
        chapter = path.stem
        must(api.generate_assignment(chapter))
        released = exercise.read(root / "released" / chapter / path.name)
        for student, book in hand_in(released, exercise.read(path)):
            exercise.write(root / "submitted" / student / chapter / path.name, book)
            must(api.autograde(chapter, student))
        with api.gradebook as gradebook:
            solver, idler = (gradebook.find_submission(chapter, s) for s in ("solver", "idler"))
            yield chapter, solver.score, idler.score, solver.max_score


def hand_in(released, solved):
    yield "idler", released
    yield "solver", exercise.fill(released, solved)


if __name__ == "__main__":
    print(json.dumps(list(grade(Path(sys.argv[1])))))
