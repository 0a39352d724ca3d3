"""The journal of a search's study: a row for each transaction, in the order in which they were decided.

It is the list that `search.journal.FileJournal` keeps in a file. Optuna's own tables are not used: they carry an
Alembic version table that would meet ours, and hold the database for as long as a sampler thinks. Here what a
transaction wrote comes when it is decided, as one short insert by the supervisor that holds the job's claim: two
workers of one job are kept apart by its worker, two supervisors by the claim's fence.
"""

from __future__ import annotations

import sqlalchemy as sql
from sqlalchemy import Connection

from luthier.jobs.errors import Conflict
from luthier.jobs.tables import search_entries

MOST_READ = 200
"""Transactions that are read at once; a worker asks again for more."""
_journal = search_entries.c


def read_entries(connection: Connection, job: str, start: int) -> list[str]:
    """The transactions from number `start` on, at most `MOST_READ`, as JSON."""
    mine = (_journal.job_id == job, _journal.number >= start)
    query = sql.select(_journal.entries).where(*mine).order_by(_journal.number).limit(MOST_READ)
    return [text for (text,) in connection.execute(query)]


def add_entries(connection: Connection, job: str, number: int, entries: str) -> None:
    """Add transaction `number`, the one after the last. Once more, because the answer was lost, it changes nothing.

    Raises:
        Conflict: `journal_conflict`: another one is there, or one before it is missing.
    """
    mine = _journal.job_id == job
    last = connection.execute(sql.select(sql.func.max(_journal.number)).where(mine)).scalar()
    if number == (0 if last is None else last + 1):
        connection.execute(search_entries.insert().values(job_id=job, number=number, entries=entries))
        return
    there = connection.execute(sql.select(_journal.entries).where(mine, _journal.number == number)).scalar()
    if there != entries:
        raise Conflict(f"the journal of the search {job} has another entry {number}.", code="journal_conflict")


def drop_entries(connection: Connection, job: str) -> None:
    """Forget the journal: the search is over, and its trials stand in search.json."""
    connection.execute(search_entries.delete().where(_journal.job_id == job))
