"""Uploads: files that come in parts. An upload is completed, cancelled or expired once."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from luthier.jobs.database import Database
from luthier.jobs.errors import Conflict
from luthier.jobs.reading import missing, one, reader, values_of
from luthier.jobs.records import Part, StoredFile, Upload
from luthier.jobs.room import check_room
from luthier.jobs.tables import files, parts, uploads

_columns, _upload = reader(uploads, Upload)
_part_columns, _part = reader(parts, Part)


class UploadStore:
    """Uploads and their parts."""

    def __init__(self, database: Database, clock: ModuleType) -> None:
        self._database = database
        self._clock = clock

    def add(self, upload: Upload) -> Upload:
        """Begin an upload."""
        with self._database.write() as connection:
            connection.execute(uploads.insert().values(values_of(upload)))
        return upload

    def get(self, project: str, id: str) -> Upload:
        """One upload."""
        with self._database.read() as connection:
            return _find(connection, project, id)

    def add_part(self, project: str, part: Part, most: int | None = None) -> Part:
        """Record a part whose bytes are in place.

        Raises:
            Conflict: the upload is over.
            NoRoom: the project would store more than `most` bytes.
        """
        with self._database.write() as connection:
            check_room(connection, project, part.bytes, most)
            self._pending(connection, project, part.upload_id)
            connection.execute(parts.insert().values(values_of(part)))
        return part

    def parts(self, project: str, id: str, part_ids: Sequence[str] | None = None) -> list[Part]:
        """The named parts in the order named, or all as they came."""
        query = sql.select(*_part_columns).where(parts.c.upload_id == id).order_by(parts.c.number)
        with self._database.read() as connection:
            _find(connection, project, id)
            found = [_part(row) for row in connection.execute(query)]
        if part_ids is None:
            return found
        by_id = {part.id: part for part in found}
        for part_id in part_ids:
            if part_id not in by_id:
                raise missing("part", part_id, param="part_ids")
        return [by_id[part_id] for part_id in part_ids]

    def complete(self, project: str, id: str, file: StoredFile) -> Upload:
        """The upload becomes `file`; Conflict when it is over already."""
        with self._database.write() as connection:
            self._pending(connection, project, id)
            connection.execute(files.insert().values(values_of(file)))
            _set(connection, id, status="completed", file_id=file.id)
            return _find(connection, project, id)

    def cancel(self, project: str, id: str) -> Upload:
        """Give the upload up; Conflict when it is over already."""
        with self._database.write() as connection:
            self._pending(connection, project, id)
            _set(connection, id, status="cancelled")
            return _find(connection, project, id)

    def expire(self, now: int) -> list[Upload]:
        """End every open upload whose time is over, of any project; gives them, so that their parts can go."""
        late = (uploads.c.status == "pending", uploads.c.expires_at <= now)
        query = sql.select(*_columns).where(*late).order_by(uploads.c.number).with_for_update()
        with self._database.write() as connection:
            ids = [_upload(row).id for row in connection.execute(query)]
            for id in ids:
                _set(connection, id, status="expired")
            ended = sql.select(*_columns).where(uploads.c.id.in_(ids)).order_by(uploads.c.number)
            return [_upload(row) for row in connection.execute(ended)]

    def _pending(self, connection: Connection, project: str, id: str) -> None:
        """Lock the row of an upload that still takes parts."""
        upload = _find(connection, project, id, lock=True)
        if upload.status == "pending" and upload.expires_at <= self._clock.now().timestamp():
            raise Conflict(f"the upload {id} has expired.", remedy="Begin a new one.", code="upload_expired")
        if upload.status != "pending":
            raise Conflict(f"the upload {id} is {upload.status}.", remedy="Begin a new one.", code="upload_over")


def _find(connection: Connection, project: str, id: str, *, lock: bool = False) -> Upload:
    query = sql.select(*_columns).where(uploads.c.project_id == project, uploads.c.id == id)
    return _upload(one(connection, query.with_for_update() if lock else query, "upload", id))


def _set(connection: Connection, id: str, **values: Any) -> None:
    connection.execute(uploads.update().where(uploads.c.id == id).values(values))
