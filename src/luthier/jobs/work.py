"""What a worker does: the job of its assignment, by its kind."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from luthier.core.events import Listener
from luthier.jobs.worker_wire import Ask, Assignment


def run_job(assignment: Assignment, listener: Listener, ask: Ask) -> dict[str, Any]:
    """Do the job, or go on with it; gives what the supervisor publishes, whom `ask` asks.

    Raises `LuthierError`; `Interrupted` after a signal, with everything saved.
    """
    if assignment.kind == "search":
        from luthier.jobs.search_job import run_search
        from luthier.jobs.search_journal import StoredJournal

        return run_search(assignment, listener, StoredJournal(ask))
    if assignment.kind == "decision":
        from luthier.jobs.decision_job import run_decision

        return run_decision(assignment, listener)
    if assignment.kind == "auto":
        from luthier.core import clock
        from luthier.core.alarm import starting

        spent = clock.monotonic() - assignment.started_at if assignment.started_at else 0.0
        is_new = not Path(assignment.run).is_dir()  # what has a model goes on, and says so
        with starting(float(assignment.recipe["auto"]["budget"]), spent) if is_new else nullcontext():
            from luthier.jobs.auto_job import run_auto

        return run_auto(assignment, listener, ask)
    from luthier.jobs import pipeline

    return pipeline.run_job(assignment, listener)
