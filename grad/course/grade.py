"""Grade your exercises and print what you earned.

Every check runs as the course has it, with the hidden tests, on the answers in exercises/.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from grad.course import exercise
from grad.course.marks import Grade, table
from grad.course.places import CourseError, root


def arguments(parser):
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="3, 03, order or 03_order")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table to FILE as well")
    parser.add_argument("--timeout", type=float, default=20, help="seconds for one cell (20)")
    parser.add_argument("--verbose", action="store_true", help="show what pytest says as well")


def run(args):
    if find_spec("nbval") is None:
        raise ModuleNotFoundError(name="nbval")
    chapters = exercise.chapters(args.chapters)
    if not chapters:
        raise CourseError("solutions/ has no exercises")
    grades, said = examine(chapters, args.timeout)
    if args.verbose or not grades:
        print(said)
    if not grades:
        raise CourseError("pytest could not grade; above is what it said")
    print(*table(grades), sep="\n")
    earned, points = sum(g.earned for g in grades), sum(g.points for g in grades)
    if args.json:
        rows = [vars(grade) for grade in grades]
        result = {"earned": earned, "points": points, "exercises": rows}
        try:
            args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise CourseError(f"{args.json} cannot be written: {error.strerror}") from None
    return int(earned < points)


def examine(chapters, timeout):
    """The grades of the chapters, and all that pytest said on the way."""
    (root() / "exercises").mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        file = Path(folder, "grades.json")
        command = [sys.executable, "-m", "pytest", "exercises", "--nbval-lax", f"--grades={file}"]
        command += [f"--chapter={chapter}" for chapter in chapters]
        command += [
            f"--nbval-cell-timeout={timeout}",
            f"--rootdir={root()}",
            "--override-ini=addopts=",
        ]
        command += ["-p", "grad.course.grading", "-p", "no:cacheprovider"]
        environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
        done = subprocess.run(
            command,
            cwd=root(),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return [Grade(**row) for row in rows], done.stdout
