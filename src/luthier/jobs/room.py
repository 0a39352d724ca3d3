"""How much a project stores, and whether more fits: asked in the transaction that enters it, so that it holds."""

from __future__ import annotations

import sqlalchemy as sql
from sqlalchemy import Connection

from luthier.jobs.errors import NoRoom
from luthier.jobs.reading import one
from luthier.jobs.tables import files, parts, projects, uploads


def used_by(connection: Connection, project: str) -> int:
    """Bytes of the project's files and of the parts of its open uploads."""
    stored = sql.select(sql.func.coalesce(sql.func.sum(files.c.bytes), 0)).where(files.c.project_id == project)
    coming = (
        sql.select(sql.func.coalesce(sql.func.sum(parts.c.bytes), 0))
        .join(uploads, uploads.c.id == parts.c.upload_id)
        .where(uploads.c.project_id == project, uploads.c.status == "pending")
    )
    return int(connection.execute(stored).scalar_one()) + int(connection.execute(coming).scalar_one())


def check_room(connection: Connection, project: str, size: int, most: int | None) -> None:
    """Refuse `size` more bytes where the project would then store more than `most`. Until the transaction ends, others
    that ask the same wait.

    Raises:
        NoRoom: there is none.
    """
    if most is None:
        return
    place = sql.select(projects.c.id).where(projects.c.id == project).with_for_update(key_share=True)
    one(connection, place, "project", project)
    left = max(0, most - used_by(connection, project))
    if size > left:
        raise NoRoom(f"The project may store {most:,} bytes; {left:,} are left.", remedy="Delete a file.", param="file")
