"""What the store gives back: plain values, never rows of the database. Times are seconds since 1970 (int)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

JobStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
JobKind = Literal["openai", "recipe", "search", "decision", "auto"]
TRAININGS: tuple[JobKind, ...] = ("openai", "recipe")
"""Kinds of jobs that are one training, however it was asked for."""


def kind_words(kind: JobKind) -> str:
    """What people call a job of this kind."""
    return "fine-tuning job" if kind in TRAININGS else {"auto": "automatic run"}.get(kind, kind)


Role = Literal["admin", "write", "read"]
"""read: GET only; write: all of its project; admin: also keys and projects."""
Wanted = Literal["cancel", "pause"]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a key of a project."""

    key_id: str
    project_id: str
    role: Role


@dataclass(frozen=True, slots=True)
class Project:
    id: str
    name: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it may be shown: the secret itself is only known when it is made."""

    id: str
    project_id: str
    name: str
    role: Role
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a project; its bytes are the artefact `artefact`."""

    id: str
    project_id: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    artefact: str
    created_at: int
    expires_at: int | None = None
    status: str = "processed"
    status_details: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that comes in parts. status: pending, completed, cancelled, expired. `file_seconds`: how long the file
    will live (None: until it is deleted)."""

    id: str
    project_id: str
    filename: str
    purpose: str
    bytes: int
    mime_type: str
    status: str
    created_at: int
    expires_at: int
    file_id: str | None = None
    file_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    id: str
    upload_id: str
    bytes: int
    sha256: str
    artefact: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Job:
    """One job: a training, a search over trainings, a decision between approaches, or an automatic run.

    Attributes:
        kind: ``openai`` (POST /v1/fine_tuning/jobs), ``recipe`` (POST /luthier/v1/jobs), ``search``
            (POST /luthier/v1/searches), ``decision`` (POST /luthier/v1/decisions) or ``auto``
            (POST /luthier/v1/autos).
        model: as the client named it; `base_model`: the catalogue name under it; `parent`: the tuned model whose
            training goes on, or None.
        recipe: what the worker runs, a Recipe's values (of a search with ``{search: ...}`` in them; of a decision
            and an automatic run `data`, `task`, `model` and how, under ``decide`` or ``auto``); files are ``file-...``
            ids, which the supervisor turns into paths.
        chosen: hyperparameters that "auto" became, once it runs.
        fence: rises with each claim; a write with a lower one is refused.
        owner: who holds it, and on which `device`, while it runs.
        attempts: releases without progress in a row.
        wanted: what a person asked of the running job.
        version: rises with each change of the row.
        result: anything the wire has no word for (metrics, report artefact, warnings, what it goes on from).
        key_id: the key that asked for it.
    """

    id: str
    project_id: str
    kind: JobKind
    status: JobStatus
    model: str
    base_model: str
    task: str
    training_file: str
    created_at: int
    seed: int
    recipe: dict[str, Any]
    parent: str | None = None
    validation_file: str | None = None
    suffix: str | None = None
    method: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    integrations: list[dict[str, Any]] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)
    priority: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    estimated_finish: int | None = None
    trained_tokens: int | None = None
    fine_tuned_model: str | None = None
    result_files: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    step: int = 0
    total_steps: int | None = None
    fence: int = 0
    owner: str | None = None
    device: str | None = None
    attempts: int = 0
    wanted: Wanted | None = None
    version: int = 0
    result: dict[str, Any] = field(default_factory=dict)
    key_id: str | None = None

    @property
    def terminal(self) -> bool:
        """Nothing changes any more."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be recorded. `key` makes it unique within its job ("step:12", "created"): a second one with the
    same key is ignored."""

    key: str
    message: str
    level: Literal["info", "warn", "error"] = "info"
    type: Literal["message", "metrics"] = "message"
    data: dict[str, Any] = field(default_factory=dict)
    created_at: int | None = None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A recorded event; `seq` counts 1, 2, 3, ... within the job, without a gap."""

    id: str
    job_id: str
    seq: int
    key: str
    created_at: int
    level: str
    type: str
    message: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobCheckpoint:
    """A checkpoint that can be called: `model` is the name (``ft:...:ckpt-step-40``)."""

    id: str
    job_id: str
    step: int
    model: str
    metrics: dict[str, float]
    created_at: int


@dataclass(frozen=True, slots=True)
class Model:
    """A tuned model, or a checkpoint of one. `artefact` is the folder of its weights."""

    name: str
    project_id: str
    job_id: str
    base_model: str
    task: str
    method: str
    artefact: str
    created_at: int
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A dedicated endpoint: `state` is running or stopped; idle for `idle_seconds`, it is unloaded (0: never)."""

    id: str
    project_id: str
    name: str
    model: str
    state: Literal["running", "stopped"]
    idle_seconds: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Permission:
    """Project `project_id` may use the checkpoint `checkpoint` (a model's name) of another project."""

    id: str
    project_id: str
    checkpoint: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a supervisor holds, to run it on `device`."""

    job: Job
    fence: int
    owner: str
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list; `has_more`: there are items after the last."""

    items: list[Item]
    has_more: bool
