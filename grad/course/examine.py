"""A learner's notebook as nbval runs it, with everything in it that was given put back."""

import os
import re
from copy import deepcopy

import pytest
from nbformat import from_dict
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from grad.course import exercise
from grad.course.marks import GRADES, Grade

LIMIT = 20  # seconds for one cell, unless --nbval-cell-timeout says otherwise
NBVAL_LIMIT = 2000  # what nbval takes when nobody said
THIS_PYTHON = ":nbval-parent-env"  # nbval's name for a kernel of the interpreter it runs in
DIED = "the kernel died"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
VERDICT = re.compile(r"\w+: (not yet|wrong)\. ")
WIDTH = 110  # of a reason in the table


def collector(parent, path, solved):
    """What pytest collects for a learner's notebook at `path`."""
    try:
        mine = exercise.read(path)
    except exercise.NotebookError as error:
        why = f"{error}: grad reset {path.stem} keeps it aside and makes a blank one"
        return UngradedFile.from_parent(parent, path=path, solved=solved, why=why)
    return ExerciseFile.from_parent(parent, path=path, solved=exercise.read(solved), mine=mine)


def unanswered(solved):
    """The notebook to run but for the learner's answers: blank, with the hidden tests."""
    book = deepcopy(solved)
    for cell in book["cells"]:
        if exercise.is_answer(cell):
            cell["source"] = exercise.stub(cell["source"])
    return book


def tampered(solved, mine):
    """What was done to the given code cells, by the grade id of the check it bears on."""
    said, notes = {}, []
    found = {exercise.grade_id(cell): cell for cell in mine["cells"] if exercise.grade_id(cell)}
    locked = [cell["source"] for cell in found.values() if exercise.is_locked(cell)]
    for cell in solved["cells"]:
        if cell["cell_type"] != "code" or exercise.is_answer(cell):
            continue
        name, what = exercise.grade_id(cell), "check" if exercise.is_check(cell) else "setup cell"
        if how := done_to(cell, found.get(name), locked):
            notes.append(f"its {what} was {how} and is put back")
        if exercise.is_check(cell):
            said[name], notes = "; ".join(notes), []
    return said


def done_to(given, found, locked):
    """How a given cell differs from the one found under its grade id."""
    source = exercise.visible(given["source"])
    if found is None:
        return "renamed" if source in locked else "deleted"
    if found["source"].strip() != source.strip():
        return "edited"
    if found["metadata"].get("tags", []) != given["metadata"].get("tags", []):
        return "tagged"
    if not exercise.mark(given).items() <= exercise.mark(found).items():
        return "marked anew"
    return ""


class ExerciseFile(IPyNbFile):
    """A learner's answers among the cells of the solved notebook."""

    def __init__(self, solved, mine, **kwargs):
        super().__init__(**kwargs)
        self.solved, self.mine = solved, mine
        self.stopped = ""  # why a cell since the last check did not run to its end

    def setup(self):
        root = str(self.config.rootpath)  # the checkout's own package, installed or not
        paths = [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))
        super().setup()

    def collect(self):
        self.nb = from_dict(exercise.fill(unanswered(self.solved), self.mine))
        self.nb.metadata["kernelspec"] = {"name": THIS_PYTHON}
        notes = tampered(self.solved, self.mine)
        for number, cell in enumerate(c for c in self.nb.cells if c.cell_type == "code"):
            cell.update(outputs=[], execution_count=None)
            own = exercise.grade_id(cell) is None
            name = f"own cell {number}" if own else exercise.grade_id(cell)
            options = {"check": False, "skip": False, "check_exception": own}
            kind = CheckCell if exercise.is_check(cell) else Cell
            item = kind.from_parent(self, name=name, cell_num=number, cell=cell, options=options)
            if kind is CheckCell:
                item.grade = Grade(
                    chapter=self.path.stem,
                    exercise=name.removesuffix("-check"),
                    points=exercise.mark(cell)["points"],
                    note=notes[name],
                )
                self.config.stash[GRADES].append(item.grade)
            yield item


class Cell(IPyNbCell):
    """A cell that runs on the way to a check: given, answered, or the learner's own."""

    def setup(self):
        self.parent.timed_out = False  # an earlier cell was cut off; this one starts afresh

    def runtest(self):
        try:
            self.run_within_limit()
        except Exception as error:
            reason = self.reason(error)
            self.parent.stopped = (
                reason if reason == DIED else f"the cell {self.name} stops: {reason}"
            )
            raise

    def run_within_limit(self):
        option = self.config.option
        given, option.nbval_cell_timeout = option.nbval_cell_timeout, self.limit()
        try:
            super().runtest()
        finally:
            option.nbval_cell_timeout = given
        if self.parent.timed_out:
            self.raise_cell_error("the cell was interrupted and went on")

    def reportinfo(self):
        return self.path, 0, self.name

    def limit(self):
        given = self.config.option.nbval_cell_timeout
        return LIMIT if given == NBVAL_LIMIT else given

    def reason(self, error):
        """Why the cell failed, in one line."""
        if self.parent.timed_out:
            return f"cut off after {self.limit():g} s"
        if not isinstance(error, NbCellError):
            return DIED
        lines = [" ".join(line.split()) for line in said(error).splitlines()]
        line = ", ".join(lines) if is_verdict(error) else lines[-1]
        line = re.sub(r"\(\S+\.py, line (\d+)\)", r"(line \1)", line)
        line = line.removeprefix(f"{self.name.removesuffix('-check')}: ")
        return line if len(line) <= WIDTH else f"{line[:WIDTH]}…"


class CheckCell(Cell):
    """A check, with its hidden tests: all or none of its points."""

    grade = None

    def runtest(self):
        try:
            self.run_within_limit()
        except Exception as error:
            self.grade.why = self.parent.stopped or self.reason(error)
            raise
        else:
            self.grade.why, self.grade.earned = "", self.grade.points
        finally:
            self.parent.stopped = ""

    def repr_failure(self, excinfo):
        """The verdict alone: the hidden tests stay hidden."""
        return said(excinfo.value) if is_verdict(excinfo.value) else self.grade.why


def said(error):
    """What a cell's exception says, as Jupyter would show it."""
    return COLOUR.sub("", error.inner_traceback or str(error)).strip()


def is_verdict(error):
    """Whether it was a check that spoke."""
    return isinstance(error, NbCellError) and bool(VERDICT.match(said(error)))


class UngradedFile(pytest.File):
    """A file that is not a notebook."""

    def __init__(self, solved, why, **kwargs):
        super().__init__(**kwargs)
        self.solved, self.why = solved, why

    def collect(self):
        yield Ungraded.from_parent(self, name=self.path.stem, solved=self.solved, why=self.why)


class Ungraded(pytest.Item):
    """A notebook that can't be graded: one line of the table, no points."""

    def __init__(self, solved, why, **kwargs):
        super().__init__(**kwargs)
        cells = exercise.read(solved)["cells"]
        points = [exercise.mark(cell)["points"] for cell in cells if exercise.is_check(cell)]
        self.grade = Grade(solved.stem, f"all {len(points)}", sum(points), why=why)
        self.config.stash[GRADES].append(self.grade)

    def runtest(self):
        pytest.fail(self.grade.why, pytrace=False)
