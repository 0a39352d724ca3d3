"""One job, from its files to a model that can be served: the same `luthier.api` that the command line calls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier import api
from luthier.core import durable
from luthier.core.errors import DataError, ModelError
from luthier.core.events import Event, Listener
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.jobs.artefacts import sha256_of
from luthier.jobs.run_state import reopen
from luthier.jobs.worker_wire import Assignment

_MERGED = ("lora", "ia3")
"""Methods whose result can become plain weights."""
_WHOLE = ("full", "head", "bitfit")
"""Methods whose result is plain weights."""


@dataclass(frozen=True)
class _Beginning:
    """Where training starts: the recipe, the weights that are put over the base's, and whether the base is a
    tuned model itself, so that what is built on it must not need it later."""

    recipe: Recipe
    start: Path | None = None
    on_tuned: bool = False


def run_job(assignment: Assignment, listener: Listener) -> dict[str, Any]:
    """Do the job, or go on with it; gives what the supervisor publishes: folders of the final model and of those at
    the last epochs' ends (by step), and facts of the report.

    Raises `LuthierError`; `Interrupted` after a signal, with everything saved.
    """
    check_files(assignment.files)
    run = RunDir(assignment.run)
    began = _begin(assignment)
    _tell_again(run, listener)
    if run.report() is None:
        from luthier.train.upkeep import Upkeep

        upkeep = Upkeep(assignment.save_every_seconds, assignment.epoch_models, began.start)
        if not run.recipe_yaml.is_file():
            durable.remove_tree(run.path)  # a worker that died before anything was settled
            if assignment.state is not None:
                reopen(Path(assignment.state), run, began.recipe)
        if run.recipe_yaml.is_file():
            api.resume(run.path, listener=listener, upkeep=upkeep)
        else:
            durable.make_folder(run.path)
            api.train(began.recipe, run=run, listener=listener, upkeep=upkeep)
    report = run.report()
    assert report is not None
    models = {0: run.model, **{step: run.epoch_model(step) for step in run.epoch_models()}}
    if began.on_tuned and began.recipe.method.kind not in _WHOLE:
        models = {step: _merged(folder, Path(assignment.scratch) / f"whole-{step}") for step, folder in models.items()}
    return {
        "model": str(models.pop(0)),
        "epochs": {str(step): str(folder) for step, folder in models.items()},
        "trained_tokens": int(report["cost"]["tokens"]),
        "steps": int(report["cost"]["steps"]),
        "trained_epochs": int(report["cost"]["epochs"]),
        "metrics": {name: cell["value"] for name, cell in report["metrics"].items()},
        "verdict": report.get("verdict", ""),
        "warnings": list(report["warnings"]),
        "task": report["task"],
    }


def check_files(files: dict[str, str]) -> None:
    """The files are still those that were validated."""
    for path, expected in files.items():
        if not Path(path).is_file() or sha256_of(Path(path)) != expected:
            raise DataError(
                "the file is not the one that was uploaded.",
                where=path,
                remedy="Upload it again and create a new job.",
                code="file_changed",
            )


def _tell_again(run: RunDir, listener: Listener) -> None:
    """A worker that died between writing a checkpoint and telling of it: the listener ignores what it knows."""
    for step in run.epoch_models():
        if run.checkpoint(step).is_dir():
            listener(Event("checkpoint", data={"step": step, "whole_epoch": True, "again": True}))


def _begin(assignment: Assignment) -> _Beginning:
    """The weights that training starts from: the base's, or those of the tuned model that goes on."""
    recipe = Recipe.build(assignment.recipe, where=assignment.job)
    if assignment.parent is None:
        return _Beginning(recipe)
    from luthier.models.export import SETTINGS_JSON
    from luthier.models.run_model import method_of

    parent = Path(assignment.parent)
    settings = json.loads((parent / SETTINGS_JSON).read_text(encoding="utf-8"))
    recipe = recipe.replace(task=settings["task"])
    kind = settings["method"]["kind"]
    if settings["layout"] == "transformers" or (settings["layout"] == "sentence-transformers" and kind in _WHOLE):
        if recipe.method.kind not in (*_WHOLE, *_MERGED):
            raise _cannot_continue(recipe.method.kind)
        return _Beginning(recipe.replace(model=str(parent)), None, on_tuned=True)
    if method_of(settings) == (recipe.method, recipe.freeze):
        return _Beginning(recipe, parent)
    if kind not in _MERGED or recipe.method.kind not in (*_WHOLE, *_MERGED):
        raise _cannot_continue(recipe.method.kind)
    merged = _merged(parent, Path(assignment.scratch) / "parent")
    return _Beginning(recipe.replace(model=str(merged)), None, on_tuned=True)


def _cannot_continue(kind: str) -> ModelError:
    return ModelError(
        f"training with {kind} cannot go on from this tuned model: its weights would not be part of the result.",
        remedy="Use the method that it was trained with, or lora or full.",
        code="cannot_continue",
        param="method",
    )


def _merged(folder: Path, target: Path) -> Path:
    """`folder` as plain weights without an adapter, made once."""
    if not (target / "luthier.json").is_file():
        api.export(folder, "merged", target, dtype="fp32")
    return target
