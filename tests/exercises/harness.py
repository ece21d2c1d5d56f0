"""Put an answer into a solved notebook and hear what its check says.

Wrong answers are planted in `tests/exercises/planted/NN_name.py`, at least three for each exercise,
each a mistake someone would make. They are rows of a table: the exercise, then for each mistake
what it is and the whole source of the answer cell.

    PLANTED = {
        "half": [
            ("divides the wrong way", '''
    def half(x):
        return 2 / x
    '''),
            ...
        ],
    }

An exercise with two answer cells takes a dict of sources, `{"half": ..., "half-2": ...}`.

    python tests/exercises/harness.py 03_order           what every check of a chapter says
    python tests/exercises/harness.py 03_order sort      ... of one exercise

An answer runs in a process of its own: the code cells from the top, every other exercise solved and
no other check run, up to the check of its own. Nothing here starts a kernel.
"""

import io
import json
import linecache
import multiprocessing
import os
import runpy
import subprocess
import sys
import traceback
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from grad.course import exercise
from grad.course.checks import NotYet, Wrong

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
LIMIT = 60  # seconds for one answer, its imports included
KINDS = {NotYet: "not yet", Wrong: "wrong"}


@dataclass(frozen=True)
class Exercise:
    """One exercise of a solved notebook: its name is the grade id of its answer."""

    notebook: Path
    name: str
    points: int

    def __str__(self):
        return f"{self.notebook.stem}/{self.name}"


@dataclass(frozen=True)
class Case:
    """An answer to try: the sources of answer cells that take the place of the solved ones."""

    what: str
    answers: dict
    expect: str
    hidden: bool = True


def exercises(root=ROOT):
    """Every exercise in solutions/, in reading order."""
    return [
        Exercise(
            path, exercise.grade_id(cell).removesuffix("-check"), exercise.mark(cell)["points"]
        )
        for path in sorted((root / "solutions").glob("*/*.ipynb"))
        for cell in exercise.read(path)["cells"]
        if exercise.is_check(cell)
    ]


def planted(chapter):
    """The table of wrong answers to a chapter's exercises."""
    path = HERE / "planted" / f"{chapter}.py"
    return runpy.run_path(str(path))["PLANTED"] if path.exists() else {}


def cases(asked, wrong):
    """What must be tried on an exercise: the stub, the solution, and the planted wrong answers."""
    book = exercise.read(asked.notebook)
    sources = exercise.sources(book)
    solved = {name: sources[name] for name in exercise.exercises(book)[asked.name]}
    blank = {name: exercise.stub(source) for name, source in solved.items()}
    yield Case("the stub", blank, "not yet")
    yield Case("the stub, without the hidden tests", blank, "not yet", hidden=False)
    yield Case("the solution", solved, "right")
    yield Case("the solution, without the hidden tests", solved, "right", hidden=False)
    for what, source in wrong:
        answers = source if isinstance(source, dict) else {asked.name: source}
        yield Case(f"planted: {what}", {**solved, **answers}, "wrong")


def judge(notebook, tries):
    """The verdicts on (exercise name, case) pairs of one notebook, each as (kind, words)."""
    asked = [[name, case.answers, case.hidden] for name, case in tries]
    command = [sys.executable, str(Path(__file__)), "--judge", str(notebook)]
    done = subprocess.run(
        command,
        input=json.dumps(asked),
        capture_output=True,
        cwd=notebook.parent,
        env=ENVIRONMENT,
        encoding="utf-8",
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [tuple(verdict) for verdict in json.loads(done.stdout.splitlines()[-1])]


def program(book, name, answers, hidden):
    """The sources to run, by cell name, for one answer to one exercise."""
    for number, cell in enumerate(book["cells"]):
        cell_name = exercise.grade_id(cell) or f"cell-{number}"
        if cell_name == f"{name}-check":
            yield cell_name, cell["source"] if hidden else exercise.visible(cell["source"])
            return
        if cell["cell_type"] == "code" and not exercise.is_check(cell):
            yield cell_name, answers.get(cell_name, cell["source"])


def attempt(sources, channel):
    """Run the sources as one notebook would, and send back what came of it."""
    from IPython.core.inputtransformer2 import TransformerManager

    notebook = sys.modules["__main__"] = ModuleType("__main__")
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            for name, source in sources:
                source = TransformerManager().transform_cell(source)
                file = f"<{name}>"
                linecache.cache[file] = len(source), None, source.splitlines(True), file
                start = printed.tell()
                exec(compile(source, file, "exec"), vars(notebook))
        channel.send(("right", printed.getvalue()[start:].strip()))
    except BaseException as error:
        words = str(error) if type(error) in KINDS else traceback.format_exc()
        channel.send((KINDS.get(type(error), f"error in {name}"), words))


def judge_here(notebook, asked):
    """Judge in child processes, forked where that is safe: then imports are paid for once."""
    book = exercise.read(notebook)
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        warm_up(book)
    for name, answers, hidden in asked:
        ours, theirs = context.Pipe(duplex=False)
        sources = list(program(book, name, answers, hidden))
        child = context.Process(target=attempt, args=(sources, theirs))
        child.start()
        theirs.close()
        try:
            yield ours.recv() if ours.poll(LIMIT) else ("cut off", f"ran for more than {LIMIT} s")
        except EOFError:
            yield "error", "the process died"
        child.kill()
        child.join()


def warm_up(book):
    """Import what the notebook imports."""
    for cell in book["cells"]:
        if cell["cell_type"] == "code" and not exercise.is_answer(cell):
            for line in cell["source"].splitlines():
                if line.startswith(("import ", "from ")) and not line.endswith(("(", "\\")):
                    exec(line, {})


def show(chapter, wanted=()):
    """Print what every check of a chapter says; how many verdicts were not as they must be."""
    notebook = ROOT / "solutions" / chapter / f"{chapter}.ipynb"
    table, bad = planted(chapter), 0
    for one in exercises():
        if one.notebook != notebook or (wanted and one.name not in wanted):
            continue
        tried = list(cases(one, table.get(one.name, [])))
        print(f"\n{one} ({one.points} points, {len(tried) - 4} planted)")
        bad += len(tried) - 4 < 3
        for case, (kind, words) in zip(
            tried, judge(notebook, [(one.name, case) for case in tried]), strict=True
        ):
            bad += kind != case.expect
            print(f"  {'ok ' if kind == case.expect else 'BAD'} {case.what} -> {kind}")
            print("       " + words.replace("\n", "\n       "))
    print(f"\n{bad} not as they must be" if bad else "\nall as they must be")
    return bad


if __name__ == "__main__":
    if sys.argv[1:2] == ["--judge"]:
        verdicts = list(judge_here(Path(sys.argv[2]), json.load(sys.stdin)))
        print(json.dumps(verdicts))
    else:
        sys.exit(bool(show(sys.argv[1], sys.argv[2:])))
