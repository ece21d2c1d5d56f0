"""Weave the chapters into the package, or say where the two differ.

grad/NAME.py is the cells of the chapters that begin `#| export NAME`, in reading order, two blank
lines apart. The mark is taken off and nothing is added. Every module of the package except
grad/__init__.py is made this way.
"""

import difflib
import shutil
import sys
from pathlib import Path

from grad.course import lint, places
from grad.course.cells import by_module, kept_cells


def woven(upto=None):
    """The package as the chapters make it, up to a chapter: module name -> text."""
    chapters = [c for c in places.chapters() if upto is None or places.number(c) <= upto]
    if complaints := lint.complaints(chapters):
        raise places.CourseError("\n  ".join(["the package cannot be woven", *complaints]))
    modules = by_module(kept_cells(chapters))
    return {name: "\n\n\n".join(c.code for c in own) + "\n" for name, own in modules.items()}


def drift(made, package):
    """The diff that would bring the package on disk to what the chapters make."""
    for name, text in made.items():
        old = on_disk(package / f"{name}.py") or ""
        titles = f"grad/{name}.py", f"grad/{name}.py as the chapters make it"
        yield from difflib.unified_diff(old.splitlines(True), text.splitlines(True), *titles)


def on_disk(path):
    return path.read_text(encoding="utf-8") if path.exists() else None


def strays(made, package):
    """Modules on disk that no chapter makes."""
    return [p for p in sorted(package.glob("*.py")) if p.stem not in made and p.stem != "__init__"]


def write(made, package):
    """Write the modules that changed and return their names."""
    changed = [name for name in made if on_disk(package / f"{name}.py") != made[name]]
    for name in changed:
        (package / f"{name}.py").write_text(made[name], encoding="utf-8", newline="\n")
    return changed


def write_slice(made, out):
    """Write a package of its own: these modules and the two hand-written places."""
    package, source = Path(out) / "grad", places.root() / "grad"
    if package.exists():
        raise places.CourseError(f"{package} is there already")
    shutil.copytree(source / "course", package / "course", ignore=shutil.ignore_patterns("*cache*"))
    shutil.copy(source / "__init__.py", package)
    write(made, package)


def arguments(parser):
    parser.add_argument("--check", action="store_true", help="write nothing; print the difference")
    parser.add_argument("--upto", type=int, metavar="K", help="stop after chapter K; needs --out")
    parser.add_argument("--out", metavar="DIR", help="write a package of its own into DIR/grad")


def run(args):
    if args.upto is not None and args.out is None:
        raise places.CourseError("--upto makes a smaller package: say where, with --out DIR")
    made = woven(args.upto)
    if args.out is not None:
        write_slice(made, args.out)
        return 0

    package = places.root() / "grad"
    difference = list(drift(made, package)) if args.check else []
    sys.stdout.writelines(difference)
    for name in [] if args.check else write(made, package):
        print(f"wrote grad/{name}.py")
    for path in strays(made, package):
        print(f"no chapter makes grad/{path.name}: keep a cell for it, or delete it")
    return int(bool(difference or strays(made, package)))
