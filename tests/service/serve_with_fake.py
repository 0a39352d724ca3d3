"""`luthier serve` whose jobs are done by tests/jobs/fake_worker.py: a chain of hashes stands for the weights."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from luthier.cli.main import main
from luthier.jobs.patience import Patience
from luthier.server import parts

FAKE = str(Path(__file__).resolve().parent.parent / "jobs" / "fake_worker.py")

if __name__ == "__main__":
    quick = Patience(batch=0.05, beat=0.5, stop=20.0, look=0.2, room=0.3, retry=0.1)
    parts.Supervisor = functools.partial(parts.Supervisor, program=(FAKE,), patience=quick, nice=0)  # type: ignore
    sys.exit(main(sys.argv[1:]))
