"""Each rule of the weaver, broken once."""

import pytest

from grad.course import places
from grad.course.cli import main

NODE = '#| export node\n"""Nodes."""\n\nimport math'
GOOD = '#| export node\ndef root(x):\n    """The square root."""\n    return math.sqrt(x)'

BROKEN = {
    "a name twice": (
        {"01_nodes": [NODE, GOOD, GOOD]},
        "01_nodes, cell [3], line 2: root is defined again, see 01_nodes, cell [2], line 2",
    ),
    "a constant twice": (
        {"01_nodes": [NODE, "#| export node\nA = 1\nB = 2\n(A, C) = 3, 4"]},
        "01_nodes, cell [2], line 4: A is defined again, see 01_nodes, cell [2], line 2",
    ),
    "a method twice": (
        {"01_nodes": [NODE, "#| export node\nclass _N:\n    def f(s): ...\n    def f(s): ..."]},
        "01_nodes, cell [2], line 4: f is defined again",
    ),
    "an imported name defined": (
        {"01_nodes": [NODE, "#| export node\n\nmath = None"]},
        "01_nodes, cell [2], line 3: math is defined again",
    ),
    "a low import": (
        {"01_nodes": [NODE, GOOD, "#| export node\nimport sys"]},
        "01_nodes, cell [3], line 2: an import below the top",
    ),
    "an import in a function": (
        {"01_nodes": [NODE, "#| export node\ndef _f():\n    from sys import path"]},
        "01_nodes, cell [2], line 3: an import below the top",
    ),
    "a module without docstring": (
        {"01_nodes": ["# Nodes", "#| export node\nimport math", GOOD]},
        "01_nodes, cell [1], line 2: grad.node does not begin with a docstring",
    ),
    "a function without docstring": (
        {"01_nodes": ["  ", NODE, "#| export node\n\n\ndef half(x):\n    return x / 2"]},
        "01_nodes, cell [2], line 4: half has no docstring",
    ),
    "a class without docstring": (
        {"01_nodes": [NODE, "#| export node\nclass Node:\n    pass"]},
        "01_nodes, cell [2], line 2: Node has no docstring",
    ),
    "a method without docstring": (
        {"01_nodes": [NODE, '#| export node\nclass Node:\n    """A."""\n    def f(self): ...']},
        "01_nodes, cell [2], line 4: f has no docstring",
    ),
    "an import of the same floor": (
        {"01_nodes": ['#| export node\n"""N."""\nfrom grad.node import x']},
        "01_nodes, cell [1], line 3: grad.node is not below grad.node",
    ),
    "an import of a higher floor": (
        {
            "01_nodes": ['#| export node\n"""N."""\nfrom grad import order'],
            "02_order": ['#| export order\n"""O."""'],
        },
        "01_nodes, cell [1], line 3: grad.order is not below grad.node",
    ),
    "an import of a public name": (
        {"01_nodes": [NODE], "02_order": ['#| export order\n"""O."""\nfrom grad import Node']},
        "02_order, cell [1], line 3: grad.Node is not below grad.order",
    ),
    "an import of every floor": (
        {"01_nodes": ['#| export node\n"""N."""\nimport grad']},
        "01_nodes, cell [1], line 3: `import grad` offers every floor",
    ),
    "an import of the workshop": (
        {"01_nodes": ['#| export node\n"""N."""\nimport grad.course.weave']},
        "01_nodes, cell [1], line 3: grad.course is the workshop",
    ),
    "a relative import": (
        {"01_nodes": [NODE], "02_order": ['#| export order\n"""O."""\nfrom .node import root']},
        "02_order, cell [1], line 3: a relative import",
    ),
    "a magic": (
        {"01_nodes": [NODE, "#| export node\nA = 1\n%timeit A"]},
        "01_nodes, cell [2], line 3: a magic or shell command: %timeit A",
    ),
    "a shell command": (
        {"01_nodes": [NODE, "#| export node\nfiles = !ls"]},
        "01_nodes, cell [2], line 2: a magic or shell command: files = !ls",
    ),
    "no Python": (
        {"01_nodes": [NODE, "#| export node\nA = (1"]},
        "01_nodes, cell [2], line 2: '(' was never closed: A = (1",
    ),
    "a module continued in a later chapter": (
        {"01_nodes": [NODE], "02_more": ["1 + 1", GOOD]},
        "02_more, cell [2], line 1: grad.node was finished in 01_nodes",
    ),
    "a mark below the first line": (
        {"01_nodes": [NODE, "\n" + GOOD]},
        "01_nodes, cell [2]: a kept cell begins with the line `#| export NAME`",
    ),
    "a mark without a name": (
        {"01_nodes": [NODE, GOOD.replace(" node", "", 1)]},
        "01_nodes, cell [2]: a kept cell begins with the line `#| export NAME`",
    ),
    "two marks in a cell": (
        {"01_nodes": [NODE + "\n" + GOOD]},
        "01_nodes, cell [1]: a kept cell has one mark",
    ),
    "a hand-written place": (
        {"01_nodes": ['#| export course\n"""C."""']},
        "01_nodes, cell [1]: grad.course is written by hand",
    ),
}


@pytest.mark.parametrize("chapters, complaint", BROKEN.values(), ids=BROKEN)
def test_the_weaver_refuses(toy, capsys, chapters, complaint):
    for stem, cells in chapters.items():
        toy.chapter(stem, *cells)
    assert main(["build"]) != 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and complaint in said[1], said
    assert not list(toy.package.glob("[a-z]*.py")), "a refused build writes nothing"


FINE = """\
#|export node

class Node:
    '''One.'''

    def __add__(self, other):
        return 1

    @property
    def data(self):
        '''It.'''

    @data.setter
    def data(self, new): ...
"""


def test_the_weaver_accepts_what_a_careful_person_writes(toy):
    toy.chapter(
        "01_nodes",
        "# Prose",
        "%load_ext grad.course",
        '#| export node\n"""N."""\n\ntry:\n    import cupy\nexcept ImportError:\n    cupy = None',
        FINE,
        "#| export node\nSQUARES = [x for x in range(3)]\nCUBES = [x for x in range(3)]",
        "import grad\n!echo an ordinary cell may do what it likes",
    )
    toy.chapter("02_order", '#| export order\n"""Order."""\n\nfrom grad import node')
    assert main(["build"]) == 0
    assert main(["build", "--check"]) == 0


def test_nothing_of_the_engine_imports_the_workshop(here):
    for path in sorted(places.PACKAGE.glob("*.py")):
        assert "grad.course" not in path.read_text(encoding="utf-8"), path.name
