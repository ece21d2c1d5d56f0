"""An exercise notebook as data: what in it is given, what is the learner's, keeping them apart.

A cell is known by its grade id. Cells with an id are given, except that the source of an answer
cell is the learner's; cells without an id are the learner's own.
"""

import json
from copy import deepcopy
from hashlib import md5

from grad.course.places import CourseError, root

STUB = "# YOUR CODE\nraise NotImplementedError()"


class NotebookError(CourseError):
    """A file that is not a notebook."""


def read(path):
    """The notebook at `path`, each cell's source as one string."""
    try:
        book = json.loads(path.read_text(encoding="utf-8"))
        for cell in book["cells"]:
            cell["source"] = "".join(cell["source"])
            cell.setdefault("metadata", {})
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise NotebookError(f"{path.name} is not valid JSON: {error.msg} at {place}") from None
    except (UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise NotebookError(f"{path.name} is not a notebook") from None
    return book


def text(book):
    """A notebook as Jupyter writes it."""
    book = deepcopy(book)
    for cell in book["cells"]:
        cell["source"] = cell["source"].splitlines(True)
    layout = {"indent": 1, "sort_keys": True, "ensure_ascii": False, "separators": (",", ": ")}
    return json.dumps(book, **layout) + "\n"


def write(path, book):
    """Save a notebook as Jupyter would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(book), encoding="utf-8", newline="\n")


def mark(cell):
    """What nbgrader knows about a cell."""
    return cell["metadata"].get("nbgrader", {})


def grade_id(cell):
    """The name a cell is known by, if it has one."""
    return mark(cell).get("grade_id")


def is_answer(cell):
    """A cell the learner fills in."""
    return bool(mark(cell).get("solution"))


def is_check(cell):
    """A cell that judges an answer and is worth points."""
    return bool(mark(cell).get("grade")) and not is_answer(cell)


def is_locked(cell):
    """A cell the learner is not meant to change."""
    return bool(mark(cell).get("locked") or is_check(cell)) and not is_answer(cell)


def stub(source):
    """An answer cell as the learner gets it: the signature and docstring, without the solution."""
    cleared = _without(source, "SOLUTION", STUB.splitlines())
    return STUB if cleared == source else cleared


def visible(source):
    """A check as the learner gets it: without the hidden tests."""
    return _without(source, "HIDDEN TESTS")


def _without(source, region, instead=()):
    kept, inside = [], False
    for line in source.split("\n"):
        if f"BEGIN {region}" in line:
            inside = True
            indent = line[: len(line) - len(line.lstrip())]
            kept += [indent + new for new in instead]
        elif f"END {region}" in line:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def blank(solved):
    """The exercise notebook for a solved one: byte for byte what nbgrader would release."""
    book = deepcopy(solved)
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
        if is_answer(cell):
            cell["source"] = stub(cell["source"])
            cell["metadata"]["deletable"] = False
        elif is_locked(cell):
            cell["source"] = visible(cell["source"])
            cell["metadata"].update(deletable=False, editable=False)
        if is_answer(cell) or is_locked(cell):
            mark(cell).update(cell_type=cell["cell_type"], checksum=_checksum(cell))
    return book


def _checksum(cell):
    parts = [cell["source"], cell["cell_type"]]
    parts += [str(bool(mark(cell).get("grade"))), str(is_answer(cell)), str(is_locked(cell))]
    parts.append(grade_id(cell))
    if mark(cell).get("grade"):
        parts.append(str(float(mark(cell)["points"])))
    return md5("".join(parts).encode(), usedforsecurity=False).hexdigest()


def answers(mine, fresh):
    """The learner's answers that are no longer the stub, by grade id.

    An answer cell that was split or copied counts once, its parts in order.
    """
    stubs = sources(fresh)
    parts = {}
    for cell in mine["cells"]:
        name = grade_id(cell)
        if is_answer(cell) and cell["source"].strip() not in ("", stubs.get(name, "").strip()):
            parts.setdefault(name, []).append(cell["source"])
    return {name: "\n\n\n".join(pieces) for name, pieces in parts.items()}


def fill(fresh, mine):
    """A fresh notebook with the learner's answers, and the learner's own cells where they stood."""
    book = deepcopy(fresh)
    known = {grade_id(cell): cell for cell in book["cells"] if grade_id(cell)}
    written = answers(mine, fresh)
    extra, place = {}, None  # the id of a given cell (None: the top) -> the cells that follow it
    for cell in mine["cells"]:
        name = grade_id(cell)
        if name in known:
            place = name
            if cell["source"] == written.get(name, known[name]["source"]):
                known[name].update(
                    {k: cell[k] for k in ("outputs", "execution_count") if k in cell}
                )
        elif cell["source"].strip() and not is_locked(cell):
            cell = deepcopy(cell)
            cell["metadata"].pop("nbgrader", None)
            extra.setdefault(place, []).append(cell)
    for name, source in written.items():
        if name in known:
            known[name]["source"] = source
    cells = extra.get(None, [])
    for cell in book["cells"]:
        cells += [cell, *extra.get(grade_id(cell), [])]
    return {**book, "cells": cells}


def sources(book):
    """The source of every cell that has a grade id."""
    return {grade_id(cell): cell["source"] for cell in book["cells"] if grade_id(cell)}


def touched(mine, fresh):
    """Whether a learner has written anything into a notebook."""
    given = [cell["source"] for cell in fresh["cells"]]
    return [cell["source"] for cell in fill(fresh, mine)["cells"]] != given


def exercises(book):
    """The exercises of a notebook, each with the grade ids of its answer cells."""
    found, ids = {}, []
    for cell in book["cells"]:
        if is_answer(cell):
            ids.append(grade_id(cell))
        elif is_check(cell):
            found[grade_id(cell).removesuffix("-check")] = ids
            ids = []
    return found


def chapters(wanted=()):
    """The chapters that have exercises, or those asked for: 3, 03, order and 03_order are one."""
    known = sorted(path.parent.name for path in (root() / "solutions").glob("*/*.ipynb"))
    return [_one(known, word) for word in wanted] or known


def _one(known, word):
    number = f"{int(word):02d}" if word.isdecimal() else None
    for name in known:
        if word == name or word == name.partition("_")[2] or name.partition("_")[0] == number:
            return name
    raise CourseError(f"there is no chapter {word!r} with exercises; there are {', '.join(known)}")


def solved(chapter):
    """The path of a chapter's solved notebook."""
    return root() / "solutions" / chapter / f"{chapter}.ipynb"


def mine(chapter):
    """The path of the learner's notebook for a chapter."""
    return root() / "exercises" / chapter / f"{chapter}.ipynb"
