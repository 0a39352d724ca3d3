"""A worker's result becomes artefacts and rows: the tuned model, its last checkpoints, the report, the result file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.core import clock, durable, durable_files
from luthier.core.rundir import RunDir
from luthier.jobs.artefacts import Artefacts
from luthier.jobs.recipes import method_kind
from luthier.jobs.records import Job, JobCheckpoint, Model, NewEvent, StoredFile
from luthier.jobs.result_file import result_csv
from luthier.jobs.run_state import gather_state, state_artefact
from luthier.jobs.tuned_names import (
    checkpoint_artefact,
    checkpoint_id,
    checkpoint_name,
    final_artefact,
    parts_artefact,
    report_artefact,
    result_file_id,
    tuned_name,
)
from luthier.jobs.workplace import Workplace


@dataclass(frozen=True)
class Published:
    """What `Queue.finish` takes. Made of the same result again, it is the same but for times."""

    models: list[Model]
    checkpoints: list[JobCheckpoint]
    files: list[StoredFile]
    events: list[NewEvent]
    fields: dict[str, Any] = field(default_factory=dict)


def publish(artefacts: Artefacts, place: Workplace, result: dict[str, Any], organisation: str) -> Published:
    """Write the artefacts of a finished run. Nothing refers to them before the rows are committed.

    Raises `StorageError`.
    """
    job, run = place.job, place.run
    now = int(clock.now().timestamp())
    name = tuned_name(job.base_model, organisation, job.suffix, job.id)
    common = {
        "project_id": job.project_id, "job_id": job.id, "base_model": job.base_model, "task": result["task"],
        "method": method_kind(job.recipe), "created_at": now,
    }  # fmt: skip
    metrics = list(run.metrics())
    evaluations = {int(line["step"]): line for line in metrics if line["kind"] == "evaluation"}
    artefacts.put_folder(final_artefact(job.id), Path(result["model"]))
    models = [Model(name, artefact=final_artefact(job.id), **common)]
    checkpoints = []
    for step, folder in sorted((int(step), folder) for step, folder in result["epochs"].items()):
        artefacts.put_folder(checkpoint_artefact(job.id, step), Path(folder))
        called = checkpoint_name(name, step)
        models.append(Model(called, artefact=checkpoint_artefact(job.id, step), step=step, **common))
        measured = _measured(evaluations.get(step, {}), step, metrics)
        checkpoints.append(JobCheckpoint(checkpoint_id(job.id, step), job.id, step, called, measured, now))
    put_report(artefacts, place, run)
    state = _put_state(artefacts, place)
    file = _put_result_file(artefacts, job, result_csv(metrics), now)
    events = [
        NewEvent("model", "New fine-tuned model created", data={"model": name}),
        NewEvent("succeeded", "The job has successfully completed"),
    ]
    told = {key: result.get(key) for key in ("metrics", "verdict", "warnings", "trained_epochs")}
    fields = {
        "fine_tuned_model": name,
        "trained_tokens": result["trained_tokens"],
        "step": result["steps"],
        "task": result["task"],
        "result": {**job.result, **told, "report": report_artefact(job.id), "state": state},
    }
    return Published(models, checkpoints, [file], events, fields)


def unpublish(artefacts: Artefacts, job_id: str, published: Published) -> None:
    """Remove the artefacts of a job that was cancelled while they were written."""
    for model in published.models:
        artefacts.delete_folder(model.artefact)
    for file in published.files:
        artefacts.delete(file.artefact)
    artefacts.delete_folder(report_artefact(job_id))
    artefacts.delete_folder(state_artefact(job_id))
    artefacts.delete_folder(parts_artefact(job_id))


def _measured(evaluation: dict[str, Any], step: int, metrics: list[dict[str, Any]]) -> dict[str, float]:
    """A checkpoint's metrics, by OpenAI's names."""
    own: dict[str, Any] = next(
        (line for line in reversed(metrics) if line["kind"] == "step" and line["step"] == step), {}
    )
    found = {
        "step": step,
        "train_loss": own.get("loss"),
        "train_mean_token_accuracy": own.get("token_accuracy"),
        "valid_loss": evaluation.get("validation_loss"),
        "valid_mean_token_accuracy": evaluation.get("validation_accuracy"),
        "full_valid_loss": evaluation.get("validation_loss"),
        "full_valid_mean_token_accuracy": evaluation.get("validation_accuracy"),
    }
    return {name: value for name, value in found.items() if value is not None}


def put_report(artefacts: Artefacts, place: Workplace, run: RunDir) -> None:
    """Keep what a run of this job proved, without our paths. Raises `StorageError`."""
    folder = place.path / "report"
    with durable.atomic_folder(folder) as temporary:
        for path in (run.report_json, run.report_html, run.card):
            if path.is_file():
                durable.write_text(temporary / path.name, place.named(path.read_text(encoding="utf-8")))
        if run.answers_jsonl.is_file():  # it holds no path
            durable_files.link_or_copy(run.answers_jsonl, temporary / run.answers_jsonl.name)
    artefacts.put_folder(report_artefact(place.job.id), folder)


def _put_state(artefacts: Artefacts, place: Workplace) -> bool:
    """Whether the run can be trained further from its last checkpoint."""
    folder = place.path / "state"
    if not gather_state(place.run, folder):
        return False
    artefacts.put_folder(state_artefact(place.job.id), folder)
    return True


def _put_result_file(artefacts: Artefacts, job: Job, data: bytes, now: int) -> StoredFile:
    file_id = result_file_id(job.id)
    name = f"files/{file_id}"
    with artefacts.writer(name) as writer:
        writer.write(data)
        size, digest = writer.commit()
    return StoredFile(
        file_id, job.project_id, "step_metrics.csv", "fine-tune-results", size, digest, name, created_at=now
    )
