"""Dedicated endpoints: a name of the project's own for a model that is kept loaded."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sql
from sqlalchemy import Connection

from luthier.jobs.database import Database
from luthier.jobs.errors import Conflict
from luthier.jobs.reading import missing, one, reader, values_of
from luthier.jobs.records import Endpoint
from luthier.jobs.tables import endpoints, projects

_columns, _endpoint = reader(endpoints, Endpoint)


class EndpointStore:
    """Endpoints of projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, endpoint: Endpoint) -> Endpoint:
        """Record an endpoint; Conflict when the project has one of this name."""
        same = (endpoints.c.project_id == endpoint.project_id, endpoints.c.name == endpoint.name)
        with self._database.write() as connection:
            place = sql.select(projects.c.id).where(projects.c.id == endpoint.project_id)
            one(connection, place.with_for_update(key_share=True), "project", endpoint.project_id)
            if connection.execute(sql.select(endpoints.c.id).where(*same)).first() is not None:
                raise Conflict(f"there is an endpoint {endpoint.name!r} already.", code="endpoint_exists", param="name")
            connection.execute(endpoints.insert().values(values_of(endpoint)))
        return endpoint

    def get(self, project: str, id: str) -> Endpoint:
        """One endpoint."""
        with self._database.read() as connection:
            return _find(connection, project, id)

    def list(self, project: str | None = None) -> list[Endpoint]:
        """The endpoints of a project, or all, newest first."""
        query = sql.select(*_columns).order_by(endpoints.c.number.desc())
        if project is not None:
            query = query.where(endpoints.c.project_id == project)
        with self._database.read() as connection:
            return [_endpoint(row) for row in connection.execute(query)]

    def set_state(self, project: str, id: str, state: Literal["running", "stopped"]) -> Endpoint:
        """Start or stop it."""
        mine = (endpoints.c.project_id == project, endpoints.c.id == id)
        with self._database.write() as connection:
            connection.execute(endpoints.update().where(*mine).values(state=state))
            return _find(connection, project, id)

    def delete(self, project: str, id: str) -> Endpoint:
        """Forget it."""
        mine = (endpoints.c.project_id == project, endpoints.c.id == id)
        with self._database.write() as connection:
            endpoint = _find(connection, project, id)
            if connection.execute(endpoints.delete().where(*mine)).rowcount == 0:
                raise missing("endpoint", id)
        return endpoint


def _find(connection: Connection, project: str, id: str) -> Endpoint:
    query = sql.select(*_columns).where(endpoints.c.project_id == project, endpoints.c.id == id)
    return _endpoint(one(connection, query, "endpoint", id))
