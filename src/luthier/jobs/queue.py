"""The queue: how supervisors take jobs, report on them and give them back.

Every write of a supervisor checks the fencing number of its claim in the same transaction; one that lost its claim
gets `StaleClaim` and has written nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sql

from luthier.jobs.errors import Conflict, StaleClaim
from luthier.jobs.job_rows import JobRow, Transaction, last_words, settable
from luthier.jobs.limits import Limits
from luthier.jobs.reading import values_of
from luthier.jobs.records import Claim, Job, JobCheckpoint, JobStatus, Model, NewEvent, StoredFile, Wanted
from luthier.jobs.search_rows import add_entries, read_entries
from luthier.jobs.store import Store
from luthier.jobs.tables import checkpoints as checkpoint_table
from luthier.jobs.tables import files as file_table
from luthier.jobs.tables import jobs
from luthier.jobs.tables import models as model_table

LEASE_SECONDS = 30.0
"""Three heartbeats of ten seconds, or more of them: one that is late is no lost supervisor."""
_LET_GO = {"owner": None, "device": None, "wanted": None, "estimated_finish": None}


class Queue:
    """The jobs of a store, for the supervisor `owner` (a name that no other supervisor has, now or before)."""

    def __init__(
        self, store: Store, owner: str, lease_seconds: float = LEASE_SECONDS, limits: Limits | None = None
    ) -> None:
        self.owner = owner
        self.lease_seconds = lease_seconds
        self.limits = limits or Limits()
        self._changes = store.changes
        self._leases = store.leases
        self._claiming = threading.Lock()

    def claim(self, devices: Sequence[str] = ("cpu",)) -> Claim | None:
        """Take the most urgent job that waits, for the first device that is free; None: no job or no device."""
        with self._claiming, self._changes.write() as transaction:
            device = self._free_device(transaction, devices)
            waiting = transaction.lock_free(jobs.c.status == "queued", limit=1) if device else []
            if device is None or not waiting:
                return None
            row = waiting[0]
            job, fence, beats = row.job, row.job.fence + 1, row.beats + 1
            transaction.change(
                row,
                status="running",
                fence=fence,
                owner=self.owner,
                device=device,
                wanted=None,
                beats=beats,
                claimed_step=job.step,
                started_at=job.started_at or transaction.now,
            )
            # Before the commit: from then on a rescue may look.
            self._leases.saw(job.id, fence, beats)
            return Claim(transaction.read(job.id), fence, self.owner, device)

    def _free_device(self, transaction: Transaction, devices: Sequence[str]) -> str | None:
        query = sql.select(jobs.c.device, sql.func.count()).group_by(jobs.c.device)
        mine = query.where(jobs.c.status == "running", jobs.c.owner == self.owner)
        busy: dict[str, int] = {row[0]: row[1] for row in transaction.connection.execute(mine)}
        return next((device for device in devices if busy.get(device, 0) < self.limits.running), None)

    def heartbeat(self, claim: Claim) -> Wanted | None:
        """Say that the job is being worked on; gives what a person wants of it.

        Raises:
            StaleClaim: somebody else has it, or it is over.
        """
        mine = (jobs.c.id == claim.job.id, jobs.c.fence == claim.fence, jobs.c.status == "running")
        with self._changes.database.write() as connection:
            beat = connection.execute(jobs.update().where(*mine).values(beats=jobs.c.beats + 1))
            if beat.rowcount == 0:
                raise _stale(claim)
            beats, wanted = connection.execute(sql.select(jobs.c.beats, jobs.c.wanted).where(*mine)).one()
            self._leases.saw(claim.job.id, claim.fence, beats)
        return wanted  # type: ignore[no-any-return]

    def record(
        self,
        claim: Claim,
        events: Sequence[NewEvent] = (),
        step: int | None = None,
        total_steps: int | None = None,
        chosen: Mapping[str, Any] | None = None,
        estimated_finish: int | None = None,
        checkpoint: JobCheckpoint | None = None,
        models: Sequence[Model] = (),
        **fields: Any,
    ) -> None:
        """Write down what happened, and set `fields` of the job. Events and checkpoints that are there already are
        left as they are; a model of the same name and job becomes what is given here.

        The step of a job never falls: a run that goes on from a checkpoint repeats steps that were recorded.
        """
        settable(fields)
        with self._changes.write() as transaction:
            row = self._held(transaction, claim)
            values: dict[str, Any] = fields | {
                "total_steps": total_steps,
                "chosen": None if chosen is None else dict(chosen),
                "estimated_finish": estimated_finish,
                "step": None if step is None else max(step, row.job.step),
            }
            _add_checkpoints(transaction, row, [] if checkpoint is None else [checkpoint])
            _add_models(transaction, models)
            transaction.change(row, events, **{name: value for name, value in values.items() if value is not None})

    def entries(self, claim: Claim, start: int) -> list[str]:
        """The journal of a search from transaction `start` on, or a part of it; nothing: there are no more."""
        with self._changes.database.read() as connection:
            return read_entries(connection, claim.job.id, start)

    def add_entries(self, claim: Claim, number: int, entries: str) -> None:
        """Add transaction `number` to the journal of a search; the same call again changes nothing.

        Raises:
            Conflict: `journal_conflict`: another one is there, or one before it is missing.
        """
        with self._changes.write() as transaction:
            row = self._held(transaction, claim)
            add_entries(transaction.connection, row.job.id, number, entries)

    def finish(
        self,
        claim: Claim,
        status: JobStatus,
        *,
        events: Sequence[NewEvent],
        models: Sequence[Model] = (),
        checkpoints: Sequence[JobCheckpoint] = (),
        result_files: Sequence[StoredFile | str] = (),
        error: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Job:
        """End the job: succeeded, failed or cancelled, once. The same call again gives the same job.

        Args:
            result_files: files to be recorded, or ids of recorded ones.
            fields: further fields of the job (trained_tokens, fine_tuned_model, result, ...).

        Raises:
            StaleClaim: somebody else has it, or it is over.
            Conflict: code ``cancel_wanted``: a cancel was accepted before; finish with ``cancelled``.
        """
        settable(fields)
        with self._changes.write() as transaction:
            row = transaction.lock(claim.job.id)
            if row.job.fence == claim.fence and row.job.terminal and row.job.status == status:
                return row.job  # the answer to the first call was lost with a connection
            self._check(row, claim)
            if row.job.wanted == "cancel" and status != "cancelled":
                raise Conflict(f"the job {row.job.id} is being cancelled.", code="cancel_wanted")
            _add_checkpoints(transaction, row, checkpoints)
            _add_models(transaction, models)
            for file in result_files:
                if isinstance(file, StoredFile):
                    transaction.connection.execute(file_table.insert().values(values_of(file)))
            if result_files:
                fields["result_files"] = [file if isinstance(file, str) else file.id for file in result_files]
            transaction.end(row, status, events, **fields, error=error)
            return transaction.read(row.job.id)

    def paused(self, claim: Claim, events: Sequence[NewEvent]) -> Job:
        """The job stands still until a person resumes it; a cancel that was accepted before goes first."""
        with self._changes.write() as transaction:
            row = self._held(transaction, claim)
            if row.job.wanted == "cancel":
                transaction.end(row, "cancelled")
            else:
                transaction.change(row, events, **_LET_GO, status="paused", attempts=0)
            return transaction.read(row.job.id)

    def release(
        self, claim: Claim, progressed: bool, events: Sequence[NewEvent], error: dict[str, Any] | None = None
    ) -> Job:
        """Put the job back into the queue, or where a person wants it.

        Args:
            progressed: the worker got further, or is not to blame (it was asked to make room).
            error: what the job's error becomes when this was the last try.
        """
        with self._changes.write() as transaction:
            row = self._held(transaction, claim)
            attempts = 0 if progressed else row.job.attempts + 1
            if attempts >= self.limits.crashes and row.job.wanted != "cancel":
                why = error or {
                    "code": "worker_crashed",
                    "message": f"The worker ended {attempts} times in a row without progress.",
                    "param": None,
                }
                transaction.end(row, "failed", [*events, last_words("failed", why)], error=why, attempts=attempts)
            else:
                _put_back(transaction, row, events, attempts=attempts)
            return transaction.read(row.job.id)

    def rescue(self) -> list[str]:
        """Put jobs back whose supervisor has been silent for a lease; gives their ids. To be called every second."""
        rescued = []
        with self._changes.write() as transaction:
            running = transaction.lock_free(jobs.c.status == "running")
            self._leases.keep({row.job.id for row in running})
            for row in running:
                job = row.job
                if self._leases.silent_seconds(job.id, job.fence, row.beats) < self.lease_seconds:
                    continue
                further = job.step > row.claimed_step
                losses = 0 if further else row.losses + 1
                if losses >= self.limits.losses and job.wanted != "cancel":
                    why = {
                        "code": "supervisor_lost",
                        "message": f"The server ended {losses} times in a row while it ran this job.",
                        "param": None,
                    }
                    transaction.end(row, "failed", error=why)
                else:
                    _put_back(transaction, row, (), losses=losses, attempts=0 if further else job.attempts)
                rescued.append(job.id)
        return rescued

    def _held(self, transaction: Transaction, claim: Claim) -> JobRow:
        """The locked row of a job that the claim still holds."""
        row = transaction.lock(claim.job.id)
        self._check(row, claim)
        return row

    @staticmethod
    def _check(row: JobRow, claim: Claim) -> None:
        if row.job.status != "running" or row.job.fence != claim.fence:
            raise _stale(claim)


def _stale(claim: Claim) -> StaleClaim:
    return StaleClaim(f"the claim {claim.fence} of the job {claim.job.id} is not valid any more.")


def _put_back(transaction: Transaction, row: JobRow, events: Sequence[NewEvent], **values: Any) -> None:
    """To the queue, or to what a person wanted of the job while it ran."""
    if row.job.wanted == "cancel":
        transaction.end(row, "cancelled", [*events, last_words("cancelled")], **values)
    else:
        status = "paused" if row.job.wanted == "pause" else "queued"
        transaction.change(row, events, **_LET_GO, **values, status=status)


def _add_checkpoints(transaction: Transaction, row: JobRow, new: Sequence[JobCheckpoint]) -> None:
    for checkpoint in new:
        same = (checkpoint_table.c.job_id == row.job.id, checkpoint_table.c.step == checkpoint.step)
        if transaction.connection.execute(sql.select(checkpoint_table.c.id).where(*same)).first() is None:
            transaction.connection.execute(checkpoint_table.insert().values(values_of(checkpoint)))


def _add_models(transaction: Transaction, new: Sequence[Model]) -> None:
    for model in new:
        same = (model_table.c.name == model.name, model_table.c.job_id == model.job_id)
        values = values_of(model)
        now = {name: values[name] for name in ("artefact", "base_model", "task", "method")}
        if transaction.connection.execute(model_table.update().where(*same).values(now)).rowcount == 0:
            transaction.connection.execute(model_table.insert().values(values))
