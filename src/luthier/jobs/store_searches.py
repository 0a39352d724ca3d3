"""Searches: the journal of each study, a row per transaction.

The same list of transactions as `search.journal.FileJournal` keeps in a file, for searches that a service runs.
Optuna's own tables are not used: they carry an Alembic version table that would meet ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import sqlalchemy as sql
from sqlalchemy import Connection

from luthier.jobs.database import Database
from luthier.jobs.ids import new_id
from luthier.jobs.reading import missing, one, reader, values_of
from luthier.jobs.records import Search
from luthier.jobs.tables import projects, search_entries, searches
from luthier.search.journal import Transaction

_columns, _search = reader(searches, Search)


class SearchStore:
    """Searches of projects."""

    def __init__(self, database: Database, clock: ModuleType) -> None:
        self._database = database
        self._clock = clock

    def create(self, project: str, name: str) -> Search:
        """A new search with an empty journal; NotFound when there is no such project."""
        search = Search(new_id("search_"), project, name, int(self._clock.now().timestamp()))
        with self._database.write() as connection:
            place = sql.select(projects.c.id).where(projects.c.id == project)
            one(connection, place.with_for_update(key_share=True), "project", project)
            connection.execute(searches.insert().values(values_of(search)))
        return search

    def get(self, project: str, id: str) -> Search:
        """One search."""
        query = sql.select(*_columns).where(searches.c.project_id == project, searches.c.id == id)
        with self._database.read() as connection:
            return _search(one(connection, query, "search", id))

    def list(self, project: str) -> list[Search]:
        """The searches of a project, newest first."""
        query = sql.select(*_columns).where(searches.c.project_id == project).order_by(searches.c.number.desc())
        with self._database.read() as connection:
            return [_search(row) for row in connection.execute(query)]

    def delete(self, project: str, id: str) -> None:
        """Forget a search and its journal."""
        mine = (searches.c.project_id == project, searches.c.id == id)
        with self._database.write() as connection:
            place = sql.select(searches.c.id).where(*mine)
            one(connection, place.with_for_update(), "search", id)
            connection.execute(search_entries.delete().where(search_entries.c.search_id == id))
            connection.execute(searches.delete().where(*mine))

    def journal(self, project: str, id: str) -> StoredJournal:
        """The journal of a search; NotFound when there is none."""
        return StoredJournal(self._database, self.get(project, id).id)


class StoredJournal:
    """A `search.journal.Journal` in the database."""

    def __init__(self, database: Database, search: str) -> None:
        self._database = database
        self._search = search

    def read(self, start: int) -> list[Transaction]:
        """The transactions from number `start` on."""
        with self._database.read() as connection:
            return _read(connection, self._search, start)

    @contextmanager
    def exclusive(self) -> Iterator[_Book]:
        """A transaction of the database that holds the search's row: whoever else writes waits for its end."""
        place = sql.select(searches.c.id).where(searches.c.id == self._search)
        with self._database.write() as connection:
            if connection.execute(place.with_for_update()).first() is None:
                raise missing("search", self._search)
            yield _Book(connection, self._search)


class _Book:
    """The journal inside its transaction."""

    def __init__(self, connection: Connection, search: str) -> None:
        self._connection = connection
        self._search = search

    def read(self, start: int) -> list[Transaction]:
        """The transactions from number `start` on."""
        return _read(self._connection, self._search, start)

    def append(self, entries: Transaction) -> None:
        """Add one transaction; durable when the database commits."""
        newest = sql.select(sql.func.max(search_entries.c.seq)).where(search_entries.c.search_id == self._search)
        last = self._connection.execute(newest).scalar()
        seq = 0 if last is None else int(last) + 1
        self._connection.execute(search_entries.insert().values(search_id=self._search, seq=seq, entries=entries))


def _read(connection: Connection, search: str, start: int) -> list[Transaction]:
    query = (
        sql.select(search_entries.c.entries)
        .where(search_entries.c.search_id == search, search_entries.c.seq >= start)
        .order_by(search_entries.c.seq)
    )
    return [list(row.entries) for row in connection.execute(query)]
