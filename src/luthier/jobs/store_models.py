"""Tuned models and checkpoints that can be called, and which other projects may call them."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import sqlalchemy as sql
from sqlalchemy import ColumnElement

from luthier.jobs.database import Database
from luthier.jobs.errors import Conflict
from luthier.jobs.ids import new_id
from luthier.jobs.reading import Order, one, page, reader, start_of, values_of
from luthier.jobs.records import TERMINAL, Model, Page, Permission
from luthier.jobs.tables import endpoints, exports, jobs, models, permissions, projects

_columns, _model = reader(models, Model)
_permission_columns, _permission = reader(permissions, Permission)


class ModelStore:
    """Tuned models. A project sees its own, and checkpoints that it was given a permission for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, project: str, name: str) -> Model:
        """One model."""
        query = sql.select(*_columns).where(models.c.name == name, _visible(project))
        with self._database.read() as connection:
            return _model(one(connection, query, "model", name, param="model"))

    def list(self, project: str) -> list[Model]:
        """Every model that the project may use, newest first."""
        query = sql.select(*_columns).where(_visible(project)).order_by(models.c.number.desc())
        with self._database.read() as connection:
            return [_model(row) for row in connection.execute(query)]

    def descendants(self, project: str, name: str, limit: int = 100) -> Sequence[dict[str, object]]:
        """The project's newest jobs that go on from a model: id, status, fine_tuned_model."""
        names = ("id", "status", "fine_tuned_model")
        query = sql.select(*(jobs.c[one] for one in names)).where(jobs.c.project_id == project, jobs.c.parent == name)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(jobs.c.number.desc()).limit(limit))
            return [dict(zip(names, row, strict=True)) for row in rows]

    def used(self, artefacts: Sequence[str]) -> set[str]:
        """Those of `artefacts` that are a model's."""
        query = sql.select(models.c.artefact).where(models.c.artefact.in_(artefacts))
        with self._database.read() as connection:
            return {row[0] for row in connection.execute(query)}

    def delete(self, project: str, name: str) -> tuple[Model, Sequence[str]]:
        """Forget a model, its permissions and its exports, whose ids are told too, as their bytes are to go; Conflict
        while a job goes on from it, or an endpoint runs it."""
        mine = (models.c.name == name, models.c.project_id == project)
        training = sql.select(jobs.c.id).where(jobs.c.parent == name, jobs.c.status.not_in(TERMINAL)).limit(1)
        serving = sql.select(endpoints.c.name).where(endpoints.c.model == name, endpoints.c.state == "running").limit(1)
        with self._database.write() as connection:
            query = sql.select(*_columns).where(*mine).with_for_update()
            model = _model(one(connection, query, "model", name, param="model"))
            for what, users in (("job", training), ("endpoint", serving)):
                user = connection.execute(users).scalar()
                if user is not None:
                    raise Conflict(f"the model {name} is used by the {what} {user}.", code="model_in_use")
            connection.execute(permissions.delete().where(permissions.c.checkpoint == name))
            made = (exports.c.project_id == project, exports.c.model == name)
            gone = [id for (id,) in connection.execute(sql.select(exports.c.id).where(*made))]
            connection.execute(exports.delete().where(*made))
            connection.execute(models.delete().where(*mine))
        return model, gone


def _visible(project: str) -> ColumnElement[bool]:
    given = sql.exists().where(permissions.c.checkpoint == models.c.name, permissions.c.project_id == project)
    return sql.or_(models.c.project_id == project, given)


class PermissionStore:
    """Permissions of checkpoints. Only the project that made a checkpoint gives and takes them."""

    def __init__(self, database: Database, clock: ModuleType) -> None:
        self._database = database
        self._clock = clock

    def create(self, project: str, checkpoint: str, project_ids: Sequence[str]) -> list[Permission]:
        """Let projects use a checkpoint; a permission that is there already is given back."""
        now = int(self._clock.now().timestamp())
        with self._database.write() as connection:
            # The lock keeps the same permission from being made twice at once.
            one(connection, _owned(project, checkpoint).with_for_update(), "model", checkpoint)
            made = []
            for target in dict.fromkeys(project_ids):
                known = sql.select(projects.c.id).where(projects.c.id == target)
                one(connection, known, "project", target, param="project_ids")
                same = (permissions.c.checkpoint == checkpoint, permissions.c.project_id == target)
                row = connection.execute(sql.select(*_permission_columns).where(*same)).first()
                if row is None:
                    permission = Permission(new_id("cp_"), target, checkpoint, now)
                    connection.execute(permissions.insert().values(values_of(permission)))
                else:
                    permission = _permission(row)
                made.append(permission)
        return made

    def list(
        self,
        project: str,
        checkpoint: str,
        after: str | None = None,
        limit: int = 10,
        order: Order = "desc",
        project_id: str | None = None,
    ) -> Page[Permission]:
        """The permissions of a checkpoint, or those of one other project."""
        query = sql.select(*_permission_columns).where(permissions.c.checkpoint == checkpoint)
        if project_id is not None:
            query = query.where(permissions.c.project_id == project_id)
        number = permissions.c.number
        with self._database.read() as connection:
            one(connection, _owned(project, checkpoint), "model", checkpoint)
            named = (permissions.c.checkpoint == checkpoint, permissions.c.id == after)
            start = start_of(connection, number, named, after, "permission")
            return page(connection, query, _permission, number=number, start=start, limit=limit, order=order)

    def delete(self, project: str, checkpoint: str, permission_id: str) -> Permission:
        """Take a permission back."""
        mine = (permissions.c.checkpoint == checkpoint, permissions.c.id == permission_id)
        with self._database.write() as connection:
            one(connection, _owned(project, checkpoint), "model", checkpoint)
            query = sql.select(*_permission_columns).where(*mine)
            permission = _permission(one(connection, query, "permission", permission_id))
            connection.execute(permissions.delete().where(*mine))
        return permission


def _owned(project: str, checkpoint: str) -> sql.Select[tuple[str]]:
    return sql.select(models.c.name).where(models.c.name == checkpoint, models.c.project_id == project)
