"""Arrays that a graph still needs are lent to it: read-only until it lets go."""

from weakref import ref

from numpy import ndarray

LOANS = {}  # id of a lent array -> a weak reference to its Loan
PARKED = {}  # id of a lent array -> views of it that can be opened only after it


class Loan:
    """One array, read-only for as long as anyone holds its Loan: the reference count counts."""

    __slots__ = ("array", "__weakref__")

    def __init__(self, array):
        self.array = array
        array.setflags(write=False)
        LOANS[id(array)] = ref(self)

    def __del__(self):
        del LOANS[id(self.array)]
        try:
            self.array.setflags(write=True)
        except ValueError:  # a view cannot be written to before its base can, which is lent too
            if id(self.array.base) in LOANS:
                PARKED.setdefault(id(self.array.base), []).append(self.array)
        for view in PARKED.pop(id(self.array), ()):
            view.setflags(write=True)


def borrow(array, args):
    """Return the Loan of an array: the one there is, a new one for an argument, or None."""
    loan = LOANS.get(id(array))
    if loan is None and not array.flags.writeable:
        loan = LOANS.get(id(array.base))  # a view that will open with its base
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
    for cell in pullback.__closure__ or ():
        try:
            array = cell.cell_contents
        except ValueError:  # a variable that was never set
            continue
        if type(array) is ndarray and (loan := borrow(array, args)):
            loans = loan, loans
    if base is not None:
        for arg in args:
            if type(arg) is ndarray and (arg is base or arg.base is base):
                if loan := borrow(arg, args):
                    loans = loan, loans
    if loans:
        pullback.loans = loans
