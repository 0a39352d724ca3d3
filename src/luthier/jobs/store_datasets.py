"""Data sets and their versions. A version is a file, which is then the data set's: it neither expires nor can be
deleted on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sql
from sqlalchemy import Connection

from luthier.jobs.database import Database
from luthier.jobs.errors import Conflict, NotFound
from luthier.jobs.page_records import Dataset, DatasetVersion
from luthier.jobs.reading import Order, one, page, reader, start_of, values_of
from luthier.jobs.records import TERMINAL, Page, StoredFile
from luthier.jobs.room import check_room
from luthier.jobs.store_files import uses
from luthier.jobs.tables import dataset_versions, datasets, files, jobs, projects

MOST_VERSIONS = 1000
"""Of one data set."""
MOST_DATASETS = 10_000
"""Of one project."""

_columns, _dataset = reader(datasets, Dataset)
_version_columns, _version = reader(dataset_versions, DatasetVersion)
_file_columns, _file = reader(files, StoredFile)
_USED = ("id", "status", "model", "task", "fine_tuned_model", "created_at")


class DatasetStore:
    """Data sets of projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, dataset: Dataset, version: DatasetVersion, new_files: Sequence[StoredFile] = (), most: int | None = None
    ) -> Dataset:
        """Record a data set with its first version, and the files of it that are new.

        Raises:
            Conflict: the project has one of this name (``dataset_exists``), or too many (``too_many_datasets``).
            NotFound: the file is gone. NoRoom: the project would store more than `most` bytes.
        """
        project = dataset.project_id
        same = (datasets.c.project_id == project, datasets.c.name == dataset.name)
        with self._database.write() as connection:
            place = sql.select(projects.c.id).where(projects.c.id == project)
            one(connection, place.with_for_update(key_share=True), "project", project)
            if connection.execute(sql.select(datasets.c.id).where(*same)).first() is not None:
                message = f"there is a data set {dataset.name[:100]!r} already."
                raise Conflict(message, remedy="Choose another name.", code="dataset_exists", param="name")
            count = sql.select(sql.func.count()).select_from(datasets).where(datasets.c.project_id == project)
            if connection.execute(count).scalar_one() >= MOST_DATASETS:
                raise Conflict(f"a project has at most {MOST_DATASETS:,} data sets.", code="too_many_datasets")
            connection.execute(datasets.insert().values(values_of(dataset)))
            _add(connection, project, version, new_files, most)
        return dataset

    def get(self, project: str, id: str) -> Dataset:
        """One data set."""
        with self._database.read() as connection:
            return _find(connection, project, id)

    def named(self, project: str, name: str) -> bool:
        """Whether the project has a data set of this name."""
        same = (datasets.c.project_id == project, datasets.c.name == name)
        with self._database.read() as connection:
            return connection.execute(sql.select(datasets.c.id).where(*same)).first() is not None

    def list(
        self, project: str, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[tuple[Dataset, DatasetVersion]]:
        """The data sets of a project, each with its newest version."""
        newest = sql.and_(
            dataset_versions.c.dataset_id == datasets.c.id, dataset_versions.c.version == datasets.c.latest
        )
        query = (
            sql.select(*_columns, *_version_columns)
            .join(dataset_versions, newest)
            .where(datasets.c.project_id == project)
        )
        width = len(_columns)
        with self._database.read() as connection:
            named = (datasets.c.project_id == project, datasets.c.id == after)
            start = start_of(connection, datasets.c.number, named, after, "data set")
            return page(
                connection, query, lambda row: (Dataset(*row[:width]), DatasetVersion(*row[width:])),
                number=datasets.c.number, start=start, limit=limit, order=order,
            )  # fmt: skip

    def add_version(
        self, project: str, version: DatasetVersion, new_file: StoredFile, most: int | None = None
    ) -> DatasetVersion:
        """Record the next version; its number is given here, so that two at once are two versions.

        Raises:
            NotFound: the data set is gone. Conflict: it has too many. NoRoom: no more bytes fit.
        """
        mine = (datasets.c.project_id == project, datasets.c.id == version.dataset_id)
        with self._database.write() as connection:
            row = one(
                connection, sql.select(datasets.c.latest).where(*mine).with_for_update(), "data set",
                version.dataset_id,
            )  # fmt: skip
            if row[0] >= MOST_VERSIONS:
                raise Conflict(f"a data set has at most {MOST_VERSIONS:,} versions.", code="too_many_versions")
            numbered = replace(version, version=row[0] + 1)
            connection.execute(datasets.update().where(*mine).values(latest=numbered.version))
            _add(connection, project, numbered, [new_file], most)
        return numbered

    def version(self, project: str, id: str, number: int) -> DatasetVersion:
        """One version; NotFound where the data set or the version is not there."""
        query = sql.select(*_version_columns).where(
            dataset_versions.c.dataset_id == id, dataset_versions.c.version == number
        )
        with self._database.read() as connection:
            _find(connection, project, id)
            return _version(one(connection, query, "version", str(number), param="version"))

    def versions(self, project: str, id: str, before: int | None = None, limit: int = 20) -> Page[DatasetVersion]:
        """The versions of a data set, newest first, below the number `before`."""
        query = sql.select(*_version_columns).where(dataset_versions.c.dataset_id == id)
        with self._database.read() as connection:
            _find(connection, project, id)
            return page(
                connection, query, _version, number=dataset_versions.c.version, start=before, limit=limit, order="desc"
            )

    def of_file(self, project: str, file_id: str) -> Sequence[tuple[Dataset, DatasetVersion]]:
        """The versions that are made of a file."""
        query = (
            sql.select(*_columns, *_version_columns)
            .join(dataset_versions, dataset_versions.c.dataset_id == datasets.c.id)
            .where(datasets.c.project_id == project, _holds_any([file_id]))
            .order_by(dataset_versions.c.number)
        )
        width = len(_columns)
        with self._database.read() as connection:
            return [(Dataset(*row[:width]), DatasetVersion(*row[width:])) for row in connection.execute(query)]

    def used_by(self, project: str, file_id: str, limit: int = 20) -> Page[dict[str, object]]:
        """The jobs that learned from, or were tested on, a file, newest first: id, status, models, time."""
        query = sql.select(*(jobs.c[name] for name in _USED)).where(
            jobs.c.project_id == project, uses(sql.literal(file_id))
        )
        with self._database.read() as connection:
            return page(
                connection, query, lambda row: dict(zip(_USED, row, strict=True)), number=jobs.c.number, start=None,
                limit=limit, order="desc",
            )  # fmt: skip

    def rename(self, project: str, id: str, name: str) -> Dataset:
        """Give it another name; Conflict where the project has one of that name."""
        mine = (datasets.c.project_id == project, datasets.c.id == id)
        other = (datasets.c.project_id == project, datasets.c.name == name, datasets.c.id != id)
        with self._database.write() as connection:
            place = sql.select(projects.c.id).where(projects.c.id == project)
            one(connection, place.with_for_update(key_share=True), "project", project)
            dataset = _find(connection, project, id)
            if connection.execute(sql.select(datasets.c.id).where(*other)).first() is not None:
                raise Conflict(f"there is a data set {name[:100]!r} already.", code="dataset_exists", param="name")
            connection.execute(datasets.update().where(*mine).values(name=name))
        return replace(dataset, name=name)

    def delete(self, project: str, id: str) -> Sequence[StoredFile]:
        """Forget a data set, its versions and those of their files that nothing else holds; gives these files, whose
        bytes the caller removes. Conflict while a job that is not over needs one."""
        mine = (datasets.c.project_id == project, datasets.c.id == id)
        own = sql.select(dataset_versions.c.file_id, dataset_versions.c.test_file_id).where(
            dataset_versions.c.dataset_id == id
        )
        with self._database.write() as connection:
            one(connection, sql.select(datasets.c.id).where(*mine).with_for_update(), "data set", id)
            ids = sorted({name for row in connection.execute(own) for name in row if name is not None})
            busy = sql.select(jobs.c.id).where(
                jobs.c.project_id == project, jobs.c.status.not_in(TERMINAL),
                sql.or_(*(uses(sql.literal(name)) for name in ids)),
            )  # fmt: skip
            job = connection.execute(busy.limit(1)).first()
            if job is not None:
                raise Conflict(
                    f"the data set is needed by the job {job[0]}.",
                    remedy="Delete it when the job is over, or cancel the job.",
                    code="dataset_in_use",
                )
            connection.execute(dataset_versions.delete().where(dataset_versions.c.dataset_id == id))
            connection.execute(datasets.delete().where(*mine))
            held = sql.select(dataset_versions.c.file_id, dataset_versions.c.test_file_id).where(_holds_any(ids))
            kept = {name for row in connection.execute(held) for name in row}
            gone = (files.c.project_id == project, files.c.id.in_([name for name in ids if name not in kept]))
            found = [_file(row) for row in connection.execute(sql.select(*_file_columns).where(*gone))]
            connection.execute(files.delete().where(*gone))
        return found


def _add(
    connection: Connection, project: str, version: DatasetVersion, new_files: Sequence[StoredFile], most: int | None
) -> None:
    for file in new_files:
        check_room(connection, project, file.bytes, most)
        connection.execute(files.insert().values(values_of(file)))
    ids = [name for name in (version.file_id, version.test_file_id) if name is not None]
    held = (files.c.project_id == project, files.c.id.in_(ids))
    if connection.execute(files.update().where(*held).values(expires_at=None)).rowcount != len(ids):
        raise NotFound(f"there is no file {version.file_id!r}.", param="file_id")
    connection.execute(dataset_versions.insert().values(values_of(version)))


def _holds_any(ids: Sequence[str]) -> sql.ColumnElement[bool]:
    return sql.or_(dataset_versions.c.file_id.in_(ids), dataset_versions.c.test_file_id.in_(ids))


def _find(connection: Connection, project: str, id: str) -> Dataset:
    query = sql.select(*_columns).where(datasets.c.project_id == project, datasets.c.id == id)
    return _dataset(one(connection, query, "data set", id))
