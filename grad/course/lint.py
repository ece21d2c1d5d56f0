"""What the weaver refuses, so that a woven module reads as if one careful person had typed it."""

import ast
import re

from grad.course.cells import MARK, by_module, code_cells, kept_cells, targets

NEARLY = re.compile(r"^\s*#\s*\|\s*export", re.MULTILINE)
MAGIC = re.compile(r"[%!?]|.*\?$|.*=\s*[%!]")
INSTEAD = "write `from grad.MODULE import NAME`"
HAND_WRITTEN = {"course", "__init__"}
IMPORTS = ast.Import, ast.ImportFrom
DEFINITIONS = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef


def complaints(chapters):
    """Everything wrong with the kept cells, each with its chapter, cell and line."""
    found = [complaint for chapter in chapters for complaint in marks(chapter)]
    below = []
    for name, cells in by_module(kept_cells(chapters)).items():
        found += module_complaints(name, cells, below)
        below.append(name)
    return found


def marks(chapter):
    """Marks that the weaver would overlook, or must not follow."""
    for number, source in code_cells(chapter):
        where, mark = f"{chapter.stem}, cell [{number}]", MARK.match(source)
        if mark is None and NEARLY.search(source):
            yield f"{where}: a kept cell begins with the line `#| export NAME`"
        elif mark and NEARLY.search(source, mark.end()):
            yield f"{where}: a kept cell has one mark, on its first line"
        elif mark and mark[1] in HAND_WRITTEN:
            yield f"{where}: grad.{mark[1]} is written by hand"


def module_complaints(name, cells, below):
    """Everything wrong with one module, given the modules made before it."""
    found = [
        f"{cell.line(0)}: grad.{name} was finished in {cells[0].chapter}"
        for cell in cells
        if cell.chapter != cells[0].chapter
    ]
    statements = []
    for cell in cells:
        try:
            statements += [(cell, node) for node in ast.parse(cell.code).body]
        except SyntaxError as error:
            return [*found, not_python(cell, error)]
    if not (statements and is_docstring(statements[0][1])):
        found.append(f"{cells[0].line(1)}: grad.{name} does not begin with a docstring")
    found += undocumented(statements)
    found += repeated(statements)
    found += low_imports(statements)
    found += upward(name, statements, below)
    return found


def not_python(cell, error):
    line = cell.code.splitlines()[error.lineno - 1].strip()
    what = "a magic or shell command" if MAGIC.match(line) else error.msg
    return f"{cell.line(error.lineno)}: {what}: {line}"


def is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def undocumented(statements):
    """Public functions, classes and methods without a docstring; operators speak for themselves."""
    for cell, node in statements:
        if isinstance(node, DEFINITIONS) and not node.name.startswith("_"):
            if ast.get_docstring(node) is None and not adds_to_earlier(node):
                yield f"{cell.line(node.lineno)}: {node.name} has no docstring"
            if isinstance(node, ast.ClassDef):
                yield from undocumented([(cell, child) for child in node.body])


def adds_to_earlier(definition):
    """Whether a definition belongs to an earlier one of its name, as a property's setter does."""
    decorators = [getattr(d, "func", d) for d in definition.decorator_list]
    return any(getattr(d, "attr", "") in {"setter", "deleter", "register"} for d in decorators)


def repeated(statements):
    """Names defined again in the same module, or in the same class."""
    seen = {}
    for cell, node in statements:
        where = cell.line(node.lineno)
        yield from (f"{where}: {n} is defined again, see {seen[n]}" for n in bound(node) & {*seen})
        seen |= dict.fromkeys(bound(node), where)
        if isinstance(node, ast.ClassDef):
            yield from repeated([(cell, child) for child in node.body])


def bound(node):
    """The names that a statement defines where it stands; branches of one statement count once."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return set() if adds_to_earlier(node) else {node.name}
        case ast.Import() | ast.ImportFrom():
            return {alias.asname or alias.name for alias in node.names}
        case ast.Assign() | ast.AnnAssign():
            goals = node.targets if isinstance(node, ast.Assign) else [node.target]
            return {n.id for goal in goals for n in ast.walk(goal) if is_stored(n)}
        case ast.If() | ast.Try() | ast.ExceptHandler():
            return set().union(*map(bound, ast.iter_child_nodes(node)))
    return set()


def is_stored(node):
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def low_imports(statements):
    """Imports below the top of a module, those inside a function among them."""
    top = True
    for cell, node in statements:
        top = top and (is_docstring(node) or is_import(node))
        if not top:
            inner = (n for n in ast.walk(node) if isinstance(n, IMPORTS))
            yield from (f"{cell.line(n.lineno)}: an import below the top" for n in inner)


def is_import(node):
    """An import, or the choice between two (`try: import cupy`)."""
    inner = ast.iter_child_nodes(node) if isinstance(node, ast.If | ast.Try) else [node]
    return any(isinstance(n, IMPORTS) for n in inner)


def upward(name, statements, below):
    """Imports from the same or a higher floor, and from the workshop."""
    for cell, node in ((cell, n) for cell, top in statements for n in ast.walk(top)):
        for target in targets(node):
            where, module = cell.line(node.lineno), target.removeprefix("grad.").split(".")[0]
            if target == ".":
                yield f"{where}: a relative import; {INSTEAD}"
            elif target == "grad":
                yield f"{where}: `import grad` offers every floor; {INSTEAD}"
            elif module == "course":
                yield f"{where}: grad.course is the workshop and no part of the engine"
            elif module not in below:
                yield f"{where}: grad.{module} is not below grad.{name}"
