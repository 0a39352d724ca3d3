"""How much a project stores, and whether more fits: asked in the transaction that enters it, so that it holds.

What counts is what a project itself put there: files, parts of open uploads, and exports; one that is being made counts
with what it needs at least. Tuned models and reports do not count: they are the results of jobs.
"""

from __future__ import annotations

import sqlalchemy as sql
from sqlalchemy import Connection

from luthier.jobs.errors import NoRoom
from luthier.jobs.reading import one
from luthier.jobs.tables import exports, files, parts, projects, uploads


def used_by(connection: Connection, project: str) -> int:
    """Bytes of the project's files, of the parts of its open uploads, and of its exports."""
    stored = sql.select(sql.func.coalesce(sql.func.sum(files.c.bytes), 0)).where(files.c.project_id == project)
    coming = (
        sql.select(sql.func.coalesce(sql.func.sum(parts.c.bytes), 0))
        .join(uploads, uploads.c.id == parts.c.upload_id)
        .where(uploads.c.project_id == project, uploads.c.status == "pending")
    )
    found = [int(connection.execute(query).scalar_one()) for query in (stored, coming)]
    return sum(found) + exported_by(connection, project)


def exported_by(connection: Connection, project: str) -> int:
    """Bytes of the project's exports."""
    made = sql.select(sql.func.coalesce(sql.func.sum(exports.c.bytes), 0)).where(exports.c.project_id == project)
    return int(connection.execute(made).scalar_one())


def check_room(connection: Connection, project: str, size: int, most: int | None, param: str = "file") -> None:
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
        words = f"The project may store {most:,} bytes; {left:,} are left"
        needed = f", and this export needs {size:,} or more" if param == "to" else ""
        raise NoRoom(f"{words}{needed}.", remedy="Delete a file or an export.", param=param)
