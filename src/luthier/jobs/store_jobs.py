"""Jobs as people see them: created, looked at, cancelled, paused and resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sql

from luthier.jobs.errors import Conflict, LimitReached
from luthier.jobs.job_rows import JobChanges, Transaction, job_columns, job_of, read_job, settable
from luthier.jobs.limits import Limits
from luthier.jobs.reading import Order, missing, one, page, reader, start_of, values_of
from luthier.jobs.records import TERMINAL, Job, JobCheckpoint, JobEvent, JobKind, JobStatus, NewEvent, Page
from luthier.jobs.tables import checkpoints, events, job_metadata, jobs, projects

_event_columns, _event = reader(events, JobEvent)
_checkpoint_columns, _checkpoint = reader(checkpoints, JobCheckpoint)
_WAITING = ("validating_files", "queued", "paused")


class JobStore:
    """Jobs, their events and their checkpoints."""

    def __init__(self, changes: JobChanges) -> None:
        self._changes = changes
        self._database = changes.database

    def create(
        self, job: Job, events: Sequence[NewEvent], idempotency: str | None = None, *, limits: Limits | None = None
    ) -> tuple[Job, bool]:
        """Record a job, or find the one that the same key made; gives the job, and whether it is new.

        Raises:
            LimitReached: the job's key or project has as many jobs that are not over as `limits` allows.
        """
        with self._changes.write() as transaction:
            connection = transaction.connection
            # One creation at a time in a project: what is counted and looked for cannot change meanwhile.
            place = sql.select(projects.c.id).where(projects.c.id == job.project_id).with_for_update(key_share=True)
            one(connection, place, "project", job.project_id)
            if idempotency is not None:
                same = (jobs.c.project_id == job.project_id, jobs.c.idempotency == idempotency)
                row = connection.execute(sql.select(*job_columns).where(*same)).first()
                if row is not None:
                    return job_of(row), False
            if limits is not None:
                _check_limits(transaction, job, limits)
            own = {"beats": 0, "claimed_step": job.step, "losses": 0, "last_event": 0}
            validated = job.status != "validating_files"
            connection.execute(
                jobs.insert().values(values_of(job, idempotency=idempotency, validated=validated, **own))
            )
            pairs = [{"job_id": job.id, "name": name, "value": value} for name, value in job.metadata.items()]
            if pairs:
                connection.execute(job_metadata.insert(), pairs)
            transaction.change(transaction.lock(job.id), events)
            return transaction.read(job.id), True

    def get(self, project: str, id: str) -> Job:
        """One job of a project."""
        job = self._job(id)
        if job.project_id != project:
            raise missing("fine-tuning job", id)
        return job

    def known(self, project: str, id: str) -> Job | None:
        """`get` for those who may not wait: the job where it is in memory, and then it is as the database has it."""
        job = self._changes.jobs.get(id)
        return job if job is not None and job.project_id == project else None

    def find(self, id: str) -> Job:
        """One job, whatever its project: for supervisors."""
        return self._job(id)

    def _job(self, id: str) -> Job:
        known = self._changes.jobs.get(id)
        if known is not None:
            return known
        with self._database.holding():
            with self._database.read() as connection:
                job = read_job(connection, id)
            if self._database.exclusive:
                self._changes.jobs.put(id, job)
            return job

    def list(
        self,
        project: str,
        after: str | None = None,
        limit: int = 20,
        metadata: Mapping[str, str] | None = None,
        order: Order = "desc",
        kinds: Sequence[JobKind] | None = None,
    ) -> Page[Job]:
        """The jobs of a project, of these kinds, that have every pair of `metadata`; ``{}`` asks for those that have
        none at all."""
        query = sql.select(*job_columns).where(jobs.c.project_id == project)
        if kinds is not None:
            query = query.where(jobs.c.kind.in_(kinds))
        if metadata is not None and not metadata:
            query = query.where(~sql.exists().where(job_metadata.c.job_id == jobs.c.id))
        for name, value in (metadata or {}).items():
            pair = (job_metadata.c.name == name, job_metadata.c.value == value)
            query = query.where(sql.exists().where(job_metadata.c.job_id == jobs.c.id, *pair))
        with self._database.read() as connection:
            named = [jobs.c.project_id == project, jobs.c.id == after]
            named += [] if kinds is None else [jobs.c.kind.in_(kinds)]
            start = start_of(connection, jobs.c.number, named, after, "fine-tuning job")
            return page(connection, query, job_of, number=jobs.c.number, start=start, limit=limit, order=order)

    def with_status(self, *statuses: JobStatus) -> Sequence[Job]:
        """The jobs of all projects in one of these statuses, oldest first: for supervisors."""
        query = sql.select(*job_columns).where(jobs.c.status.in_(statuses)).order_by(jobs.c.number)
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def counts(self) -> dict[str, int]:
        """How many jobs there are of each status."""
        query = sql.select(jobs.c.status, sql.func.count()).group_by(jobs.c.status)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def events(
        self, project: str, id: str, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[JobEvent]:
        """The events of a job."""
        self.get(project, id)
        question = (after, limit, order)
        known: Page[JobEvent] | None = self._changes.pages.get(id, question)
        if known is not None:
            return known
        query = sql.select(*_event_columns).where(events.c.job_id == id)
        with self._database.holding():
            with self._database.read() as connection:
                named = (events.c.job_id == id, events.c.id == after)
                start = start_of(connection, events.c.seq, named, after, "event")
                found = page(connection, query, _event, number=events.c.seq, start=start, limit=limit, order=order)
            if self._database.exclusive:
                self._changes.pages.put(id, found, question)
            return found

    def checkpoints(self, project: str, id: str, after: str | None = None, limit: int = 10) -> Page[JobCheckpoint]:
        """The checkpoints of a job, newest first."""
        self.get(project, id)
        number = checkpoints.c.number
        query = sql.select(*_checkpoint_columns).where(checkpoints.c.job_id == id)
        with self._database.read() as connection:
            named = (checkpoints.c.job_id == id, checkpoints.c.id == after)
            start = start_of(connection, number, named, after, "checkpoint")
            return page(connection, query, _checkpoint, number=number, start=start, limit=limit, order="desc")

    def validated(self, id: str, fields: Mapping[str, Any], events: Sequence[NewEvent]) -> Job:
        """The files are good: the job waits for a supervisor, or stays paused. Conflict when it is past that."""
        values = settable(dict(fields))
        with self._changes.write() as transaction:
            row = transaction.lock(id)
            if row.validated or row.job.status not in ("validating_files", "paused"):
                raise _wrong_status(row.job, "be queued")
            status = "queued" if row.job.status == "validating_files" else row.job.status
            transaction.change(row, events, **values, validated=True, status=status)
            return transaction.read(id)

    def rejected(self, id: str, error: dict[str, Any], events: Sequence[NewEvent]) -> Job:
        """The files are bad: the job has failed. Conflict when it is past that."""
        with self._changes.write() as transaction:
            row = transaction.lock(id)
            if row.validated or row.job.status not in ("validating_files", "paused"):
                raise _wrong_status(row.job, "be rejected")
            transaction.end(row, "failed", events, error=error)
            return transaction.read(id)

    def cancel(self, project: str, id: str, events: Sequence[NewEvent] = ()) -> Job:
        """Cancel a waiting job at once (with `events`, or a plain one), or ask it of the running one's supervisor."""
        with self._changes.write() as transaction:
            row = transaction.lock(id, project)
            if row.job.status in _WAITING:
                transaction.end(row, "cancelled", events)
            elif row.job.status != "running":
                raise _wrong_status(row.job, "be cancelled")
            elif row.job.wanted != "cancel":
                transaction.change(row, wanted="cancel")
            return transaction.read(id)

    def pause(self, project: str, id: str, events: Sequence[NewEvent] = ()) -> Job:
        """Pause a waiting job at once (with `events`), or ask it of the running one's supervisor."""
        with self._changes.write() as transaction:
            row = transaction.lock(id, project)
            if row.job.status in ("validating_files", "queued"):
                transaction.change(row, events, status="paused")
            elif row.job.status != "running" or row.job.wanted == "cancel":
                raise _wrong_status(row.job, "be paused")
            elif row.job.wanted is None:
                transaction.change(row, wanted="pause")
            return transaction.read(id)

    def resume(self, project: str, id: str, events: Sequence[NewEvent] = ()) -> Job:
        """Let a paused job wait for a supervisor again, or for its files to be checked."""
        with self._changes.write() as transaction:
            row = transaction.lock(id, project)
            if row.job.status != "paused":
                raise _wrong_status(row.job, "be resumed")
            status = "queued" if row.validated else "validating_files"
            transaction.change(row, events, status=status, attempts=0)
            return transaction.read(id)


def _wrong_status(job: Job, action: str) -> Conflict:
    state = {"cancel": " and is being cancelled", "pause": " and is being paused", None: ""}[job.wanted]
    return Conflict(f"the job {job.id} is {job.status}{state}, so it cannot {action}.", code="job_status")


def _check_limits(transaction: Transaction, job: Job, limits: Limits) -> None:
    held = sql.select(sql.func.count()).select_from(jobs).where(jobs.c.status.not_in(TERMINAL))
    for most, whose, condition in (
        (limits.per_key, "this key", jobs.c.key_id == job.key_id),
        (limits.per_project, "this project", jobs.c.project_id == job.project_id),
    ):
        if most is not None and transaction.connection.execute(held.where(condition)).scalar_one() >= most:
            raise LimitReached(
                f"{whose} has {most} jobs that are not over, and may not have more.",
                remedy="Wait until one is over, or cancel one.",
            )
