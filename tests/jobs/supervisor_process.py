"""A server's supervisor in a process of its own, to be killed: ``supervisor_process.py HOME FILE [SECONDS]``.

Creates a job from FILE where there is none yet, prints its id, and runs it until it is over.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from workshop import FAKE, Workshop


def main(home: str, file: str) -> None:
    workshop = Workshop(Path(home), program=FAKE)
    known = workshop.store.jobs.list(workshop.project).items
    job = known[0] if known else workshop.create(workshop.upload(Path(file).read_bytes()))
    print(job.id, flush=True)
    while not workshop.job(job).terminal:
        time.sleep(0.05)
    workshop.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
