"""The settings of one server: read once, from the command line, then the environment, then the defaults."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from luthier.core.answering import EngineOptions
from luthier.core.errors import UsageError
from luthier.core.recipe_track import TrackSpec

PREFIX = "LUTHIER_"
"""Before a setting's name in the environment: LUTHIER_PORT, LUTHIER_DATABASE, ..."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
GIB = 2**30


class ServerSettings(BaseModel):
    """All settings. Sizes are in bytes, times in seconds.

    Attributes:
        home: the server's folder: store, artefacts, work, models. Only its owner may read it (0700).
        database: SQLAlchemy URL; None is SQLite in the home folder.
        artefacts: folder, or s3:// gs:// az:// address; None is in the home folder.
        assistants: folder of assistants' YAML files, each a model ``assistant:<name>``.
        allowed_hosts: names that a request's Host header may have, beside those of this machine's loopback.
        organisation: the third part of a tuned model's name (ft:base:organisation:...).
        track_mlflow, track_experiment: an MLflow server that every job is mirrored to, and the experiment there.
        data_folders: folders of this machine that data sets may be made of, by their path.
        allow_data_urls: fetch data sets from http(s) addresses that clients name, never of this network.
        workers: jobs that run at once; "devices" is one for each device.
        max_queued_jobs, max_queued_jobs_per_key: jobs of one project, and of one key of it, that are not over.
        requests_per_second, request_burst: what one key may ask; the bucket holds `request_burst` requests.
        allow_python_graders: run the code of clients' graders, in the sandbox.
        body_bytes_per_second: a body that comes slower, after `body_grace_seconds`, is refused.
        stall_seconds: how long a client may leave an answer unread.
        engine_*: the fields of `core.answering.EngineOptions`.
        session_seconds: how long a login of the pages lasts.
        stream_seconds: how long one stream of events may last; who follows longer asks again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8321, ge=0, le=65535)
    home: Path = Field(default_factory=lambda: Path.home() / ".luthier")
    database: str | None = None
    artefacts: str | None = None
    assistants: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    organisation: str = Field("local", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    workers: int | Literal["devices"] = "devices"
    log_format: Literal["plain", "json"] = "plain"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    track_mlflow: str | None = None
    track_experiment: str = Field("luthier", min_length=1, max_length=250)

    max_file_bytes: int = Field(8 * GIB, ge=1)
    max_project_bytes: int = Field(64 * GIB, ge=1)
    max_queued_jobs: int = Field(200, ge=1)
    max_queued_jobs_per_key: int = Field(200, ge=1)
    max_json_bytes: int = Field(10 * 2**20, ge=1024)
    data_folders: tuple[Path, ...] = ()
    allow_data_urls: bool = False
    max_connections: int = Field(8192, ge=8)
    requests_per_second: float = Field(2000.0, gt=0)
    request_burst: int = Field(4000, ge=1)
    allow_python_graders: bool = False

    engine_device: Literal["auto", "cpu", "cuda"] = "auto"
    engine_precision: Literal["fp32", "bf16"] = "fp32"
    engine_memory_bytes: int = Field(0, ge=0)
    engine_rows: int = Field(16, ge=1, le=1024)
    engine_cache_tokens: int = Field(1 << 16, ge=256)
    engine_threads: int = Field(0, ge=0, le=1024)
    engine_waiting: int = Field(1024, ge=1)
    engine_idle_seconds: float = Field(3600.0, gt=0)

    header_seconds: float = Field(13.0, gt=0)
    body_grace_seconds: float = Field(10.0, gt=0)
    body_bytes_per_second: float = Field(1024.0, gt=0)
    stall_seconds: float = Field(30.0, gt=0)
    stream_seconds: float = Field(86_400.0, gt=0)
    session_seconds: int = Field(7 * 86_400, ge=60, le=366 * 86_400)
    keep_alive_seconds: int = Field(75, ge=1)
    shutdown_seconds: int = Field(10, ge=1)

    @field_validator("home")
    @classmethod
    def _whole_path(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("workers", mode="before")
    @classmethod
    def _number_of_workers(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "devices":
            value = int(value) if value.isdecimal() else value
        if isinstance(value, int) and value < 1:
            raise ValueError("at least one worker is needed")
        return value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        return tuple(name.strip().lower() for name in names if name.strip())

    @field_validator("track_mlflow")
    @classmethod
    def _address_of_mlflow(cls, value: str | None) -> str | None:
        return TrackSpec(mlflow=value).mlflow

    @property
    def track(self) -> dict[str, Any]:
        """Where every job is mirrored, as the key `track` of a recipe; empty: nowhere."""
        return {"mlflow": self.track_mlflow, "experiment": self.track_experiment} if self.track_mlflow else {}

    @field_validator("data_folders", mode="before")
    @classmethod
    def _folders(cls, value: Any) -> Any:
        names = value.split(os.pathsep) if isinstance(value, str) else value
        return tuple(Path(name).expanduser().resolve() for name in names if str(name))

    @property
    def database_url(self) -> str:
        """Where the store is."""
        return self.database or f"sqlite:///{self.home / 'luthier.db'}"

    @property
    def artefact_place(self) -> str:
        """Where the artefacts are."""
        return self.artefacts or str(self.home / "artefacts")

    @property
    def artefacts_are_here(self) -> bool:
        """Whether the artefacts are in a folder of this machine."""
        return "://" not in self.artefact_place

    @property
    def engine(self) -> EngineOptions:
        """What the inference engine is told."""
        names = [one.name for one in fields(EngineOptions)]
        return EngineOptions(**{name: getattr(self, f"engine_{name}") for name in names})

    @property
    def loopback(self) -> bool:
        """Only programs on this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def host_names(self) -> frozenset[str]:
        """The names that a Host header may have, without port."""
        return frozenset((*LOOPBACK_NAMES, *self.allowed_hosts))

    @property
    def insecure(self) -> tuple[str, ...]:
        """The settings that open a door, by name."""
        return ("allow_python_graders",) if self.allow_python_graders else ()


def from_sources(given: Mapping[str, Any], environment: Mapping[str, str]) -> ServerSettings:
    """The settings: `given` (options that are not None), then LUTHIER_ variables, then defaults.

    Raises:
        UsageError: a value is wrong; names the option or variable.
    """
    names = {name: PREFIX + name.upper() for name in ServerSettings.model_fields}
    from_environment = {
        name: environment[PREFIX + name.upper()] for name in names if PREFIX + name.upper() in environment
    }
    values = {**from_environment, **{name: value for name, value in given.items() if value is not None}}
    try:
        return ServerSettings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        from_option = given.get(name) is not None
        source = f"--{name.replace('_', '-')}" if from_option else PREFIX + name.upper()
        shown = re.sub(r"//[^/@]*@", "//***@", repr(values.get(name)))  # no password of a URL
        raise UsageError(
            f"{source} cannot be {shown}: {first['msg']}.",
            remedy="See luthier serve --help.",
            code="invalid_setting",
            param=name,
        ) from None
