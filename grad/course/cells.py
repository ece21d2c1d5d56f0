"""The kept cells of the chapters: code that begins `#| export NAME` and belongs to grad.NAME."""

import ast
import json
import re
from dataclasses import dataclass

MARK = re.compile(r"#\|\s*export\s+(\w+)[ \t]*\n")


@dataclass(frozen=True)
class Kept:
    """A kept cell: the module it belongs to, its code, and where a reader finds it."""

    chapter: str
    number: int
    module: str
    code: str
    above: int  # lines of the cell above the code

    def line(self, number):
        """Name a line of the code, counted from 1, as a reader finds it."""
        return f"{self.chapter}, cell [{self.number}], line {self.above + number}"


def code_cells(chapter):
    """Each code cell's source, with the number that JupyterLab shows once all cells have run."""
    notebook = json.loads(chapter.read_text(encoding="utf-8"))
    sources = ("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
    return enumerate(filter(str.strip, sources), start=1)


def kept_cells(chapters):
    """The kept cells of the chapters, in reading order."""
    for chapter in chapters:
        for number, source in code_cells(chapter):
            if mark := MARK.match(source):
                code = source[mark.end() :].strip()
                above = source[: source.index(code, mark.end())].count("\n")
                yield Kept(chapter.stem, number, mark[1], code, above)


def by_module(cells):
    """Module name -> its cells, both in reading order."""
    modules = {}
    for cell in cells:
        modules.setdefault(cell.module, []).append(cell)
    return modules


def targets(node):
    """What an import statement takes from this package, as dotted names; "." if it is relative."""
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level:
        return ["."]
    elif isinstance(node, ast.ImportFrom) and node.module == "grad":
        found = [f"grad.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        found = [node.module]
    else:
        return []
    return [name for name in found if name.split(".")[0] == "grad"]


def floor_plan(chapters):
    """Bottom floor first: each module as (chapter, module, the modules it imports)."""
    plan = []
    for module, cells in by_module(kept_cells(chapters)).items():
        nodes = (node for cell in cells for node in ast.walk(ast.parse(cell.code)))
        imports = {name.split(".")[1] for node in nodes for name in targets(node)}
        plan.append((cells[0].chapter, module, sorted(imports)))
    return plan
