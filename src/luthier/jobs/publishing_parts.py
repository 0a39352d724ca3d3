"""The result of a job of many parts becomes artefacts and rows: its folder, and the model that won."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.core import clock, durable, durable_files
from luthier.core.rundir import RunDir
from luthier.jobs.artefacts import Artefacts
from luthier.jobs.best_so_far import Best
from luthier.jobs.publishing import Published, put_report
from luthier.jobs.records import Job, Model, NewEvent
from luthier.jobs.tuned_names import final_artefact, parts_artefact, report_artefact, tuned_name
from luthier.jobs.workplace import Workplace

_TOLD = ("metrics", "verdict", "warnings", "best", "metric", "arm")
_TEXTS = (".json", ".html", ".yaml")
_KEPT = ("search.json", "search.html", "best.yaml", "decision.json", "decision.html", "answers.jsonl", "auto.json",
         "auto.html", "recipe.yaml")  # fmt: skip


def publish_parts(artefacts: Artefacts, place: Workplace, result: dict[str, Any], organisation: str) -> Published:
    """Write the artefacts. Nothing refers to them before the rows are committed. Raises `StorageError`."""
    job = place.job
    _put_folder(artefacts, place, Path(result["folder"]))
    models = []
    fields: dict[str, Any] = {
        "trained_tokens": result.get("trained_tokens"),
        "step": result["steps"],
        "task": result["task"],
        "result": {
            **_without_usable(job),
            **{name: result[name] for name in _TOLD if name in result},
            "folder": parts_artefact(job.id),
        },
    }
    events = [NewEvent("succeeded", "The job has successfully completed")]
    if result.get("model"):
        model = _model(artefacts, job, result, organisation)
        models.append(model)
        fields |= {"fine_tuned_model": model.name, "base_model": model.base_model}
        events.insert(0, NewEvent("model", "New fine-tuned model created", data={"model": model.name}))
    run = RunDir(result["run"]) if result.get("run") else None
    if run is not None and run.report() is not None and job.kind in ("search", "auto"):
        put_report(artefacts, place, run)
        fields["result"]["report"] = report_artefact(job.id)
    return Published(models, [], [], events, fields)


def publish_stopped(artefacts: Artefacts, place: Workplace, organisation: str) -> Published | None:
    """What an automatic run that is cancelled leaves: the best model so far, and what it knows; None where there is
    no model, or none that was trained. Raises `StorageError`."""
    job, folder = place.job, place.run.path
    best = Best.of(place) if job.kind == "auto" else None
    if best is None:
        return None
    found = {**_without_usable(job), **best.measured(folder)}
    if (folder / "auto.json").is_file():  # a worker that was ended at once wrote none
        _put_folder(artefacts, place, folder)
        found["folder"] = parts_artefact(job.id)
    artefacts.put_folder(final_artefact(job.id), best.folder)
    model = best.model(job, organisation, final_artefact(job.id))
    event = NewEvent("model", f"The best model so far is kept: {best.name}", data={"model": model.name})
    return Published([model], [], [], [event], {"fine_tuned_model": model.name, "result": found})


def _without_usable(job: Job) -> dict[str, Any]:
    """The result of a job but for where the model was that could be called while it ran."""
    return {name: value for name, value in job.result.items() if name != "usable"}


def _put_folder(artefacts: Artefacts, place: Workplace, source: Path) -> None:
    folder = place.path / "parts"
    with durable.atomic_folder(folder) as temporary:
        for path in (source / name for name in _KEPT):
            if path.is_file() and path.suffix in _TEXTS:
                durable.write_text(temporary / path.name, place.named(path.read_text(encoding="utf-8")))
            elif path.is_file():
                durable_files.link_or_copy(path, temporary / path.name)
    artefacts.put_folder(parts_artefact(place.job.id), folder)


def _model(artefacts: Artefacts, job: Job, result: dict[str, Any], organisation: str) -> Model:
    artefacts.put_folder(final_artefact(job.id), Path(result["model"]))
    base = Path(result["base"]).name if result.get("base") else job.base_model
    return Model(
        tuned_name(base, organisation, job.suffix, job.id), job.project_id, job.id, base, result["task"],
        result["method"], final_artefact(job.id), int(clock.now().timestamp()),
    )  # fmt: skip
