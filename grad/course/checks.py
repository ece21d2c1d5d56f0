"""What a check cell says about an answer: not yet, wrong, or right."""

import linecache
import re
import sys
import traceback
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from numbers import Number

from grad.course.compare import difference, shown, size


class Verdict(Exception):  # noqa: N818 (to learn that an answer is wrong is no error)
    """An answer that did not pass. A notebook shows the words alone, without a traceback."""

    def _render_traceback_(self):
        return [str(self)]


class NotYet(Verdict):
    """There is no answer to judge."""


class Wrong(Verdict):
    """There is an answer, and it does not do what was asked."""


@contextmanager
def checking(name, points):
    """Judge the exercise `name`: every comparison made inside the `with` block must hold."""
    check = Check(name, cell=sys._getframe(2))
    try:
        with redirect_stderr(sys.stdout):  # nbgrader takes a warning on stderr for a failure
            yield check
    except Verdict:
        raise
    except Exception as error:
        raise check.blame(error) from None
    if not check.compared:
        raise RuntimeError(f"the check of {name} compared nothing")
    print(f"{name}: right, {points} point{'s' * (points != 1)}", *check.scores, sep="\n  ")


class Check:
    """The comparisons a check cell can make. The answer comes in a `lambda`, to be run in here."""

    def __init__(self, name, cell):
        self.name, self.compared, self.scores = name, 0, []
        self.namespace, self.file = cell.f_globals, cell.f_code.co_filename

    def equal(self, yours, expected, case):
        """`yours()` must be `expected`: the same kind of thing, with the same things in it."""
        self._compare(yours, expected, case, tolerance=0.0)

    def close(self, yours, expected, case, tolerance=1e-9):
        """Like `equal`, for numbers that rounding may move a little."""
        self._compare(yours, expected, case, tolerance)

    def holds(self, yours, case):
        """`yours()` must be true; `case` says what that means."""
        value = self._run(yours, case)
        if difference(value, True):
            raise self.wrong(f"This does not hold: {case}", f"it came out as {shown(value)}")
        self.compared += 1

    def same_on(self, inputs, yours, spec, tolerance=0.0):
        """`yours` must do what `spec` does on every input. A tuple is several arguments.

        The inputs are tried from the smallest up, so the one reported is the smallest that fails.
        """
        name = getattr(yours, "__name__", "yours").replace("<lambda>", "given ")
        for given in sorted(inputs, key=size):
            given = given if isinstance(given, tuple) else (given,)
            mine, theirs = deepcopy(given), deepcopy(given)
            case = f"{name}({', '.join(shown(argument) for argument in given)})"
            self._compare(lambda mine=mine: yours(*mine), spec(*theirs), case, tolerance)

    def raises(self, kind, yours, case, match=""):
        """`yours()` must raise `kind`, with a message in which the pattern `match` is found."""
        try:
            value = yours()
        except Exception as error:
            verdict = self.blame(error, f"{case}: {kind.__name__} is due")
            if isinstance(verdict, NotYet) or not isinstance(error, kind):
                raise verdict from None
            if not re.search(match, str(error)):
                said = f"{type(error).__name__} is right, and its message {str(error)!r}"
                raise self.wrong(case, f"{said} does not mention {match!r}") from None
        else:
            raise self.wrong(case, f"{kind.__name__} is due, and {shown(value)} was returned")
        self.compared += 1

    def within(self, what, used, budget):
        """A score: `used` must be at most `budget`. A check needs more than a score."""
        if not isinstance(used, Number) or not used <= budget:
            raise self.wrong(what, f"yours:   {shown(used)}", f"at most: {budget}")
        self.scores.append(f"{what}: {used} of at most {budget}")

    def wrong(self, case, *lines):
        """The verdict on a wrong answer."""
        return Wrong("\n  ".join([f"{self.name}: wrong. {case}", *lines]))

    def not_yet(self, reason):
        """The verdict on an answer that is not there."""
        return NotYet(f"{self.name}: not yet. {reason}")

    def blame(self, error, case=""):
        """The verdict on an exception, with the line of the learner's own cells it came from."""
        lines = [
            (frame.f_code.co_filename, line, frame.f_code.co_qualname)
            for frame, line in traceback.walk_tb(error.__traceback__)
            if frame.f_globals is self.namespace
        ]
        own = [place for place in lines if place[0] != self.file]
        if isinstance(error, NotImplementedError):
            stub = f"`{own[-1][2]}`" if own else "The cell above"
            return self.not_yet(f"{stub} still raises NotImplementedError.")
        if isinstance(error, NameError) and not own:
            return self.not_yet(f"There is no {error.name!r}: run the cell above first.")
        file, line, _ = (own or lines)[-1]
        source = linecache.getline(file, line).strip()
        place = f"line {line} of your cell: {source}" if own else f"where the check asks: {source}"
        return self.wrong(*filter(None, [case, f"{type(error).__name__}: {error}", place]))

    def _run(self, yours, case, due=True):
        try:
            value = yours()
        except Exception as error:
            raise self.blame(error, case) from None
        if due and value is None and not self.compared:
            raise self.not_yet(f"{case}: nothing was returned.")
        return value

    def _compare(self, yours, expected, case, tolerance):
        value = self._run(yours, case, due=expected is not None)
        where = difference(value, expected, tolerance)
        if where:
            words = [f"yours:    {shown(value)}", f"expected: {shown(expected)}", where]
            raise self.wrong(case, *words)
        self.compared += 1
