"""Bring the newest course and keep your answers.

They are saved under .answers/ first. Then the exercise notebooks are put back as they came, git
brings what is new, and each answer returns to its exercise.
"""

import json
import subprocess
from itertools import count

from grad.course import exercise
from grad.course.places import CourseError, root


def arguments(parser):
    pass


def run(args):
    if not (root() / ".git").exists():
        raise CourseError("the course is not a git clone, so git can't bring a newer one")
    mine, ran = changed("exercises"), [path for path in changed("chapters") if only_ran(path)]
    shelf = save(mine)
    before = {path: path.read_bytes() for path in [*mine, *ran]}
    head, needs = git("rev-parse", "HEAD"), requirements()
    try:
        for path in before:
            git("restore", "--source=HEAD", "--staged", "--worktree", "--", name(path))
        given = {path: exercise.read(path) for path in mine}
        git("pull", "--ff-only")
        news = git("rev-list", "--count", f"{head.strip()}..HEAD").strip()
    except BaseException:
        put_back(before)
        raise
    if news == "0":
        put_back(before)
        print("the course is up to date already")
        return 0
    print(f"brought {news} change{'s' * (news != '1')}")
    for path in mine:
        bring_back(path, given[path], shelf / path.parent.name / path.name)
    if requirements() != needs:
        print('what the course needs has changed: pip install -e ".[course]"')
    return 0


def changed(folder):
    """The notebooks in a folder that are not as git has them."""
    names = git("diff", "--name-only", "-z", "HEAD", "--", folder).split("\0")
    paths = [root() / name for name in names if name.endswith(".ipynb")]
    return [path for path in paths if path.exists()]


def only_ran(path):
    """Whether a chapter was run and not written in."""
    try:
        now = exercise.read(path)
    except exercise.NotebookError:
        return False
    was = json.loads(git("show", f"HEAD:{name(path)}"))
    return [c["source"] for c in now["cells"]] == ["".join(c["source"]) for c in was["cells"]]


def save(notebooks):
    """Copy notebooks to a new folder under .answers/, and return the folder."""
    shelf = next(s for n in count(1) if not (s := root() / ".answers" / str(n)).exists())
    for path in notebooks:
        copy = shelf / path.parent.name / path.name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(path.read_bytes())
    return shelf


def put_back(before):
    for path, content in before.items():
        path.write_bytes(content)


def bring_back(path, given, saved):
    """Put the answers of a saved notebook into the new one at `path`; name those that don't fit."""
    try:
        mine = exercise.read(saved)
    except exercise.NotebookError as error:
        print(f"{error}; it is kept as {name(saved)}")
        return
    fresh = exercise.read(path) if path.exists() else {"cells": []}
    was, now = exercise.sources(given), exercise.sources(fresh)
    for answer, source in exercise.answers(mine, given).items():
        if answer not in now:
            file = saved.with_name(f"{answer}.py")
            file.write_text(source + "\n", encoding="utf-8", newline="\n")
            print(f"{path.stem}/{answer} is gone; your answer is kept in {name(file)}")
        elif now[answer] != was[answer]:
            print(f"{path.stem}/{answer} is asked in another way now; your answer is in place")
    gone = was.keys() - now.keys()
    mine["cells"] = [cell for cell in mine["cells"] if exercise.grade_id(cell) not in gone]
    if path.exists():
        exercise.write(path, exercise.fill(fresh, mine))


def requirements():
    path = root() / "pyproject.toml"
    return path.read_bytes() if path.exists() else b""


def name(path):
    """A path as git and a reader write it."""
    return path.relative_to(root()).as_posix()


def git(*words):
    """What git prints; what it refuses, in its own words."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=root(), capture_output=True, encoding="utf-8", errors="replace"
        )
    except FileNotFoundError:
        raise CourseError("needs git, and there is none on the PATH") from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise CourseError(f"nothing was brought and nothing is lost; git says:\n{said}")
    return done.stdout
