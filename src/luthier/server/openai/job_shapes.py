"""Jobs, events and checkpoints as OpenAI writes them, and the JSON of jobs that are polled, kept as bytes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from luthier.jobs.records import Job, JobCheckpoint, JobEvent
from luthier.server.openai.answers import PageShape, Shape, json_bytes

HYPERPARAMETERS = {
    "n_epochs": "epochs",
    "batch_size": "batch_size",
    "learning_rate_multiplier": "learning_rate_multiplier",
}
"""OpenAI's names and the recipe's keys below ``train``."""
_METRICS = (
    "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy", "full_valid_loss",
    "full_valid_mean_token_accuracy",
)  # fmt: skip


class HyperparametersShape(Shape):
    n_epochs: int | Literal["auto"] | None = None
    batch_size: int | Literal["auto"] | None = None
    learning_rate_multiplier: float | Literal["auto"] | None = None


class SupervisedShape(Shape):
    hyperparameters: HyperparametersShape


class MethodShape(Shape):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedShape | None = None


class JobErrorShape(Shape):
    code: str
    message: str
    param: str | None = None


class FineTuningJob(Shape):
    """A fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job"]
    created_at: int
    error: JobErrorShape | None
    fine_tuned_model: str | None
    finished_at: int | None
    estimated_finish: int | None
    hyperparameters: HyperparametersShape
    integrations: list[dict[str, Any]]
    metadata: dict[str, str] | None
    method: MethodShape
    model: str
    organization_id: str
    result_files: list[str]
    seed: int
    status: Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
    trained_tokens: int | None
    training_file: str
    user_provided_suffix: str | None
    validation_file: str | None


class Origin(Shape):
    """The job that this one trains further: it had so many epochs and steps. `continues`: from its state, or from the
    weights of its model with a new optimizer."""

    job: str
    epochs: int
    step: int
    continues: Literal["state", "weights"]


class RecipeJob(FineTuningJob):
    """A job with what OpenAI has no word for."""

    kind: Literal["openai", "recipe"]
    task: str
    base_model: str
    recipe: dict[str, Any]
    chosen: dict[str, Any]
    step: int
    total_steps: int | None
    metrics: dict[str, Any] | None
    warnings: list[Any]
    verdict: str | None
    origin: Origin | None
    started_at: int | None
    wanted: Literal["cancel", "pause"] | None


class JobList(PageShape):
    data: list[FineTuningJob]


class RecipeJobList(PageShape):
    data: list[RecipeJob]


class Event(Shape):
    id: str
    object: Literal["fine_tuning.job.event"]
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None


class EventList(PageShape):
    data: list[Event]


class Checkpoint(Shape):
    id: str
    object: Literal["fine_tuning.job.checkpoint"]
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: dict[str, float]
    step_number: int = Field(ge=0)


class CheckpointList(PageShape):
    data: list[Checkpoint]


def job_json(job: Job, organisation: str) -> dict[str, Any]:
    """A job as OpenAI writes it. Values chosen for "auto" stand there once they are known."""
    values = hyperparameters(job)
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": job.created_at,
        "error": _error(job.error),
        "fine_tuned_model": job.fine_tuned_model,
        "finished_at": job.finished_at,
        "estimated_finish": job.estimated_finish if job.status == "running" else None,
        "hyperparameters": values,
        "integrations": job.integrations,
        "metadata": job.metadata or None,
        "method": {"type": "supervised", "supervised": {"hyperparameters": values}},
        "model": job.model,
        "organization_id": organisation,
        "result_files": job.result_files,
        "seed": job.seed,
        "status": job.status,
        "trained_tokens": job.trained_tokens,
        "training_file": job.training_file,
        "user_provided_suffix": job.suffix,
        "validation_file": job.validation_file,
    }


def recipe_job_json(job: Job, organisation: str) -> dict[str, Any]:
    """`job_json` and what OpenAI has no word for."""
    return {
        **job_json(job, organisation),
        "kind": job.kind,
        "task": job.task,
        "base_model": job.base_model,
        "recipe": job.recipe,
        "chosen": job.chosen,
        "step": job.step,
        "total_steps": job.total_steps,
        "metrics": job.result.get("metrics"),
        "warnings": job.result.get("warnings") or [],
        "verdict": job.result.get("verdict") or None,
        "origin": job.result.get("origin"),
        "started_at": job.started_at,
        "wanted": job.wanted,
    }


def hyperparameters(job: Job) -> dict[str, Any]:
    """What was asked for, with what was chosen in the place of "auto"."""
    asked = job.recipe.get("train") or {}
    values = {}
    for name, key in HYPERPARAMETERS.items():
        value = asked.get(key, "auto")
        if value == "auto":
            value = next((job.chosen[word] for word in (name, f"train.{key}", key) if word in job.chosen), "auto")
        values[name] = value
    return values


def event_json(event: JobEvent) -> dict[str, Any]:
    """An event as OpenAI writes it."""
    return {
        "id": event.id,
        "object": "fine_tuning.job.event",
        "created_at": event.created_at,
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "data": event.data or None,
    }


def checkpoint_json(checkpoint: JobCheckpoint) -> dict[str, Any]:
    """A checkpoint as OpenAI writes it."""
    metrics = {name: checkpoint.metrics[name] for name in _METRICS if checkpoint.metrics.get(name) is not None}
    return {
        "id": checkpoint.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": checkpoint.created_at,
        "fine_tuned_model_checkpoint": checkpoint.model,
        "fine_tuning_job_id": checkpoint.job_id,
        "metrics": {"step": checkpoint.step, **metrics},
        "step_number": checkpoint.step,
    }


def _error(error: dict[str, Any] | None) -> dict[str, Any] | None:
    if not error:
        return None
    return {
        "code": str(error.get("code") or "error"),
        "message": str(error.get("message") or ""),
        "param": error.get("param"),
    }


class JobBytes:
    """The JSON of the jobs that were asked for last, by job and version: a poll costs two look-ups."""

    MOST = 4096

    def __init__(self, organisation: str) -> None:
        self._organisation = organisation
        self._kept: dict[str, tuple[int, bytes]] = {}

    def of(self, job: Job) -> bytes:
        """`job_json` as it is sent."""
        kept = self._kept.get(job.id)
        if kept is not None and kept[0] == job.version:
            return kept[1]
        content = json_bytes(job_json(job, self._organisation))
        if len(self._kept) >= self.MOST:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[job.id] = (job.version, content)
        return content
