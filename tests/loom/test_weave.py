"""What the weaver writes, and what it says when the package and the chapters differ."""

from grad.course import cells, places, weave
from grad.course.cli import main

FIRST = [
    "# Nodes",
    "%load_ext grad.course",
    '#| export node\n"""Nodes."""\n\nimport math\n',
    "1 + 1",
    '#| export node\ndef root(x):\n    """The root."""\n    return math.sqrt(x)',
    "root(4)",
    '#| export draw\n"""Pictures."""\n\nfrom grad.node import root',
]
SECOND = ['#| export order\n"""Order."""\n\nfrom grad import draw\nfrom grad.node import root']
NODE = (
    '"""Nodes."""\n\nimport math\n\n\ndef root(x):\n    """The root."""\n    return math.sqrt(x)\n'
)


def test_a_module_is_its_kept_cells_and_nothing_else(toy):
    toy.chapter("01_nodes", *FIRST)
    assert main(["build"]) == 0
    assert (toy.package / "node.py").read_text(encoding="utf-8") == NODE


def test_build_says_what_it_wrote_and_then_has_nothing_to_do(toy, capsys):
    toy.chapter("01_nodes", *FIRST)
    main(["build"])
    assert capsys.readouterr().out == "wrote grad/node.py\nwrote grad/draw.py\n"
    main(["build"])
    assert capsys.readouterr().out == ""


def test_check_prints_a_one_line_drift_and_writes_nothing(toy, capsys):
    toy.chapter("01_nodes", *FIRST)
    main(["build"])
    edited = NODE.replace("sqrt", "cbrt")
    (toy.package / "node.py").write_text(edited, encoding="utf-8")
    capsys.readouterr()
    assert main(["build", "--check"]) == 1
    said = capsys.readouterr().out
    assert "-    return math.cbrt(x)\n+    return math.sqrt(x)\n" in said
    assert "draw" not in said
    assert (toy.package / "node.py").read_text(encoding="utf-8") == edited


def test_check_misses_no_module(toy, capsys):
    toy.chapter("01_nodes", *FIRST)
    assert main(["build", "--check"]) == 1
    assert "+import math" in capsys.readouterr().out


def test_a_module_no_chapter_makes_is_reported_and_left_alone(toy, capsys):
    toy.chapter("01_nodes", *FIRST)
    (toy.package / "mine.py").write_text("x = 1\n", encoding="utf-8")
    for command in ["build"], ["build", "--check"]:
        assert main(command) == 1
        assert "no chapter makes grad/mine.py" in capsys.readouterr().out
    assert (toy.package / "mine.py").exists()


def test_a_slice_holds_the_chapters_up_to_it_and_the_hand_written_places(toy, tmp_path):
    toy.chapter("01_nodes", *FIRST)
    toy.chapter("02_order", *SECOND)
    assert main(["build", "--upto", "1", "--out", "cut"]) == 0
    package = tmp_path / "cut" / "grad"
    assert {p.name for p in package.iterdir()} == {"__init__.py", "course", "node.py", "draw.py"}
    assert (package / "course" / "kept.py").exists()
    assert not list(package.rglob("__pycache__"))
    assert not (toy.package / "node.py").exists()


def test_a_slice_is_never_written_over_a_package(toy, capsys):
    toy.chapter("01_nodes", *FIRST)
    assert main(["build", "--out", "."]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["build", "--upto", "1"]) == 2
    assert "--out" in capsys.readouterr().err


def test_the_floor_plan_is_read_off_the_imports(toy):
    chapters = [toy.chapter("01_nodes", *FIRST), toy.chapter("02_order", *SECOND)]
    assert cells.floor_plan(chapters) == [
        ("01_nodes", "node", []),
        ("01_nodes", "draw", ["node"]),
        ("02_order", "order", ["draw", "node"]),
    ]


def test_the_package_is_what_the_chapters_make(here):
    made = weave.woven()
    assert "".join(weave.drift(made, places.PACKAGE)) == ""
    assert weave.strays(made, places.PACKAGE) == []
