"""The architecture, made testable: a chapter needs what came before it and changes none of it."""

import os
import shutil
import subprocess
import sys

import pytest

from grad.course import cli, places, weave

ROOT = places.PACKAGE.parent
CHAPTERS = sorted((ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))
ENGINE = ROOT / "tests" / "engine"

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    """Make the package as it stood after a chapter, once."""
    made = {}

    def after(number):
        if number not in made:
            made[number] = tmp_path_factory.mktemp(f"after_{number:02}")
            weave.write_slice(weave.woven(number), made[number])
        return made[number]

    return after


def run_pytest(folder, *words):
    """Run pytest on a slice, which stands in for the checkout."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pytest.ini"]
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [*command, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def test_a_semicolon_silences_a_cell_under_nbval_too(toy):
    toy.chapter("01_nodes", "%load_ext grad.course", "1 + 1;", "if True:\n    2 + 2", "3 + 3")
    assert cli.main(["tidy", "--run"]) == 0
    run_pytest(toy.root, "--nbval", "--nbval-current-env", "chapters")


def modules(folder):
    return {path.name: path.read_bytes() for path in (folder / "grad").glob("*.py")}


@each_chapter
def test_a_chapter_only_adds_files(here, slices, chapter):
    number = places.number(chapter)
    before, after = modules(slices(number - 1)), modules(slices(number))
    assert before.items() <= after.items()


@each_chapter
def test_a_chapter_shows_the_same_on_the_package_before_it(here, slices, chapter):
    folder = slices(places.number(chapter) - 1)
    (folder / "chapters").mkdir(exist_ok=True)
    shutil.copy(chapter, folder / "chapters")
    run_pytest(
        folder,
        "--nbval",
        "--nbval-current-env",
        "--nbval-cell-timeout=120",
        f"--nbval-sanitize-with={places.SANITIZE}",
        f"chapters/{chapter.name}",
    )


@each_chapter
def test_the_tests_of_a_chapter_pass_on_the_package_after_it(slices, chapter):
    # Those of earlier chapters pass on earlier slices, whose files are all still there unchanged.
    number = places.number(chapter)
    folder = slices(number)
    shutil.copytree(ENGINE, folder / "engine", ignore=shutil.ignore_patterns("*cache*"))
    said = run_pytest(folder, f"engine/test_{chapter.stem}.py")
    assert "passed" in said
