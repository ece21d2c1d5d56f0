"""Releasing, resetting and updating never lose what a learner wrote."""

import shutil
import subprocess

import pytest
from toy import RIGHT, answered, cell, grad, make, named, notebook, released

from grad.course import cli, exercise

BLANK = 'def double(x):\n    """Twice x."""\n    # YOUR CODE\n    raise NotImplementedError()'
OWN = {"cell_type": "code", "id": "own", "metadata": {}, "source": "mine = 1", "outputs": []}


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two chapters, the working directory in it."""
    root = make(tmp_path / "course", "01_toy", "02_more")
    more = notebook()
    named(more, "area-check")["metadata"]["nbgrader"]["grade_id"] = "disc-check"
    exercise.write(root / "solutions/02_more/02_more.ipynb", more)
    exercise.write(root / "exercises/02_more/02_more.ipynb", exercise.blank(more))
    monkeypatch.chdir(root)
    return root


def theirs(root, chapter="01_toy"):
    return exercise.read(root / "exercises" / chapter / f"{chapter}.ipynb")


def save(root, book, chapter="01_toy"):
    exercise.write(root / "exercises" / chapter / f"{chapter}.ipynb", book)


def test_the_stub_keeps_signature_and_docstring():
    assert named(released(), "double")["source"] == BLANK
    assert exercise.stub("x = 1") == exercise.STUB


def test_a_notebook_is_read_and_written_as_jupyter_does():
    import nbformat

    book = answered({"double": "def double(x):\n    return 'é\u2028'\n"})
    assert exercise.text(book) == nbformat.writes(nbformat.from_dict(book)) + "\n"


def test_fill_keeps_answers_own_cells_and_outputs():
    mine = answered({"double": RIGHT["double"]})
    mine["cells"].insert(0, {**OWN, "source": "first = 1"})
    mine["cells"].insert(5, OWN)
    mine["cells"].append({**OWN, "source": "\n"})  # Jupyter adds one below the last cell it runs
    ran = [{"output_type": "stream", "name": "stdout", "text": ["hello\n"]}]
    named(mine, "double").update(outputs=ran, execution_count=1)
    named(mine, "setup")["source"] = "TWO = 3"
    full = exercise.fill(released(), mine)
    assert [exercise.grade_id(c) or c["source"] for c in full["cells"]] == [
        *("first = 1", "intro", "setup", "double-text", "double", "mine = 1", "double-check"),
        *("area-text", "area", "area-check"),
    ]
    assert named(full, "double") == named(mine, "double")
    assert named(full, "setup") == named(released(), "setup")
    assert exercise.touched(mine, released()) and not exercise.touched(released(), released())


def test_a_split_or_copied_answer_counts_once_in_order():
    mine = answered({"double": "def half(x): ..."})
    mine["cells"].insert(4, cell("double", "def double(x): ...", solution=True, locked=False))
    assert exercise.answers(mine, released()) == {
        "double": "def half(x): ...\n\n\ndef double(x): ..."
    }


def test_an_answer_without_its_exercise_stays_as_a_cell_of_the_learners_own():
    mine = answered({"double": "def double(x): ..."})
    fresh = released()
    fresh["cells"].remove(named(fresh, "double"))
    (kept,) = [c for c in exercise.fill(fresh, mine)["cells"] if not exercise.grade_id(c)]
    assert kept["source"] == "def double(x): ..." and kept["metadata"].get("nbgrader") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"cells": 3}', '{"cells": [1]}', "{}"])
def test_what_is_no_notebook_is_said_in_one_line(tmp_path, text):
    path = tmp_path / "a.ipynb"
    path.write_text(text, "utf-8")
    with pytest.raises(exercise.NotebookError, match=r"^a\.ipynb is not [^\n]*$"):
        exercise.read(path)


class TestRelease:
    """grad release"""

    @pytest.fixture(autouse=True)
    def nbgrader(self):
        pytest.importorskip("nbgrader", reason="nbgrader is not installed: release was not run")

    def test_our_blank_notebook_is_nbgraders(self, course):
        from grad.course.release import released

        for chapter in exercise.chapters():
            path = exercise.solved(chapter)
            assert exercise.text(exercise.blank(exercise.read(path))) == released(path)

    def test_check_writes_nothing_and_names_what_is_stale(self, course, capsys):
        assert cli.main(["release", "--check"]) == 0
        solved = notebook()
        named(solved, "intro")["source"] = "# New"
        exercise.write(course / "solutions/01_toy/01_toy.ipynb", solved)
        before = theirs(course)
        assert cli.main(["release", "--check"]) == 1
        assert (
            capsys.readouterr().out == "stale: exercises/01_toy/01_toy.ipynb: grad release 01_toy\n"
        )
        assert theirs(course) == before
        assert cli.main(["release"]) == 0 and cli.main(["release", "--check"]) == 0

    def test_answers_go_into_the_new_release(self, course, capsys):
        mine = answered({"double": RIGHT["double"]})
        mine["cells"].append(OWN)
        save(course, mine)
        solved = notebook()
        named(solved, "intro")["source"] = "# New"
        exercise.write(course / "solutions/01_toy/01_toy.ipynb", solved)
        assert cli.main(["release", "1"]) == 0
        assert "kept what was written in it: double" in capsys.readouterr().out
        now = theirs(course)
        assert named(now, "double")["source"] == RIGHT["double"]
        assert named(now, "intro")["source"] == "# New"
        assert now["cells"][-1]["source"] == OWN["source"]


def test_release_without_nbgrader_says_what_to_install(course, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "nbgrader", None)
    assert cli.main(["release"]) == 2
    assert 'pip install -e ".[instructor]"' in capsys.readouterr().err


class TestReset:
    """grad reset"""

    @pytest.mark.parametrize("word", ["01_toy/double", "1/double", "toy/double"])
    def test_the_answer_is_kept_beside_the_notebook(self, course, capsys, word):
        save(course, answered(RIGHT))
        assert cli.main(["reset", word]) == 0
        assert "kept in double.old-1.py" in capsys.readouterr().out
        assert named(theirs(course), "double")["source"] == BLANK
        assert named(theirs(course), "area")["source"] == RIGHT["area"]
        old = course / "exercises/01_toy/double.old-1.py"
        assert old.read_text("utf-8") == RIGHT["double"] + "\n"

    def test_a_second_reset_keeps_both_answers(self, course):
        for source in ("def double(x): return 1", "def double(x): return 2"):
            save(course, answered({"double": source}))
            assert cli.main(["reset", "01_toy/double"]) == 0
        folder = course / "exercises/01_toy"
        kept = [(folder / f"double.old-{n}.py").read_text("utf-8")[-2] for n in (1, 2)]
        assert kept == ["1", "2"]

    def test_a_chapter_is_reset_to_what_was_released(self, course):
        save(course, answered(RIGHT))
        assert cli.main(["reset", "toy"]) == 0
        assert theirs(course) == released()
        assert len(list(course.glob("exercises/01_toy/*.old-1.py"))) == 2

    def test_given_cells_are_put_back(self, course, capsys):
        mine = answered({"area": RIGHT["area"]})
        mine["cells"].remove(named(mine, "setup"))
        named(mine, "double-check")["source"] = "pass"
        save(course, mine)
        assert cli.main(["reset", "01_toy/double"]) == 0
        assert theirs(course) == answered({"area": RIGHT["area"]})
        said = capsys.readouterr().out
        assert "setup: put back" in said and "double-check: put back" in said

    def test_a_broken_notebook_is_moved_aside(self, course, capsys):
        path = course / "exercises/01_toy/01_toy.ipynb"
        path.write_text("{", "utf-8")
        assert cli.main(["reset", "01_toy"]) == 0
        assert "kept as 01_toy.old-1.txt" in capsys.readouterr().out
        assert theirs(course) == released()
        assert (path.parent / "01_toy.old-1.txt").read_text("utf-8") == "{"

    def test_a_missing_notebook_is_made(self, course):
        (course / "exercises/01_toy/01_toy.ipynb").unlink()
        assert cli.main(["reset", "01_toy/double"]) == 0
        assert theirs(course) == released()

    def test_blank_stays_blank_and_says_so(self, course, capsys):
        assert cli.main(["reset", "disc"]) == 0
        assert "blank already: disc" in capsys.readouterr().out
        assert not list(course.glob("exercises/*/*.old-*"))

    @pytest.mark.parametrize(
        ("word", "said"),
        [
            ("double", "say 01_toy/double, 02_more/double"),
            ("toy/triple", "01_toy has no exercise 'triple'; it has double, area"),
            ("nothing", "there is no exercise or chapter 'nothing'"),
            ("9/double", "there is no chapter '9'"),
        ],
    )
    def test_a_word_that_means_no_exercise(self, course, capsys, word, said):
        assert cli.main(["reset", word]) == 2
        assert said in capsys.readouterr().err


needs_git = pytest.mark.skipif(
    shutil.which("git") is None, reason="git is not installed: grad update was not run"
)


def git(folder, *words):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(folder):
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "news")


@needs_git
class TestUpdate:
    """grad update"""

    @pytest.fixture
    def upstream(self, tmp_path):
        root = make(tmp_path / "upstream", "01_toy", "02_more")
        for folder in ("chapters", "grad"):  # git keeps no empty folder
            exercise.write(root / folder / "01_toy.ipynb", {"cells": [dict(OWN)]})
        git(root, "init", "-q", "-b", "main")
        commit(root)
        return root

    @pytest.fixture
    def clone(self, tmp_path, upstream, monkeypatch):
        git(tmp_path, "clone", "-q", str(upstream), "clone")
        monkeypatch.chdir(tmp_path / "clone")
        return tmp_path / "clone"

    def change(self, upstream, chapter="01_toy", **sources):
        """Give cells of a chapter new sources upstream, in both notebooks."""
        solved = exercise.read(upstream / "solutions" / chapter / f"{chapter}.ipynb")
        for name, source in sources.items():
            named(solved, name)["source"] = source
        self.publish(upstream, solved, chapter)

    def publish(self, upstream, solved, chapter="01_toy"):
        exercise.write(upstream / "solutions" / chapter / f"{chapter}.ipynb", solved)
        save(upstream, exercise.blank(solved), chapter)
        commit(upstream)

    def test_answers_return_to_their_exercises(self, upstream, clone, capsys):
        mine = answered(RIGHT)
        mine["cells"].append(OWN)
        save(clone, mine)
        self.change(upstream, intro="# New")
        assert cli.main(["update"]) == 0
        assert capsys.readouterr().out == "brought 1 change\n"
        now = theirs(clone)
        assert exercise.answers(now, released()) == RIGHT
        assert named(now, "intro")["source"] == "# New"
        assert now["cells"][-1]["source"] == OWN["source"]
        saved = exercise.read(clone / ".answers/1/01_toy/01_toy.ipynb")
        assert saved == mine

    def test_an_exercise_that_vanished_is_named_and_its_answer_kept(self, upstream, clone, capsys):
        save(clone, answered({"double": RIGHT["double"]}))
        solved = notebook()
        solved["cells"] = [c for c in solved["cells"] if "double" not in exercise.grade_id(c)]
        self.publish(upstream, solved)
        assert cli.main(["update"]) == 0
        said = "01_toy/double is gone; your answer is kept in .answers/1/01_toy/double.py"
        assert said in capsys.readouterr().out
        kept = clone / ".answers/1/01_toy/double.py"
        assert kept.read_text("utf-8") == RIGHT["double"] + "\n"
        assert theirs(clone) == exercise.blank(solved)

    def test_a_chapter_that_vanished_is_named_too(self, upstream, clone, capsys):
        save(clone, answered(RIGHT))
        for folder in ("exercises", "solutions"):
            shutil.rmtree(upstream / folder / "01_toy")
        commit(upstream)
        assert cli.main(["update"]) == 0
        assert capsys.readouterr().out.count("is gone; your answer is kept in") == 2
        assert (clone / ".answers/1/01_toy/area.py").exists()

    def test_an_exercise_asked_in_another_way_is_named(self, upstream, clone, capsys):
        save(clone, answered({"double": RIGHT["double"]}))
        source = named(notebook(), "double")["source"].replace("(x)", "(number)")
        self.change(upstream, double=source)
        assert cli.main(["update"]) == 0
        assert "01_toy/double is asked in another way now" in capsys.readouterr().out
        assert named(theirs(clone), "double")["source"] == RIGHT["double"]

    def test_nothing_new_changes_nothing(self, clone, capsys):
        save(clone, answered(RIGHT))
        before = (clone / "exercises/01_toy/01_toy.ipynb").read_bytes()
        assert cli.main(["update"]) == 0
        assert "up to date already" in capsys.readouterr().out
        assert (clone / "exercises/01_toy/01_toy.ipynb").read_bytes() == before

    def test_what_git_refuses_leaves_everything_as_it_was(self, upstream, clone, capsys):
        save(clone, answered(RIGHT))
        (clone / "solutions/01_toy/01_toy.ipynb").write_text("mine", "utf-8")
        before = (clone / "exercises/01_toy/01_toy.ipynb").read_bytes()
        self.change(upstream, intro="# New")
        assert cli.main(["update"]) == 2
        assert "nothing is lost; git says:" in capsys.readouterr().err
        assert (clone / "exercises/01_toy/01_toy.ipynb").read_bytes() == before
        assert (clone / "solutions/01_toy/01_toy.ipynb").read_text("utf-8") == "mine"

    def test_a_broken_notebook_is_kept_and_replaced(self, upstream, clone, capsys):
        (clone / "exercises/01_toy/01_toy.ipynb").write_text("{", "utf-8")
        self.change(upstream, intro="# New")
        assert cli.main(["update"]) == 0
        assert "it is kept as .answers/1/01_toy/01_toy.ipynb" in capsys.readouterr().out
        assert (clone / ".answers/1/01_toy/01_toy.ipynb").read_text("utf-8") == "{"
        assert named(theirs(clone), "intro")["source"] == "# New"

    def test_a_chapter_that_was_only_run_does_not_stand_in_the_way(self, upstream, clone):
        chapter = "chapters/01_toy.ipynb"
        ran = {**OWN, "outputs": [{"output_type": "stream", "name": "stdout", "text": ["1"]}]}
        exercise.write(clone / chapter, {"cells": [ran]})
        exercise.write(upstream / chapter, {"cells": [dict(OWN), dict(OWN)]})
        commit(upstream)
        assert cli.main(["update"]) == 0
        assert (clone / chapter).read_bytes() == (upstream / chapter).read_bytes()

    def test_a_chapter_that_was_written_in_is_left_to_git(self, upstream, clone):
        chapter = "chapters/01_toy.ipynb"
        exercise.write(clone / chapter, {"cells": [{**OWN, "source": "mine = 2"}]})
        exercise.write(upstream / chapter, {"cells": [dict(OWN), dict(OWN)]})
        commit(upstream)
        assert cli.main(["update"]) == 2
        assert exercise.read(clone / chapter)["cells"][0]["source"] == "mine = 2"

    def test_new_requirements_are_named(self, upstream, clone, capsys):
        (upstream / "pyproject.toml").write_text("# more", "utf-8")
        commit(upstream)
        assert cli.main(["update"]) == 0
        assert 'pip install -e ".[course]"' in capsys.readouterr().out


def test_update_wants_a_clone(course, capsys):
    assert cli.main(["update"]) == 2
    assert "not a git clone" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["release", "reset", "update", "grade"])
def test_every_command_has_help(course, command):
    done = grad(course, command, "--help")
    assert done.returncode == 0 and command in done.stdout
