"""What the README shows and says is so: its expression, its table, its commands."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]


def command(name):
    """The command that stands under the mark `name`."""
    return re.search(rf"<!-- {name} -->\n```sh\n(.*?)\n```", README)[1]


def test_the_first_expression_prints_what_is_shown(capsys):
    exec(PYTHON[0], {})
    assert capsys.readouterr().out == next(text for language, text in BLOCKS if not language)


def test_the_library_example_learns():
    scope = {}
    exec(PYTHON[1], scope)
    assert scope["loss"].data < 0.2


def test_the_replay_example_learns():
    scope = {}
    exec(PYTHON[2], scope)
    assert scope["loss"] < 0.2


def test_the_training_examples_learn():
    scope = {}
    exec(PYTHON[3] + PYTHON[4], scope)
    assert scope["history"]["held_out"][-1] > 0.97
    assert scope["loss"] < 0.2 and scope["step"].program


def test_the_script_for_many_ranks_comes_to_the_same_on_one_and_on_two(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(PYTHON[5], encoding="utf-8")
    launched = [sys.executable, "-m", "grad.cluster", "-n", "2", str(script)]
    said = [
        subprocess.run(words, capture_output=True, text=True, check=True).stdout
        for words in ([sys.executable, str(script)], launched)
    ]
    assert [text.split()[0] for text in said] == ["1", "2"]
    one, two = (float(text.split()[-1]) for text in said)
    assert abs(one - two) < 1e-3 * one < 0.2e-3


def test_the_table_names_every_chapter_and_asks_its_question():
    rows = re.findall(r"^\| (\d+) \| \[(.+?)\]\((.+?)\) \| (.+?) \| (.+?) \|", README, re.MULTILINE)
    assert [row[2] for row in rows] == [
        path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("chapters/*.ipynb"))
    ]
    for number, title, path, question, gains in rows:
        cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
        opening = "".join(cells[0]["source"])
        assert opening.startswith(f"# {number} · {title}") and question in opening
        kept = dict.fromkeys(
            mark
            for cell in cells
            for mark in re.findall(r"\A#\| export (\w+)", "".join(cell["source"]))
        )
        assert re.findall(r"`(\w+)`", gains) == list(kept)


def test_the_floor_plan_is_the_one_the_chapters_make():
    words = [sys.executable, "-m", "grad.course", "plan", "--check"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_the_readme_links_to_is_there():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links and all((ROOT / link).exists() for link in links)


# The two commands, each in a clone of its own -------------------------------------------------

everything = pytest.mark.skipif(
    not os.environ.get("GRAD_EVERYTHING"),
    reason="the README's commands are run in fresh clones only where GRAD_EVERYTHING=1",
)


@pytest.fixture
def clone(tmp_path):
    """A fresh clone of what is committed, and the environment of somebody who has only that."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    here = tmp_path / "grad"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(here)], check=True)
    foreign = ("GRAD_", "PYTEST_", "VIRTUAL_ENV", "PYTHONPATH")
    env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    env |= {"JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), "IPYTHONDIR": str(tmp_path / "ipy")}
    env |= {"JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    return here, env


@everything
def test_the_first_command_opens_the_course_with_grad_in_its_kernel(clone, tmp_path):
    here, env = clone
    (tmp_path / "config").mkdir()
    quiet = {"ServerApp": {"open_browser": False, "allow_root": True}}
    (tmp_path / "config" / "jupyter_server_config.json").write_text(
        json.dumps(quiet), encoding="utf-8"
    )
    log = open(tmp_path / "log", "w", encoding="utf-8")
    server = subprocess.Popen(
        ["bash", "-c", command("lab")],
        cwd=here,
        env=env,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        for _ in range(900):
            found = list((tmp_path / "runtime").glob("jpserver-*.json"))
            if found or server.poll() is not None:
                break
            time.sleep(1)
        assert found, (tmp_path / "log").read_text(encoding="utf-8")
        time.sleep(2)
        info = json.loads(found[0].read_text(encoding="utf-8"))
        assert Path(info["root_dir"]) == here
        request = urllib.request.Request(
            f"{info['url']}api/contents/chapters/01_nodes.ipynb?content=0",
            headers={"Authorization": f"token {info['token']}"},
        )
        assert json.load(urllib.request.urlopen(request))["type"] == "notebook"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
        log.close()
    probe = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {
                "cell_type": "code",
                "id": "probe",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
                "source": "import grad; assert grad.Value(2.0).data == 2.0",
            }
        ],
    }
    (here / "probe.ipynb").write_text(json.dumps(probe), encoding="utf-8")
    jupyter = here / ".venv" / "bin" / "jupyter"
    subprocess.run([jupyter, "execute", "probe.ipynb"], cwd=here, env=env, check=True)


@everything
def test_the_second_command_passes_and_says_what_it_did_not_run(clone):
    here, env = clone
    # Who asked for everything gave this very command, and all tests run in their checkout. Here
    # it is the environment that is tried: what the engine's tests find when only it is installed.
    done = subprocess.run(
        ["bash", "-c", f"{command('test')} tests/engine"],
        cwd=here,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "not run here" in done.stdout and "torch is not installed" in done.stdout
