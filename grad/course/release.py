"""Make exercises/ from solutions/, as nbgrader would, and keep the answers that are there.

What the learner has written into an exercise notebook goes into its new release by grade id.
"""

from grad.course import exercise
from grad.course.places import CourseError, root


def arguments(parser):
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="3, 03, order or 03_order")
    parser.add_argument("--check", action="store_true", help="write nothing; name what is stale")


def run(args):
    try:
        import nbgrader  # noqa: F401
    except ModuleNotFoundError:
        raise CourseError('needs nbgrader: pip install -e ".[instructor]"') from None
    chapters = exercise.chapters(args.chapters)
    stale = [chapter for chapter in chapters if not release(chapter, args.check)]
    return int(args.check and bool(stale))


def release(chapter, check=False):
    """Release one notebook; whether it was current already."""
    path = exercise.mine(chapter)
    name = path.relative_to(root()).as_posix()
    new = released(exercise.solved(chapter))
    old = path.read_text(encoding="utf-8") if path.exists() else None
    if old == new:
        return True
    if check:
        print(f"stale: {name}: grad release {chapter}")
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = exercise.blank(exercise.read(exercise.solved(chapter)))
    mine = exercise.read(path) if old else fresh
    path.write_text(new, encoding="utf-8", newline="\n")
    print(f"released {name}")
    if exercise.touched(mine, fresh):
        exercise.write(path, exercise.fill(exercise.read(path), mine))
        carried = ", ".join(exercise.answers(mine, fresh)) or "cells of your own"
        print(f"  kept what was written in it: {carried}")
    return False


def released(path):
    """The exercise notebook for the solved one at `path`, as text, by nbgrader's own hand."""
    import nbformat
    from nbgrader import preprocessors as nbgrader
    from traitlets.config import Config

    config = Config()
    config.ClearSolutions.code_stub = {"python": exercise.STUB}
    book = nbformat.read(str(path), 4)
    for step in (
        nbgrader.LockCells,
        nbgrader.ClearSolutions,
        nbgrader.ClearOutput,
        nbgrader.CheckCellMetadata,
        nbgrader.ComputeChecksums,
        nbgrader.ClearHiddenTests,
        nbgrader.ClearMarkScheme,
        nbgrader.ComputeChecksums,
        nbgrader.CheckCellMetadata,
    ):
        book, _ = step(config=config).preprocess(book, {})
    return nbformat.writes(book) + "\n"
