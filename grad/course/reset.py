"""Give an exercise back blank, and keep the answer it had.

The old answer stays beside the notebook. Given cells that were edited or deleted are put back too.
"""

from itertools import count

from grad.course import exercise
from grad.course.places import CourseError


def arguments(parser):
    parser.add_argument(
        "exercises",
        nargs="+",
        metavar="EXERCISE",
        help="03_order/sort, or sort where one chapter has it, or 03_order for all of a chapter",
    )


def run(args):
    wanted = {}
    for word in args.exercises:
        chapter, names = find(word)
        wanted.setdefault(chapter, []).extend(names)
    for chapter, names in wanted.items():
        reset(chapter, dict.fromkeys(names))
    return 0


def find(word):
    """The chapter and the exercises a word stands for."""
    within, _, name = word.rpartition("/")
    known = {c: exercise.exercises(exercise.read(exercise.solved(c))) for c in exercise.chapters()}
    if within:
        (chapter,) = exercise.chapters([within])
        found = [chapter] if name in known[chapter] else []
    else:
        found = [chapter for chapter in known if name in known[chapter]]
    if len(found) == 1:
        return found[0], [name]
    if found:
        ways = ", ".join(f"{chapter}/{name}" for chapter in found)
        raise CourseError(f"more than one chapter has {name!r}: say {ways}")
    if within:
        raise CourseError(f"{chapter} has no exercise {name!r}; it has {', '.join(known[chapter])}")
    try:
        (chapter,) = exercise.chapters([word])
    except CourseError:
        raise CourseError(
            f"there is no exercise or chapter {word!r}; the chapters are {', '.join(known)}"
        ) from None
    return chapter, list(known[chapter])


def reset(chapter, names):
    """Blank the named exercises of a chapter's notebook."""
    path = exercise.mine(chapter)
    fresh = exercise.blank(exercise.read(exercise.solved(chapter)))
    found = on_disk(path)
    mine = found or fresh
    written, stubs = exercise.answers(mine, fresh), exercise.sources(fresh)
    own = exercise.exercises(fresh)
    for name in names:
        for answer in filter(written.get, own[name]):
            old = aside(path.with_name(f"{answer}.py"))
            old.write_text(written[answer] + "\n", encoding="utf-8", newline="\n")
            print(f"{chapter}/{answer}: blank again; your answer is kept in {old.name}")
    blanked = {answer for name in names for answer in own[name]}
    stale = blanked | {f"{name}-check" for name in names}
    for cell in mine["cells"]:
        if exercise.grade_id(cell) in blanked:
            cell["source"] = stubs[exercise.grade_id(cell)]
        if exercise.grade_id(cell) in stale:
            cell.update(outputs=[], execution_count=None)
    there = exercise.sources(mine)
    mended = [name for name, source in stubs.items() if there.get(name) != source]
    for name in mended:
        if name not in written:
            print(f"{chapter}/{name}: put back as it was given")
    exercise.write(path, exercise.fill(fresh, mine))
    if found is None:
        print(f"{chapter}: a blank notebook is there now")
    elif not mended and not blanked & written.keys():
        print(f"{chapter}: blank already: {', '.join(names)}")


def on_disk(path):
    """The learner's notebook; one that can't be read is moved out of the way."""
    if not path.exists():
        return None
    try:
        return exercise.read(path)
    except exercise.NotebookError as error:
        old = path.rename(aside(path.with_suffix(".txt")))  # pytest would collect an .ipynb
        print(f"{error}; it is kept as {old.name}")
        return None


def aside(path):
    """The first name beside `path` that is free: sort.py is kept as sort.old-1.py."""
    names = (path.with_name(f"{path.stem}.old-{n}{path.suffix}") for n in count(1))
    return next(name for name in names if not name.exists())
