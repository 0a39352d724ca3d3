"""Projects and keys. Of a key only the SHA-256 of its secret is stored."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from types import ModuleType

import sqlalchemy as sql

from luthier.jobs.database import Database
from luthier.jobs.errors import InvalidValue
from luthier.jobs.ids import new_id
from luthier.jobs.known_identities import Known, KnownIdentities, digest_of
from luthier.jobs.reading import one, reader, values_of
from luthier.jobs.records import Identity, Key, Project, Role
from luthier.jobs.tables import keys, projects

SECRET_PREFIX = "lu-"
_SECRET_BYTES = 32
_LONGEST_SECRET = 200
"""Characters; nothing longer is hashed."""

_project_columns, _project = reader(projects, Project)
_key_columns, _key = reader(keys, Key)
_BY_DIGEST = sql.select(*_key_columns).where(keys.c.digest == sql.bindparam("digest"))


class ProjectStore:
    """Projects: what keys, files, jobs and models belong to."""

    def __init__(self, database: Database, clock: ModuleType) -> None:
        self._database = database
        self._clock = clock

    def create(self, name: str) -> Project:
        """A new project."""
        project = Project(new_id("proj_"), name, int(self._clock.now().timestamp()))
        with self._database.write() as connection:
            connection.execute(projects.insert().values(values_of(project)))
        return project

    def list(self) -> list[Project]:
        """All projects, oldest first."""
        query = sql.select(*_project_columns).order_by(projects.c.number)
        with self._database.read() as connection:
            return [_project(row) for row in connection.execute(query)]

    def get(self, id: str) -> Project:
        """The project with this id."""
        with self._database.read() as connection:
            return _project(one(connection, sql.select(*_project_columns).where(projects.c.id == id), "project", id))

    def default(self) -> Project:
        """The project of those who never made one: the oldest, made when there is none."""
        oldest = sql.select(*_project_columns).order_by(projects.c.number).limit(1)
        with self._database.write() as connection:
            if connection.dialect.name == "postgresql":  # two servers that start at once
                connection.exec_driver_sql("LOCK TABLE projects IN SHARE ROW EXCLUSIVE MODE")
            row = connection.execute(oldest).first()
            if row is not None:
                return _project(row)
            project = Project(new_id("proj_"), "default", int(self._clock.now().timestamp()))
            connection.execute(projects.insert().values(values_of(project)))
            return project


class KeyStore:
    """Keys of projects. `revoked` is called with the id of each key that is ended."""

    def __init__(self, database: Database, clock: ModuleType, revoked: Callable[[str], None]) -> None:
        self._database = database
        self._clock = clock
        self._revoked = revoked
        self._known = KnownIdentities(database, clock, self._look_up)

    def create(self, project: str, name: str, role: Role, expires_at: int | None = None) -> tuple[Key, str]:
        """A new key and its secret, which nobody can read again."""
        if role not in ("admin", "write", "read"):
            raise InvalidValue("a role is admin, write or read.", code="invalid_role", param="role")
        secret = SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        key = Key(new_id("key_"), project, name, role, int(self._clock.now().timestamp()), expires_at)
        with self._database.write() as connection:
            one(connection, sql.select(projects.c.id).where(projects.c.id == project), "project", project)
            connection.execute(keys.insert().values(values_of(key, digest=digest_of(secret))))
        return key, secret

    def authenticate(self, secret: str) -> Identity | None:
        """Whose secret this is; None: nobody's, or its key is revoked or has expired."""
        return self._known.ask(digest_of(secret)) if _is_possible(secret) else None

    def recall(self, secret: str) -> Identity | None:
        """What `authenticate` answers where it need not ask the database; never waits."""
        return self._known.recall(digest_of(secret)) if _is_possible(secret) else None

    def _look_up(self, digest: str) -> Known | None:
        with self._database.read() as connection:
            row = connection.execute(_BY_DIGEST, {"digest": digest}).first()
        key = None if row is None else _key(row)
        if key is None or key.revoked_at is not None:
            return None
        return Known(Identity(key.id, key.project_id, key.role), key.expires_at)

    def list(self, project: str | None = None) -> list[Key]:
        """The keys of a project, or all, oldest first; the revoked too."""
        query = sql.select(*_key_columns).order_by(keys.c.number)
        if project is not None:
            query = query.where(keys.c.project_id == project)
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(query)]

    def over(self, ids: Collection[str]) -> set[str]:
        """Which of these keys are no longer valid, or are not there."""
        now = int(self._clock.now().timestamp())
        valid = sql.select(keys.c.id).where(
            keys.c.id.in_(ids),
            keys.c.revoked_at.is_(None),
            sql.or_(keys.c.expires_at.is_(None), keys.c.expires_at > now),
        )
        with self._database.read() as connection:
            return set(ids) - {row[0] for row in connection.execute(valid)}

    def revoke(self, project: str, key_id: str) -> Key:
        """End a key now; one that is revoked already stays so."""
        mine = (keys.c.project_id == project, keys.c.id == key_id)
        with self._database.holding():
            with self._database.write() as connection:
                now = int(self._clock.now().timestamp())
                connection.execute(keys.update().where(*mine, keys.c.revoked_at.is_(None)).values(revoked_at=now))
                key = _key(one(connection, sql.select(*_key_columns).where(*mine), "key", key_id))
                digest = connection.execute(sql.select(keys.c.digest).where(*mine)).scalar_one()
            self._known.forget(digest)
            self._revoked(key_id)
        return key


def _is_possible(secret: str) -> bool:
    return secret.startswith(SECRET_PREFIX) and len(secret) <= _LONGEST_SECRET and secret.isascii()
