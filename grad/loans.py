"""Arrays that a graph still needs are lent to it: read-only until it lets go."""

from weakref import ref

from numpy import ndarray

LOANS = {}  # id of a lent array -> a weak reference to its Loan


class Loan:
    """One array, read-only for as long as anyone holds its Loan: the reference count counts."""

    __slots__ = ("array", "views", "__weakref__")

    def __init__(self, array):
        self.array, self.views = array, ()
        array.setflags(False)
        LOANS[id(array)] = ref(self)

    def __del__(self):
        del LOANS[id(self.array)]
        try:
            self.array.setflags(True)
        except ValueError:  # a view cannot be written to before its base can, which is lent too
            base = LOANS.get(id(self.array.base))
            if base:
                base().views += (self.array,)
        for view in self.views:
            view.setflags(True)


def borrow(array, args):
    """Return the Loan of an array: the one there is, a new one for an argument, or None."""
    loan = LOANS.get(id(array))
    if loan is not None:
        return loan()
    if array.flags.writeable and any(array is arg for arg in args):
        return Loan(array)
    return None


def lend(pullback, args, value):
    """Lend a pullback the arguments that its closure names, for as long as it lives.

    Where the value is a view of an argument, that is lent too: who names the view needs both.
    """
    loans, base = None, value.base
    for cell in pullback.__closure__:
        try:
            array = cell.cell_contents
        except ValueError:  # a variable that was never set
            continue
        if type(array) is ndarray:
            loans = borrow(array, args), loans
    if base is not None:
        for arg in args:
            if type(arg) is ndarray and (arg is base or arg.base is base):
                loans = borrow(arg, args), loans
    if loans:
        pullback.loans = loans
