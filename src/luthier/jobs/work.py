"""What a worker does: the job of its assignment, by its kind."""

from __future__ import annotations

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
        from luthier.jobs.auto_job import run_auto

        return run_auto(assignment, listener)
    from luthier.jobs import pipeline

    return pipeline.run_job(assignment, listener)
