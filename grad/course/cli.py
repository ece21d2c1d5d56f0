"""Build, read and grade the course."""

import argparse
import sys
from importlib import import_module

from grad import __version__
from grad.course.places import CourseError

COMMANDS = {  # the learner's, then the author's
    "lab": "grad.course.lab",
    "grade": "grad.course.grade",
    "reset": "grad.course.reset",
    "update": "grad.course.update",
    "doctor": "grad.course.doctor",
    "build": "grad.course.weave",
    "plan": "grad.course.plan",
    "tidy": "grad.course.tidy",
    "release": "grad.course.release",
}


def parser(wanted):
    """A parser that knows the wanted commands, each described by its own module."""
    top = argparse.ArgumentParser(prog="grad", description=__doc__)
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in wanted:
        module = import_module(COMMANDS[name])
        line = module.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=line, description=line)
        module.arguments(command)
        command.set_defaults(do=module.run)
    return top


def main(argv=None):
    """Run one command and return its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    words, rest = argv[:cut], argv[cut + 1 :]
    wanted = words[:1] if words and words[0] in COMMANDS else COMMANDS
    args = parser(wanted).parse_args(words or ["--help"])
    args.rest = rest  # what follows `--` belongs to the program that the command starts
    try:
        return args.do(args)
    except CourseError as error:
        print(f"grad {args.command}: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] == "grad":
            raise
        remedy = 'pip install -e ".[course]"'
        print(f"grad {args.command}: needs {error.name}. {remedy} brings it", file=sys.stderr)
    return 2
