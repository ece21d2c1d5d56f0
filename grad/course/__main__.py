"""`python -m grad.course` is the `grad` command."""

import sys

from grad.course.cli import main

sys.exit(main())
