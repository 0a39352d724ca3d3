"""What the routes of data sets take and answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import Field

from luthier.jobs.page_records import Dataset, DatasetVersion
from luthier.server.luthier_api.check import CheckReport
from luthier.server.openai.answers import LONGEST_ID, PageShape, Shape
from luthier.server.openai.body import Body
from luthier.server.openai.job_requests import FileId

DatasetId = Annotated[str, Path(max_length=LONGEST_ID, pattern=r"^[A-Za-z0-9_-]+$")]
VersionNumber = Annotated[int, Path(ge=0, le=1_000_000)]
DatasetName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f]$")]
RowAfter = Annotated[int, Query(ge=0, le=2**31 - 1, description="The number of the row that the page comes after.")]
RowLimit = Annotated[int, Query(ge=1, le=200)]
Wanted = Annotated[str | None, Query(min_length=1, max_length=200, description="Only rows whose texts hold this.")]


class DatasetRequest(Body):
    """One of `file_id` (an uploaded file), `path` (of the server's machine, where the operator allows it), `url` (the
    same) and `example` (GET /luthier/v1/examples). Without a name it is called as its file is."""

    name: DatasetName | None = None
    file_id: FileId | None = None
    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    url: Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^https?://[\x21-\x7e]+$")] | None = None
    example: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9-]+$")] | None = None


class RenameRequest(Body):
    """A new name."""

    name: DatasetName


class UsedBy(Shape):
    """A job that learned from a version, or was tested on it."""

    id: str
    status: str
    model: str
    task: str
    fine_tuned_model: str | None
    created_at: int


class VersionObject(Shape):
    """A version of a data set; it never changes. `file_id` is what a recipe's `data.train` takes, `test_file_id` (of an
    example) what `data.test` takes. `task` is empty where the rows do not say it."""

    object: Literal["dataset.version"]
    dataset: str
    version: int
    file_id: str
    test_file_id: str | None
    format: str
    task: str
    rows: int
    bytes: int
    sha256: str
    columns: list[str]
    origin: dict[str, Any]
    created_at: int


class UsedVersionObject(VersionObject):
    """A version with the newest jobs that used it."""

    used_by: Annotated[list[UsedBy], Field(max_length=20)]
    used_by_more: bool


class DatasetObject(Shape):
    """A data set with its newest version."""

    object: Literal["dataset"]
    id: str
    name: str
    created_at: int
    latest: VersionObject


class DatasetList(PageShape):
    data: list[DatasetObject]


class DatasetDeleted(Shape):
    id: str
    object: Literal["dataset.deleted"]
    deleted: bool


class VersionList(Shape):
    """Versions, newest first; `next_before` is the `before` of the next page."""

    object: Literal["list"]
    data: list[UsedVersionObject]
    has_more: bool
    next_before: int | None


class RowProblem(Shape):
    """Why a row cannot be read."""

    code: str
    message: str
    remedy: str


class RowObject(Shape):
    """A row. Either `values` or `problem` is there; `text` is the broken line; `cut`: a text is longer than shown, and
    a page of this one row has it whole."""

    row: int
    line: int
    values: dict[str, Any] | None
    problem: RowProblem | None
    text: str | None
    cut: bool


class RowList(Shape):
    """A page of rows. The next one comes after `next_after`; with `q`, a page may be short, or empty, with more to
    come: each request searches for half a second at most. `searched`: rows that were looked at so far."""

    object: Literal["list"]
    data: list[RowObject]
    total: int
    has_more: bool
    next_after: int | None
    searched: int


class VersionCheck(Shape):
    """A version's check: `running` (ask again), `done` with the report, or `failed` with an error."""

    class Error(Shape):
        code: str | None
        message: str

    object: Literal["dataset.check"]
    dataset: str
    version: int
    status: Literal["running", "done", "failed"]
    report: CheckReport | None
    error: Error | None


def version_json(version: DatasetVersion) -> dict[str, Any]:
    """A `VersionObject`."""
    return {
        "object": "dataset.version", "dataset": version.dataset_id, "version": version.version,
        "file_id": version.file_id, "test_file_id": version.test_file_id, "format": version.format,
        "task": version.task, "rows": version.rows, "bytes": version.bytes, "sha256": version.sha256,
        "columns": version.columns, "origin": version.origin, "created_at": version.created_at,
    }  # fmt: skip


def dataset_json(dataset: Dataset, latest: DatasetVersion) -> dict[str, Any]:
    """A `DatasetObject`."""
    return {
        "object": "dataset", "id": dataset.id, "name": dataset.name, "created_at": dataset.created_at,
        "latest": version_json(latest),
    }  # fmt: skip
