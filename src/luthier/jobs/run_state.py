"""What a finished run needs to be trained further exactly where it stood, kept as an artefact beside its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.core import durable, durable_files
from luthier.core.recipe import SOURCES, Recipe
from luthier.core.recipe_io import read_yaml
from luthier.core.rundir import RunDir

MOST_BYTES = 512 * 2**20
"""Of a state that is kept: with the moments of AdamW it is three times what trained. A larger run goes on from its
model's weights, with a new optimizer."""
_LOGS = ("metrics.jsonl", "events.jsonl", "data.json")


def state_artefact(job_id: str) -> str:
    """Where the state of a job's run is kept."""
    return f"states/{job_id}"


def gather_state(run: RunDir, folder: Path) -> bool:
    """Put the state of a finished `run` into `folder`; False, and no folder, where it is too large or not there."""
    steps = run.steps()
    if not steps or not run.recipe_yaml.is_file():
        return False
    newest = run.checkpoint(steps[-1])
    progress = json.loads((newest / "state.json").read_text(encoding="utf-8")).get("progress", {})
    kept = [run.checkpoint(step) for step in sorted({steps[-1], progress.get("best_step", steps[-1])} & set(steps))]
    files = [path for checkpoint in kept for path in checkpoint.iterdir()]
    if sum(path.stat().st_size for path in files) > MOST_BYTES:
        return False
    with durable.atomic_folder(folder) as temporary:
        for path in [*files, run.recipe_yaml]:
            durable_files.link_or_copy(path, temporary / path.relative_to(run.path))
        _copy_logs(run.path, temporary)
    return True


def reopen(state: Path, run: RunDir, recipe: Recipe) -> None:
    """Make `run` the run that `state` was, with what `recipe` says anew: where base and data are, how long to train.

    Done again, it gives the same; recipe.yaml comes last, so that a half-made run is none.
    """
    durable.make_folder(run.path)
    kept = RunDir(state)
    for step in kept.steps():
        for path in kept.checkpoint(step).iterdir():
            durable_files.link_or_copy(path, run.checkpoint(step) / path.name)
    _copy_logs(state, run.path)
    durable.write_text(run.recipe_yaml, _further(read_yaml(kept.recipe_yaml), recipe).to_yaml())


def _copy_logs(source: Path, target: Path) -> None:
    """Never a second name of the same file: a run that goes on writes behind its end."""
    for name in _LOGS:
        if (source / name).is_file():
            durable.write_bytes(target / name, (source / name).read_bytes())


def _further(settled: dict[str, Any], recipe: Recipe) -> Recipe:
    """The settled values of the first run, so that nothing is chosen again, with the new job's own."""
    sources = {name: getattr(recipe.data, name) for name in SOURCES}
    train = {"epochs": recipe.train.epochs, "patience": recipe.train.patience}
    return Recipe.build(
        {
            **settled,
            "model": recipe.model,
            "out": recipe.out,
            "data": {**settled["data"], **sources},
            "train": {**settled["train"], **train},
        }
    )
