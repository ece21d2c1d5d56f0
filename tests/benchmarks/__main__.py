"""Run one set of measurements and print it as a table."""

import sys
from importlib import import_module

SETS = ["scalar", "levels", "tensor", "optim", "parallel"]

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in SETS:
        sys.exit(f"usage: python -m tests.benchmarks {{{','.join(SETS)}}}")
    import_module(f"tests.benchmarks.{sys.argv[1]}").main()
