"""What the store gives of what the pages stand on: sessions, data sets, exports, traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that gave a key: its token stands for the key until `expires_at`, or until the key ends."""

    id: str
    project_id: str
    key_id: str
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One state of a data set, which never changes: a file, and what is known of it.

    Attributes:
        version: 1, 2, 3, ... within its data set.
        test_file_id: rows that belong to it but that nothing learns from (of an example).
        format: jsonl, csv, parquet, ...; `task`: what its rows plainly show, or "".
        rows: the usable and the broken; `columns`: names, in order.
        origin: how it came about: {kind: file | path | url | example | fixes, ...}.
    """

    dataset_id: str
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


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set: a name for versions of a file. `latest` is the newest version's number."""

    id: str
    project_id: str
    name: str
    latest: int
    created_at: int


@dataclass(frozen=True, slots=True)
class ModelExport:
    """A tuned model in another form. `options`: {to, dtype}; status: running, succeeded or failed."""

    id: str
    project_id: str
    model: str
    options: dict[str, Any]
    status: Literal["running", "succeeded", "failed"]
    filename: str
    bytes: int
    error: dict[str, Any] | None
    created_at: int
    finished_at: int | None


@dataclass(frozen=True, slots=True)
class TrafficRow:
    """What an endpoint was asked in the minute that begins at `start`. `latencies` counts answers by the number of
    their bucket (`server.traffic`)."""

    endpoint_id: str
    start: int
    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    latencies: dict[str, int]
