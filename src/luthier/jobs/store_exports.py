"""Exports of tuned models: what was asked for, and what came of it. The bytes are the artefact ``exports/<id>``.

`bytes` of one that is being made is the room that is kept for it: what it needs at least, and all of it once that is
known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sql

from luthier.jobs.database import Database
from luthier.jobs.errors import Conflict
from luthier.jobs.page_records import ModelExport
from luthier.jobs.reading import one, reader, values_of
from luthier.jobs.room import check_room, exported_by
from luthier.jobs.tables import exports, projects

MOST = 100
"""Of one project."""
_columns, _export = reader(exports, ModelExport)


class ExportStore:
    """Exports of projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, export: ModelExport, most: int | None = None) -> ModelExport:
        """Record an export that begins, and keep room for it.

        Raises:
            Conflict: the project has too many. NoRoom: with `export.bytes` it would store more than `most`.
        """
        mine = exports.c.project_id == export.project_id
        with self._database.write() as connection:
            place = sql.select(projects.c.id).where(projects.c.id == export.project_id)
            one(connection, place.with_for_update(key_share=True), "project", export.project_id)
            count = sql.select(sql.func.count()).select_from(exports).where(mine)
            if connection.execute(count).scalar_one() >= MOST:
                message = f"a project keeps at most {MOST} exports."
                raise Conflict(message, remedy="Delete one.", code="too_many_exports")
            check_room(connection, export.project_id, export.bytes, most, "to")
            connection.execute(exports.insert().values(values_of(export)))
        return export

    def get(self, project: str, id: str) -> ModelExport:
        """One export."""
        query = sql.select(*_columns).where(exports.c.project_id == project, exports.c.id == id)
        with self._database.read() as connection:
            return _export(one(connection, query, "export", id))

    def list(self, project: str, model: str) -> Sequence[ModelExport]:
        """The exports of a model, newest first."""
        query = sql.select(*_columns).where(exports.c.project_id == project, exports.c.model == model)
        with self._database.read() as connection:
            return [_export(row) for row in connection.execute(query.order_by(exports.c.number.desc()))]

    def keep_room(self, project: str, id: str, size: int, most: int | None = None) -> None:
        """Keep so much room for a running export.

        Raises:
            NotFound: it was deleted. NoRoom: the project would store more than `most` bytes.
        """
        mine = (exports.c.project_id == project, exports.c.id == id, exports.c.status == "running")
        with self._database.write() as connection:
            kept = _export(one(connection, sql.select(*_columns).where(*mine), "export", id)).bytes
            if size > kept:
                connection.execute(exports.update().where(*mine).values(bytes=0))
                check_room(connection, project, size, most, "to")
            connection.execute(exports.update().where(*mine).values(bytes=size))

    def usage(self, project: str) -> int:
        """Bytes of the project's exports."""
        with self._database.read() as connection:
            return exported_by(connection, project)

    def finish(self, id: str, now: int, *, size: int = 0, error: dict[str, Any] | None = None) -> bool:
        """Say what came of a running one; whether it was still there."""
        values = {
            "status": "succeeded" if error is None else "failed", "bytes": size, "error": error, "finished_at": now,
        }  # fmt: skip
        running = (exports.c.id == id, exports.c.status == "running")
        with self._database.write() as connection:
            return bool(connection.execute(exports.update().where(*running).values(**values)).rowcount)

    def interrupted(self, now: int, before: int) -> int:
        """End those that a server that is gone had begun before this time; how many."""
        error = {"code": "interrupted", "message": "The server stopped before the export was done."}
        old = (exports.c.status == "running", exports.c.created_at <= before)
        with self._database.write() as connection:
            values = {"status": "failed", "bytes": 0, "error": error, "finished_at": now}
            return int(connection.execute(exports.update().where(*old).values(**values)).rowcount)

    def delete(self, project: str, id: str) -> ModelExport:
        """Forget one."""
        mine = (exports.c.project_id == project, exports.c.id == id)
        with self._database.write() as connection:
            export = _export(one(connection, sql.select(*_columns).where(*mine), "export", id))
            connection.execute(exports.delete().where(*mine))
        return export
