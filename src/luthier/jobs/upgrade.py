"""Brings a database to this program's version: all of it in one transaction, or none.

CREATE TABLE is transactional in SQLite too, once Python does not handle transactions itself (`jobs.database`).
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sql
from sqlalchemy import Connection, Engine

from luthier.core.errors import StorageError
from luthier.jobs import migrations

_ADVISORY_LOCK = 0x6C757468
"""PostgreSQL: two servers that start at once migrate one after the other."""


def upgrade(engine: Engine) -> None:
    """Run the migrations that `engine`'s database lacks.

    Raises:
        StorageError: a newer version of Luthier wrote it.
    """
    with engine.begin() as connection:
        if version(connection) == migrations.HEAD:
            return
        if connection.dialect.name == "postgresql":
            connection.execute(sql.text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})
        _migrate(connection, version(connection))


def version(connection: Connection) -> str | None:
    """The version of the database; None: it is empty."""
    if not sql.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sql.text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection, current: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    # A percent sign in the path would be read as a variable of the configuration.
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StorageError(
            f"the database was written by a newer version of Luthier (version {current}; this one knows "
            f"{migrations.HEAD}).",
            remedy="Install that version again, or choose another database.",
            code="database_too_new",
        )
    command.upgrade(config, migrations.HEAD)
