"""Kept cells in a real kernel: they run inside their module and are cells like any other."""

import re
import shutil

import pytest
from nbformat import v4

from grad.course import tidy
from grad.course.places import PACKAGE

PROCESS = """\
import subprocess
words = [sys.executable, "-c", "from grad.node import Node, root; print(root(Node.limit * 12))"]
print(subprocess.run(words, capture_output=True, text=True).stdout)
"""
NODE = """\
#| export node
class Node:
    '''A number.'''

    limit = 3

    def half(self):
        '''Half of it.'''
        return self.data / self.nothing
"""
ROOT = """\
#| export node
def root(x):
    '''The root.'''
    return math.sqrt(x)
"""

CELLS = {
    "before": "import grad.node\ngrad.node.on_disk",
    "load": "%load_ext grad.course",
    "docstring": '#| export node\n"""Nodes."""\n\nimport math',
    "class": NODE,
    "function": ROOT,
    "afresh": "import grad.node, sys, inspect, pickle\nhasattr(grad.node, 'on_disk')",
    "identity": "Node is grad.node.Node is sys.modules['grad.node'].Node, grad.node.root is root",
    "names": "Node.__module__, root.__module__, math.pi == grad.node.math.pi, grad.node.__doc__",
    "inside": "sorted(name for name in vars(grad.node) if not name.startswith('__'))",
    "source of the class": "print(inspect.getsource(Node))",
    "source of the function": "print(inspect.getsource(root))",
    "a process": PROCESS,
    "pickle": "pickle.loads(pickle.dumps(Node)) is Node, pickle.loads(pickle.dumps(root)) is root",
    "help": "help(grad.node)",
    "a traceback": "Node().half()",
    "a traceback in the cell": "#| export node\nA = 1\nB = A / 0",
    "bound before it failed": "A, grad.node.A",
    "a syntax error": "#| export node\nA = = 1",
    "the same in an ordinary cell": "# comment\nA = = 1",
    "another module": '#| export draw\n"""Pictures."""\n\nfrom grad.node import Node as Drawn',
    "one class": "import grad.draw\ngrad.draw.Drawn is Node",
    "an ordinary name": "root = 'mine'\ngrad.node.root(4)",
    "again": ROOT,
    "rebound": "root(4), root is grad.node.root",
    "edited": NODE.replace("limit = 3", "limit = 4\n    more = 5"),
    "the edited class": "print(inspect.getsource(Node)); Node.limit, Node is grad.node.Node",
    "a process afterwards": PROCESS,
    "the function still": "print(inspect.getsource(root))",
    "shows nothing": "#| export node\nC = 5\nC",
    "last value": "_, 'C' in globals(), '_' in vars(grad.node)",
    "unload": "%unload_ext grad.course",
    "ordinary again": "#| export node\nD = 5\nhasattr(grad.node, 'D')",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What each cell printed, returned or raised."""
    root = tmp_path_factory.mktemp("kept")
    shutil.copytree(PACKAGE / "course", root / "grad" / "course")
    shutil.copy(PACKAGE / "__init__.py", root / "grad")
    (root / "grad" / "node.py").write_text("on_disk = True\n", encoding="utf-8")
    tagged = {"tags": ["raises-exception"]}
    cells = [v4.new_code_cell(source, metadata=tagged) for source in CELLS.values()]
    assert tidy.execute(v4.new_notebook(cells=cells), root, root) is None
    return {name: text_of(cell.outputs) for name, cell in zip(CELLS, cells, strict=True)}


def number(name):
    return list(CELLS).index(name) + 1


def text_of(outputs):
    parts = []
    for output in outputs:
        if output.output_type == "error":
            parts.append("\n".join(output.traceback))
        else:
            parts.append(output.get("text") or output.data["text/plain"])
    return re.sub(r"\x1b\[[0-9;]*m", "", "".join(parts))


def test_a_process_imports_what_was_kept_as_it_stands(shown):
    assert shown["a process"].strip() == "6.0"
    assert float(shown["a process afterwards"]) == 48**0.5


def test_the_first_kept_cell_starts_the_module_afresh(shown):
    assert shown["before"] == "True"
    assert shown["afresh"] == "False"


def test_the_notebook_holds_the_package_itself(shown):
    assert shown["identity"] == "(True, True)"
    assert shown["names"] == "('grad.node', 'grad.node', True, 'Nodes.')"
    assert shown["one class"] == "True"


def test_only_what_the_cells_bind_is_in_the_module(shown):
    assert shown["inside"] == "['Node', 'math', 'root']"


def test_inspect_finds_the_text_of_a_class_and_of_a_function(shown):
    assert shown["source of the class"].strip() == NODE.partition("\n")[2].strip()
    assert shown["source of the function"].strip() == ROOT.partition("\n")[2].strip()


def test_what_is_kept_can_be_pickled_and_explained(shown):
    assert shown["pickle"] == "(True, True)"
    assert "Nodes." in shown["help"] and "The root." in shown["help"]


def test_a_traceback_names_the_cells_and_nothing_of_the_machinery(shown):
    said = shown["a traceback"]
    assert re.findall(r"^(?:Cell|File) .*$", said, re.MULTILINE) == [
        f"Cell In[{number('a traceback')}], line 1",
        f"Cell In[{number('class')}], line 9, in Node.half(self)",
    ]
    assert "return self.data / self.nothing" in said and "has no attribute 'data'" in said
    said = shown["a traceback in the cell"]
    frames = re.findall(r"^(?:Cell|File) .*$", said, re.MULTILINE)
    assert frames == [f"Cell In[{number('a traceback in the cell')}], line 3"]


def test_what_a_failing_cell_bound_is_in_both_places(shown):
    assert shown["bound before it failed"] == "(1, 1)"


def test_a_syntax_error_reads_as_in_any_other_cell(shown):
    kept, plain = shown["a syntax error"], shown["the same in an ordinary cell"]
    assert "line 2\n    A = = 1\n        ^\nSyntaxError: invalid syntax" in kept
    assert re.sub(r"In\[\d+\]", "", kept) == re.sub(r"In\[\d+\]", "", plain)


def test_a_cell_can_run_again(shown):
    assert shown["an ordinary name"] == "2.0"
    assert shown["rebound"] == "(2.0, True)"


def test_an_edited_cell_replaces_what_it_defined(shown):
    edited = CELLS["edited"].partition("\n")[2].strip()
    source, _, result = shown["the edited class"].rpartition("(")
    assert source.strip() == edited
    assert result == "4, True)"
    assert shown["the function still"].strip() == ROOT.partition("\n")[2].strip()


def test_a_kept_cell_shows_nothing_and_leaves_no_litter_in_its_module(shown):
    assert shown["shows nothing"] == ""
    assert shown["last value"].endswith("True, False)")


def test_without_the_extension_a_kept_cell_is_an_ordinary_cell(shown):
    assert shown["ordinary again"] == "False"
