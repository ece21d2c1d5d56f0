"""Where things are: the checkout that holds the course, and the parts of it that commands need."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
SANITIZE = Path(__file__).with_name("sanitize.cfg")  # what nbval must not compare


class CourseError(Exception):
    """What a command says in one line instead of a traceback."""


def root():
    """The checkout the course lives in: around the working directory, else around the package."""
    here = Path.cwd()
    for folder in (here, *here.parents, PACKAGE.parent):
        if (folder / "chapters").is_dir() and (folder / "grad").is_dir():
            return folder
    raise CourseError(
        f"no chapters/ in {here} or above it: clone the course, cd into it, and try again"
    )


def chapters():
    """The chapter notebooks in reading order."""
    return sorted((root() / "chapters").glob("[0-9][0-9]_*.ipynb"))


def solutions():
    """The solved exercise notebooks in reading order."""
    return sorted((root() / "solutions").glob("*/*.ipynb"))


def number(chapter):
    """3 for chapters/03_order.ipynb."""
    return int(chapter.name[:2])
