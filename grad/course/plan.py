"""Draw the floor plan: the modules each chapter makes, and what each stands on directly."""

from itertools import groupby

import graphviz

from grad.course import places
from grad.course.cells import floor_plan
from grad.draw import INK, LEAF, PAPER, QUIET

PICTURE = "chapters/floor-plan.svg"


def direct(imports):
    """Leave out what a module also stands on through another that it imports."""
    under = {}
    for module, found in imports.items():  # from the ground up
        under[module] = set(found).union(*(under[below] for below in found))
    return {
        module: [x for x in found if not any(x in under[other] for other in found)]
        for module, found in imports.items()
    }


def svg():
    """The picture, computed from the imports in the kept cells."""
    plan = floor_plan(places.chapters())
    picture = graphviz.Digraph(format="svg")
    picture.attr(rankdir="LR", bgcolor=PAPER, nodesep="0.15", ranksep="0.45", pad="0.15")
    picture.attr("graph", fontname="Helvetica", fontsize="11", fontcolor=INK, style="rounded")
    picture.attr("node", shape="box", style="rounded,filled", fillcolor=LEAF, color=QUIET)
    picture.attr("node", fontname="Helvetica", fontsize="12", fontcolor=INK, height="0.35")
    picture.attr("edge", color=QUIET, arrowsize="0.6", dir="back")
    for chapter, floor in groupby(plan, key=lambda row: row[0]):
        title = chapter.replace("_", "  ").title()
        with picture.subgraph(name=f"cluster {chapter}") as cluster:
            cluster.attr(label=title, color=QUIET)
            for _, module, _ in floor:
                cluster.node(module)
    for module, imports in direct({module: imports for _, module, imports in plan}).items():
        for below in imports:
            picture.edge(below, module)
    return picture.pipe(encoding="utf-8")


def arguments(parser):
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when it is old")


def run(args):
    path, text = places.root() / PICTURE, svg()
    current = path.exists() and path.read_text(encoding="utf-8") == text
    if not args.check and not current:
        path.write_text(text, encoding="utf-8", newline="\n")
    if not current:
        print(f"{'not what the chapters make' if args.check else 'wrote'}: {PICTURE}")
    return int(args.check and not current)
