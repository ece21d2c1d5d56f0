"""What every set of measurements shares: pinned worker processes, and the table at the end."""

import json
import os
import platform
import subprocess
import sys


def pin():
    """Keep this process, and those it starts, on one core, where the system allows it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        return "one pinned core"
    return "not pinned: this system does not offer it"


def worker(module, *args, under=()):
    """Run `python -m module args`, under a launcher if need be; return what it printed, as JSON."""
    command = [*under, sys.executable, "-m", module, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def show(title, conditions, rows):
    """Print rows of (name, what, target, measured, met); met is None where there is no target."""
    print(
        f"{title}\n{platform.python_implementation()} {platform.python_version()}, {conditions}\n"
    )
    head = ("", "what", "target", "measured", "")
    body = [(*row[:4], {True: "reached", False: "NOT reached", None: ""}[row[4]]) for row in rows]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(5)]
    for row in [head, *body]:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
