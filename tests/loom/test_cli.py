"""The command: what it says about itself, and outside a checkout."""

import os
import subprocess
import sys

import pytest

from grad.course import cli, lab, places
from grad.course.cli import main


def test_help_has_a_line_for_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    for command in cli.COMMANDS:
        assert f"    {command} " in said


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: grad {command}" in capsys.readouterr().out


def test_an_unknown_command_is_an_error(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["weave"])
    assert stop.value.code == 2
    assert "build" in capsys.readouterr().err


def test_the_course_is_found_from_a_folder_inside_it(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "chapters")
    assert places.root() == tmp_path


@pytest.mark.parametrize("command", ["build", "tidy", "lab", "doctor"])
def test_outside_a_checkout_one_line_says_what_to_do(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "PACKAGE", tmp_path / "site-packages" / "grad")
    assert main([command]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"grad {command}: no chapters/ in") and said.count("\n") == 1


def test_the_course_is_found_from_outside_when_the_package_lies_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert places.root() == places.PACKAGE.parent


def test_a_missing_package_is_named_with_its_remedy(toy, monkeypatch, capsys):
    toy.chapter("01_nodes", "1")
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    assert main(["lab"]) == 2
    assert 'jupyterlab.labapp. pip install -e ".[course]" brings it' in capsys.readouterr().err


def test_lab_opens_a_chapter_at_the_root_of_the_course(toy, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("jupyterlab.labapp.main", started.extend)
    toy.chapter("01_nodes", "1")
    order = toy.chapter("03_order", "1")
    (tmp_path / "chapters" / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "chapters" / "deep")
    assert main(["lab", "3", "--", "--no-browser"]) == 0
    assert started == [str(order), f"--ServerApp.root_dir={tmp_path}", "--no-browser"]
    assert os.getcwd() == str(tmp_path)


def test_a_chapter_has_a_number_and_a_name(toy):
    order = toy.chapter("03_order", "1")
    assert [lab.find(wanted) for wanted in ("3", "03", "order")] == [order] * 3
    with pytest.raises(places.CourseError, match="no chapter 7; there are 03_order"):
        lab.find("7")


def test_doctor_is_content_with_a_machine_that_runs_these_tests(here, capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for line in "Python", "course", "graphs", "kernel":
        assert f"ok      {line}" in said


def test_doctor_names_a_gap_with_its_remedy(here, monkeypatch, capsys):
    from grad.course import doctor

    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "MISSING course      numpy 0.0.1 is older than" in said
    assert 'pip install -e ".[course]"' in said and "not ready" in said


def test_the_module_is_the_command():
    words = [sys.executable, "-m", "grad.course", "build", "--help"]
    assert "usage: grad build" in subprocess.run(words, capture_output=True, text=True).stdout
