"""Files of a project. The bytes are artefacts; here is what is known of them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sql

from luthier.jobs.database import Database
from luthier.jobs.errors import Conflict
from luthier.jobs.reading import Order, one, page, reader, start_of, values_of
from luthier.jobs.records import TERMINAL, Page, StoredFile
from luthier.jobs.room import check_room, used_by
from luthier.jobs.tables import dataset_versions, files, jobs

_columns, _file = reader(files, StoredFile)


class FileStore:
    """Files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, file: StoredFile, most: int | None = None) -> StoredFile:
        """Record a file whose bytes are in place.

        Raises:
            NoRoom: the project would store more than `most` bytes.
        """
        with self._database.write() as connection:
            check_room(connection, file.project_id, file.bytes, most)
            connection.execute(files.insert().values(values_of(file)))
        return file

    def get(self, project: str, id: str) -> StoredFile:
        """One file."""
        mine = (files.c.project_id == project, files.c.id == id)
        with self._database.read() as connection:
            return _file(one(connection, sql.select(*_columns).where(*mine), "file", id))

    def list(
        self,
        project: str,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 10000,
        order: Order = "desc",
    ) -> Page[StoredFile]:
        """The files of a project."""
        query = sql.select(*_columns).where(files.c.project_id == project)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        with self._database.read() as connection:
            named = (files.c.project_id == project, files.c.id == after)
            start = start_of(connection, files.c.number, named, after, "file")
            return page(connection, query, _file, number=files.c.number, start=start, limit=limit, order=order)

    def delete(self, project: str, id: str) -> StoredFile:
        """Forget a file; Conflict while a job that is not over needs it."""
        mine = (files.c.project_id == project, files.c.id == id)
        needed = sql.select(jobs.c.id).where(
            jobs.c.project_id == project,
            jobs.c.status.not_in(TERMINAL),
            uses(sql.literal(id)),
        )
        with self._database.write() as connection:
            file = _file(one(connection, sql.select(*_columns).where(*mine).with_for_update(), "file", id))
            job = connection.execute(needed.limit(1)).first()
            holding = sql.select(dataset_versions.c.dataset_id).where(_holds(sql.literal(id)))
            holder = connection.execute(holding.limit(1)).first()
            if holder is not None:
                raise Conflict(
                    f"the file {id} is a version of the data set {holder[0]}.",
                    remedy="Delete the data set.",
                    code="file_in_use",
                )
            if job is not None:
                raise Conflict(
                    f"the file {id} is needed by the job {job[0]}.",
                    remedy="Delete it when the job is over, or cancel the job.",
                    code="file_in_use",
                )
            connection.execute(files.delete().where(*mine))
        return file

    def usage(self, project: str) -> int:
        """Bytes of the project's files and of the parts of its open uploads."""
        with self._database.read() as connection:
            return used_by(connection, project)

    def expired(self, now: int) -> Sequence[StoredFile]:
        """Files of any project whose time is over, and that no job needs any more."""
        needed = sql.exists().where(
            jobs.c.project_id == files.c.project_id,
            jobs.c.status.not_in(TERMINAL),
            uses(files.c.id),
        )
        held = sql.exists().where(_holds(files.c.id))
        query = sql.select(*_columns).where(files.c.expires_at <= now, ~needed, ~held).order_by(files.c.number)
        with self._database.read() as connection:
            return [_file(row) for row in connection.execute(query)]


def _holds(file_id: sql.ColumnElement[str]) -> sql.ColumnElement[bool]:
    """Whether a version of a data set is made of this file."""
    return sql.or_(dataset_versions.c.file_id == file_id, dataset_versions.c.test_file_id == file_id)


def uses(file_id: sql.ColumnElement[str]) -> sql.ColumnElement[bool]:
    """Whether a job names this file: as OpenAI's fields do, or anywhere in its recipe (tests, further parts)."""
    recipe = sql.type_coerce(jobs.c.recipe, sql.Text)
    return sql.or_(jobs.c.training_file == file_id, jobs.c.validation_file == file_id, recipe.contains(file_id))
