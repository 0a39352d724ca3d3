"""Every problem of a data set, found before it costs a run: `check(...)` gives a `CheckReport`.

A check is one file with one small object (`base.Check`) and one line in `run.CHECKS`.
"""

from luthier.data.checks.report import CheckReport
from luthier.data.checks.run import check

__all__ = ["CheckReport", "check"]
