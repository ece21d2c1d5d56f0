"""Let pytest grade exercises: nbval runs a learner's notebook with the checks of solutions/.

Loaded by `-p grad.course.grading`. It does nothing until nbval meets a notebook in exercises/, as
in `pytest --nbval-lax exercises`.
"""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from grad.course.marks import GRADES, table


def pytest_addoption(parser):
    group = parser.getgroup("grad", "graded exercises")
    group.addoption("--chapter", action="append", help="grade this chapter's notebook and no other")
    group.addoption("--grades", type=Path, help="write the grades to this file as JSON")


def pytest_configure(config):
    config.stash[GRADES] = []
    if config.getoption("numprocesses", None) and asked(config):
        raise pytest.UsageError("the cells of a notebook share a kernel: leave out -n")


def asked(config):
    """The notebooks to grade in this run, by the path where the learner's should be."""
    if not (config.getoption("nbval", False) or config.getoption("nbval_lax", False)):
        return {}
    wanted = config.getoption("chapter")
    return {
        config.rootpath / "exercises" / path.parent.name / path.name: path
        for path in sorted((config.rootpath / "solutions").glob("*/*.ipynb"))
        if not wanted or path.stem in wanted
    }


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    found = yield
    if file_path.suffix != ".ipynb":
        return found
    solved = asked(parent.config).get(file_path)
    if solved:
        from grad.course.examine import collector  # it needs nbval

        return [collector(parent, file_path, solved)]
    return [] if parent.config.getoption("chapter") else found


def pytest_collection_modifyitems(session, config, items):
    """Add a line for each notebook that should be here and is not."""
    folders = {Path(arg.partition("::")[0]).resolve() for arg in config.args}
    for path, solved in asked(config).items():
        if not path.exists() and folders & {*path.parents}:
            from grad.course.examine import Ungraded

            name = str(path.relative_to(config.rootpath))
            why = f"there is no {name}: grad reset {path.stem}"
            items.append(Ungraded.from_parent(session, name=name, solved=solved, why=why))


def pytest_sessionfinish(session):
    config = session.config
    if file := config.getoption("grades"):
        rows = [asdict(grade) for grade in config.stash[GRADES]]
        file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[GRADES] and not config.option.collectonly:
        terminalreporter.section("grades")
        for line in table(config.stash[GRADES]):
            terminalreporter.line(line)
