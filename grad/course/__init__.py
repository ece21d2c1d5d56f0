"""The workshop: it weaves the chapters into the package, keeps notebooks tidy, releases and grades.

`%load_ext grad.course` makes a notebook run each cell marked `#| export NAME` inside grad.NAME.
Nothing outside this folder imports it.
"""


def load_ipython_extension(shell):
    from grad.course import kept

    kept.load(shell)


def unload_ipython_extension(shell):
    from grad.course import kept

    kept.unload(shell)
