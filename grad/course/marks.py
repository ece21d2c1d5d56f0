"""What an exercise earned, and the table of all of them."""

from dataclasses import dataclass

import pytest


@dataclass
class Grade:
    """One line of the table: `note` says what was put back, `why` what cost the points."""

    chapter: str
    exercise: str
    points: float
    earned: float = 0
    note: str = ""
    why: str = "not run"


GRADES = pytest.StashKey[list[Grade]]()


def table(grades):
    """The grades as lines of text, the total last."""
    names = [f"{grade.chapter}  {grade.exercise}" for grade in grades]
    wide = max(map(len, names))
    for name, grade in zip(names, grades, strict=True):
        said = "; ".join(filter(None, [grade.note, grade.why]))
        yield f"{name:<{wide}}  {grade.earned:>3g} / {grade.points:<3g} {said}".rstrip()
    yield f"total {sum(g.earned for g in grades):g} / {sum(g.points for g in grades):g}"
