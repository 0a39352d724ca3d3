"""Rows of jobs inside a transaction: locked, changed together with their events, ended once.

The store's side (people) and the queue's side (supervisors) both change jobs through this file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import sqlalchemy as sql
from sqlalchemy import ColumnElement, Connection

from luthier.jobs.database import Database
from luthier.jobs.ids import new_id
from luthier.jobs.memo import Memo
from luthier.jobs.reading import missing, reader
from luthier.jobs.records import TERMINAL, Job, JobStatus, NewEvent
from luthier.jobs.search_rows import drop_entries
from luthier.jobs.tables import events, jobs

logger = logging.getLogger("luthier.jobs")

job_columns, job_of = reader(jobs, Job)
SETTABLE = frozenset(
    {
        "base_model", "chosen", "error", "estimated_finish", "fine_tuned_model", "method", "recipe", "result",
        "result_files", "seed", "step", "task", "total_steps", "trained_tokens",
    }
)  # fmt: skip
"""Fields of a job that its supervisor may set beside the status."""
_own_columns = [jobs.c.validated, jobs.c.beats, jobs.c.claimed_step, jobs.c.losses, jobs.c.last_event]
# Built once: to build a statement of forty columns takes longer than to run it.
_BY_ID = sql.select(*job_columns).where(jobs.c.id == sql.bindparam("job"))
_LOCKED = sql.select(*job_columns, *_own_columns).where(jobs.c.id == sql.bindparam("job")).with_for_update()
_CHANGED = jobs.update().where(jobs.c.id == sql.bindparam("job"))
_PRESENT = sql.select(events.c.key).where(
    events.c.job_id == sql.bindparam("job"), events.c.key.in_(sql.bindparam("keys", expanding=True))
)
_LAST_WORDS = {
    "succeeded": "The job has successfully completed",
    "failed": "The job failed",
    "cancelled": "The job was cancelled",
}


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as its row has it, locked until the end of the transaction."""

    job: Job
    validated: bool
    beats: int
    claimed_step: int
    losses: int
    last_event: int


class JobChanges:
    """Transactions that change jobs. What they changed is told to the memory and to the listeners."""

    def __init__(self, database: Database, clock: ModuleType) -> None:
        self.database = database
        self.clock = clock
        self.jobs: Memo[Job] = Memo(most=4096)
        self.pages: Memo[Any] = Memo(most=128)
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with a job's id after each commit that changed it."""
        self._listeners.append(callback)

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock.now().timestamp())

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction."""
        touched: list[str] = []
        with self.database.holding():
            with self.database.write() as connection:
                yield Transaction(connection, touched, self.now())
            for id in touched:
                self.jobs.drop(id)
                self.pages.drop(id)
        for id in dict.fromkeys(touched):
            for callback in self._listeners:
                try:
                    callback(id)
                except Exception:
                    logger.exception("a listener failed for the job %s", id)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What can be done to jobs within one transaction."""

    connection: Connection
    touched: list[str]
    now: int

    def lock(self, id: str, project: str | None = None) -> JobRow:
        """The job `id` (of `project`); nobody else changes it until the end. NotFound when it is not there."""
        row = self.connection.execute(_LOCKED, {"job": id}).first()
        found = None if row is None else _job_row(row)
        if found is None or project not in (None, found.job.project_id):
            raise missing("fine-tuning job", id)
        return found

    def lock_free(self, *conditions: ColumnElement[bool], limit: int | None = None) -> list[JobRow]:
        """Jobs that meet the conditions, most urgent first, without those that somebody else has locked."""
        query = (
            sql.select(*job_columns, *_own_columns)
            .where(*conditions)
            .order_by(jobs.c.priority.desc(), jobs.c.number)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [_job_row(row) for row in self.connection.execute(query)]

    def read(self, id: str) -> Job:
        """The job as it is now."""
        return read_job(self.connection, id)

    def change(self, row: JobRow, news: Sequence[NewEvent] = (), **values: Any) -> None:
        """Set `values` and add the events that the job does not have yet."""
        last_event = self._add_events(row, news)
        values |= {"version": row.job.version + 1, "last_event": last_event}
        self.connection.execute(_CHANGED, {"job": row.job.id, **values})
        self.touched.append(row.job.id)

    def end(self, row: JobRow, status: JobStatus, news: Sequence[NewEvent] = (), **values: Any) -> None:
        """Set a terminal status. Its event is the caller's, or a plain one when the caller gives none.

        A job that is over already is left alone by the callers: they look at the locked row first.
        """
        assert status in TERMINAL and not row.job.terminal
        if not news:
            news = [last_words(status, values.get("error"))]
        if row.job.kind == "search":
            drop_entries(self.connection, row.job.id)
        over = {"finished_at": self.now, "estimated_finish": None, "owner": None, "device": None, "wanted": None}
        self.change(row, news, **(over | values), status=status)

    def _add_events(self, row: JobRow, news: Sequence[NewEvent]) -> int:
        """Insert or ignore on (job, key), numbered without a gap; gives the number of the last event."""
        if not news:
            return row.last_event
        first_of_key = {event.key: event for event in reversed(news)}
        asked = {"job": row.job.id, "keys": list(first_of_key)}
        present = {key for (key,) in self.connection.execute(_PRESENT, asked)}
        fresh = [event for event in news if event.key not in present and first_of_key[event.key] is event]
        values = [
            {
                "id": new_id("ftevent-"),
                "job_id": row.job.id,
                "seq": seq,
                "key": event.key,
                "created_at": self.now if event.created_at is None else event.created_at,
                "level": event.level,
                "type": event.type,
                "message": event.message,
                "data": event.data,
            }
            for seq, event in enumerate(fresh, row.last_event + 1)
        ]
        if values:
            self.connection.execute(events.insert(), values)
        return row.last_event + len(values)


def read_job(connection: Connection, id: str) -> Job:
    """The job `id`; NotFound when it is not there."""
    row = connection.execute(_BY_ID, {"job": id}).first()
    if row is None:
        raise missing("fine-tuning job", id)
    return job_of(row)


def last_words(status: JobStatus, error: dict[str, Any] | None = None) -> NewEvent:
    """The terminal event of a job whose supervisor could not say one."""
    words = _LAST_WORDS[status]
    if error and error.get("message"):
        words = f"{words}: {error['message']}"
    return NewEvent(status, words, level="error" if status == "failed" else "info")


def settable(values: dict[str, Any]) -> dict[str, Any]:
    """`values`; TypeError for one that only the store sets."""
    if unknown := values.keys() - SETTABLE:
        raise TypeError(f"no field of a job that can be set: {', '.join(sorted(unknown))}")
    return values


def _job_row(row: sql.Row[Any]) -> JobRow:
    own = len(_own_columns)
    return JobRow(job_of(row[:-own]), *row[-own:])  # type: ignore[arg-type]
