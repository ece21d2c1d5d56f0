"""A notebook's normal form: small diffs, no trace of the machine, nothing lost."""

import base64
import difflib
import io
import json
import re

import pytest
from nbformat import v4

from grad.course import tidy
from grad.course.cli import main

CELLS = [
    "# Nodes",
    "import os, sys, warnings, logging\nclass Node: pass",
    "print('a'); print('b'); Node(), 0xffffffff",
    "print(os.path.abspath('chapters/thing.py'), '/usr/lib/somewhere/other.py:3')",
    "warnings.warn('careful')",
    "from IPython.display import SVG\n"
    "SVG('<svg xmlns:dc=\"dates\"><dc:date>today</dc:date></svg>')",
    "from IPython.display import display\n"
    "view = {'model_id': 'a', 'version_major': 2, 'version_minor': 0}\n"
    "shown = {'application/vnd.jupyter.widget-view+json': view, 'text/plain': 'IntSlider()'}\n"
    "display(shown, raw=True)",
    "# NBVAL_IGNORE_OUTPUT\nimport time; time.perf_counter_ns()",
    "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);",
]


@pytest.fixture
def chapter(toy):
    return toy.chapter("01_nodes", *CELLS)


def read(path):
    return v4.reads(path.read_text(encoding="utf-8"))


def outputs(path, index):
    return read(path).cells[index].outputs


def test_a_run_leaves_counts_and_no_trace_of_the_machine(chapter, tmp_path, capsys):
    assert main(["tidy", "--run", str(chapter)]) == 0
    notebook, text = read(chapter), chapter.read_text(encoding="utf-8")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(CELLS)))
    assert notebook.metadata == tidy.METADATA
    assert str(tmp_path) not in text and "ipykernel_" not in text
    stream, result = outputs(chapter, 2)
    assert stream.text == "a\nb\n"
    assert result.data["text/plain"] == "(<__main__.Node at 0x0>, 4294967295)"
    assert outputs(chapter, 3)[0].text == "chapters/chapters/thing.py other.py:3\n"
    assert outputs(chapter, 4)[0].text.startswith("<cell>:1: UserWarning: careful")
    assert "<dc:date/>" in outputs(chapter, 5)[0].data["image/svg+xml"]
    assert set(outputs(chapter, 6)[0].data) == {"text/plain"}
    assert not re.search(r"\bat 0x[1-9a-f]", text)
    assert main(["tidy", "--check", str(chapter)]) == 0


def test_running_or_tidying_again_changes_nothing(chapter):
    main(["tidy", "--run", str(chapter)])
    once = chapter.read_text(encoding="utf-8")
    for again in ["tidy", "--run"], ["tidy"]:
        assert main(again) == 0
        assert chapter.read_text(encoding="utf-8") == once


def test_one_word_of_prose_is_a_one_line_diff(chapter):
    main(["tidy", "--run"])
    before = chapter.read_text(encoding="utf-8")
    notebook = json.loads(before)
    notebook["cells"][0]["source"] = "# Leaves"
    notebook["metadata"]["language_info"]["version"] = "3.99"
    chapter.write_text(json.dumps(notebook), encoding="utf-8")  # as some editor may
    main(["tidy"])
    after = chapter.read_text(encoding="utf-8")
    changes = [
        line
        for line in difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
        if re.match(r"[+-] ", line)
    ]
    assert [line.strip(' +-"') for line in changes] == ["# Nodes", "# Leaves"]


def test_check_names_what_is_not_normal_and_writes_nothing(chapter, capsys):
    before = chapter.read_text(encoding="utf-8")
    assert main(["tidy", "--check"]) == 1
    said = capsys.readouterr().out
    assert "01_nodes.ipynb: not normal" in said
    assert "8 cells never ran, first [1]: grad tidy --run" in said
    assert chapter.read_text(encoding="utf-8") == before


def test_a_cell_marked_so_keeps_the_output_it_has(chapter):
    main(["tidy", "--run"])
    first = outputs(chapter, 7)
    main(["tidy", "--run"])
    assert outputs(chapter, 7) == first
    notebook = read(chapter)
    notebook.cells[7].outputs = []
    chapter.write_text(v4.writes(notebook), encoding="utf-8")
    main(["tidy", "--run"])
    assert outputs(chapter, 7) not in ([], first)


def test_a_failing_cell_is_named_and_nothing_is_written(toy, capsys):
    bad = toy.chapter("02_bad", "# Bad", "a = 1", "b = 2\na / 0")
    good = toy.chapter("03_good", "1 + 1")
    before = bad.read_text(encoding="utf-8")
    assert main(["tidy", "--run"]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "chapters/02_bad.ipynb: cell [2]".replace("/", tidy.os.sep),
        "    b = 2",
        "    a / 0",
        "  ZeroDivisionError: division by zero",
    ]
    assert bad.read_text(encoding="utf-8") == before
    assert outputs(good, 0)[0].data["text/plain"] == "2"


def test_a_traceback_that_is_meant_does_not_stop_the_run(toy):
    path = toy.chapter("01_raises", "1 / 0", "2 / 0", tags=["raises-exception"])
    assert main(["tidy", "--run"]) == 0
    assert outputs(path, 1)[0].ename == "ZeroDivisionError"
    assert read(path).cells[0].metadata == {"tags": ["raises-exception"]}


def test_good_ids_stay_and_bad_ones_are_made_from_the_text(toy):
    path = toy.chapter("01_ids", "1", "2", "2", "3")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell, name in zip(notebook["cells"], ["mine", "mine", None, "no good"], strict=True):
        cell["id"] = name or cell.pop("id", "")
    path.write_text(json.dumps(notebook), encoding="utf-8")
    main(["tidy"])
    ids = [cell.id for cell in read(path).cells]
    assert ids[0] == "mine" and len(set(ids)) == 4
    assert all(re.fullmatch("[0-9a-f]{8}", made) for made in ids[1:])


def test_what_was_printed_in_pieces_is_one_piece(toy):
    path = toy.chapter("01_pieces", "print(1); print(2)")
    notebook = read(path)
    names = ["stdout", "stdout", "stderr", "stdout"]
    notebook.cells[0].outputs = [v4.new_output("stream", name=name, text="x\n") for name in names]
    path.write_text(v4.writes(notebook), encoding="utf-8")
    main(["tidy"])
    said = [(output.name, output.text) for output in outputs(path, 0)]
    assert said == [("stdout", "x\nx\n"), ("stderr", "x\n"), ("stdout", "x\n")]


def png(shift):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2 + shift])
    held = io.BytesIO()
    figure.savefig(held, format="png", metadata={"Software": str(shift)})
    plt.close(figure)
    return base64.b64encode(held.getvalue()).decode()


def test_a_picture_is_kept_only_while_it_shows_the_same():
    old, shaded, moved = png(0), png(1e-9), png(0.1)
    assert old != shaded and tidy.same_picture(old, shaded)
    assert not tidy.same_picture(old, moved)
    was, now = (
        v4.new_code_cell("plot()", outputs=[v4.new_output("display_data", {"image/png": data})])
        for data in (old, shaded)
    )
    tidy.keep_still(was, now)
    assert tidy.picture(now.outputs[0]) == old
    now.outputs[0].data["image/png"] = moved
    tidy.keep_still(was, now)
    assert tidy.picture(now.outputs[0]) == moved


def test_the_chapters_and_solutions_are_normal(here, capsys):
    assert main(["tidy", "--check"]) == 0, capsys.readouterr().out
