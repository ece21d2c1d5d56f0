"""Run a cell marked `#| export NAME` inside the module grad.NAME, so a notebook builds the package.

IPython still compiles, caches and reports the cell; only the namespace it runs in is another one.
A module's first kept cell in a kernel starts the module afresh, whatever the package holds on disk.
Processes that a notebook starts import the modules as they stand in the notebook.
"""

import ast
import atexit
import linecache
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from symtable import symtable
from tempfile import TemporaryDirectory
from types import ModuleType

import grad
from grad.course.cells import MARK
from grad.course.places import PACKAGE

started = {}  # module name -> what its cells bound in this kernel: a list of (names, lines)
mirrored = {}  # module name -> the sources of its cells that ran to their end, and their names


def load(shell):
    """Let kept cells find their module."""
    run_plain = type(shell).run_ast_nodes

    async def run_ast_nodes(nodes, cell_name, interactivity, **how):
        source = "".join(linecache.getlines(cell_name))
        mark = MARK.match(source)
        if mark is None:
            # Outside the history, where nbval runs cells, IPython overlooks the last semicolon.
            if shell.displayhook.semicolon_at_end_of_expression(source):
                interactivity = "none"
            return await run_plain(shell, nodes, cell_name, interactivity, **how)
        with inside(shell, mark[1], source):
            failed = await run_plain(shell, nodes, cell_name, "none", **how)
        if not failed:
            mirror(mark[1], source)
        return failed

    shell.run_ast_nodes = run_ast_nodes
    if "GRAD_KEPT" not in os.environ:
        folder = TemporaryDirectory(prefix="grad-kept-")
        atexit.register(folder.cleanup)
        os.environ["GRAD_KEPT"] = folder.name  # grad/__init__.py looks there first


def unload(shell):
    """Make a kept cell an ordinary cell again."""
    del shell.run_ast_nodes


@contextmanager
def inside(shell, name, source):
    """Run a cell in grad.NAME; what it binds there appears in the notebook too."""
    module = start(name)
    outer = shell.user_module, shell.user_ns
    shell.user_module, shell.user_ns = module, vars(module)
    try:
        yield
    finally:
        shell.user_module, shell.user_ns = outer
        bound = {name: vars(module)[name] for name in names(source) if name in vars(module)}
        shell.user_ns.update(bound)
        remember(module, source, bound)


def start(name):
    """The module grad.NAME of this kernel, empty the first time it is asked for."""
    full = f"grad.{name}"
    if full not in started:
        started[full] = []
        module = ModuleType(full)
        module.__package__ = "grad"
        module.__file__ = str(PACKAGE / f"{name}.py")  # where `grad build` will write it
        sys.modules[full] = module
        setattr(grad, name, module)
    return sys.modules[full]


def names(source):
    """The names a cell binds at its top level."""
    symbols = symtable(source, "<cell>", "exec").get_symbols()
    return [s.get_name() for s in symbols if s.is_assigned() or s.is_imported()]


def mirror(name, source):
    """Write the module as it stands, less what has failed, where processes to come will find it."""
    texts = mirrored.setdefault(name, {})
    again = set(names(source))
    for earlier in [text for text, bound in texts.items() if bound & again]:
        del texts[earlier]
    texts[source] = again
    whole = "\n\n".join(text.rstrip() + "\n" for text in texts)
    Path(os.environ["GRAD_KEPT"], f"{name}.py").write_text(whole, encoding="utf-8")


def remember(module, source, bound):
    """Show `inspect` the module's text so far: it looks for a class in the file of its module.

    A cell that runs again is added below, and its earlier text becomes blank lines, so that
    every class still in use stays on the line where it was.
    """
    cells = started[module.__name__]
    for earlier, lines in cells:
        if earlier & bound.keys():
            lines[:] = ["\n"] * len(lines)
    above = sum(len(lines) for _, lines in cells)
    cells.append((bound.keys(), [*(source.rstrip() + "\n").splitlines(True), "\n", "\n"]))
    text = [line for _, lines in cells for line in lines]
    linecache.cache[module.__file__] = sum(map(len, text)), None, text, module.__file__

    for node in ast.parse(source).body:  # from Python 3.13 a class knows its line in the cell
        made = bound.get(node.name) if isinstance(node, ast.ClassDef) else None
        if "__firstlineno__" in getattr(made, "__dict__", ()):
            made.__firstlineno__ += above
