"""Open a chapter in JupyterLab.

What follows `--` is handed to `jupyter lab`: `grad lab 3 -- --no-browser --port 9000`.
"""

import os

from grad.course import places


def find(wanted):
    """The chapter notebook meant by a number (3, 03) or a part of its name (order)."""
    chapters = places.chapters()
    for chapter in chapters:
        same = places.number(chapter) == int(wanted) if wanted.isdigit() else wanted in chapter.stem
        if same:
            return chapter
    raise places.CourseError(
        f"no chapter {wanted}; there are {', '.join(chapter.stem for chapter in chapters)}"
    )


def trust(chapters):
    """Sign the chapters as Jupyter does when you run them, so that their pictures show at once."""
    from nbformat import read
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary()
    for chapter in chapters:
        notary.sign(read(chapter, as_version=4))


def arguments(parser):
    parser.add_argument(
        "chapter", nargs="?", default="1", help="3, or order; the first if left out"
    )
    parser.epilog = "What follows -- is handed to jupyter lab: grad lab 3 -- --no-browser"


def run(args):
    from jupyterlab.labapp import main

    root, chapter = places.root(), find(args.chapter)
    trust(places.chapters())
    os.chdir(root)
    main([str(chapter), f"--ServerApp.root_dir={root}", *args.rest])
    return 0
