"""What a run needs to go on exactly where it stood: safetensors and JSON, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from luthier.core import durable
from luthier.core.errors import StorageError, TrainingError
from luthier.core.rundir import RunDir

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
KEPT = 2
"""Newest checkpoints that stay, besides the best."""


@dataclass
class Progress:
    """Where a run is. The data order is a function of (seed, epoch), so a position is two numbers.

    `step` optimizer steps are done, `epoch` epochs are complete, `position` steps of the next one.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    best_step: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    best_loss: float | None = None
    evaluations_without_better: int = 0
    stopped_early: bool = False
    planned_epochs: int = 0
    decayed: float = 1.0
    rate_scale: float = 1.0
    rollbacks: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss_total: float = 0.0
    loss_weight: float = 0.0
    peak_memory_bytes: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(
    run: RunDir,
    progress: Progress,
    model: dict[str, Tensor],
    optimizer: dict[str, Tensor] | None,
    identity: str,
    kept: int = KEPT,
) -> Path:
    """Write checkpoints/step-N; members first, then state.json with their hashes, then the rename.

    Without `optimizer` it is a state to be used, from which training cannot go on.
    """
    target = run.checkpoint(progress.step)
    members = {MODEL: save(_contiguous(model))}
    if optimizer is not None:
        members[OPTIMIZER] = save(_contiguous(optimizer))
    needed = int(1.1 * sum(len(data) for data in members.values()))
    if durable.free_bytes(run.path) < needed:
        raise StorageError(
            f"the disk has too little room for a checkpoint of {needed / 2**20:.0f} MiB.",
            where=str(run.path),
            remedy=f"Free some space, then go on: luthier train --resume {run.path}",
            code="disk_full",
        )
    with durable.atomic_folder(target) as folder:
        for name, data in members.items():
            durable.write_bytes(folder / name, data)
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
        durable.write_json(folder / STATE, {"progress": asdict(progress), "sha256": hashes, "identity": identity})
    prune(run, progress.best_step, kept)
    return target


def prune(run: RunDir, best_step: int, kept: int = KEPT) -> None:
    """Keep the newest `kept` and the best; only after the newer one is durable."""
    keep = {best_step, *run.steps()[-kept:]}
    for step in run.steps():
        if step not in keep:
            durable.remove_tree(run.checkpoint(step))


def load_checkpoint(folder: Path, identity: str) -> tuple[Progress, dict[str, Tensor], dict[str, Tensor]] | None:
    """(progress, model tensors, optimizer tensors); None when anything is missing or damaged.

    Raises `TrainingError` when the checkpoint is whole but belongs to other data or another model.
    """
    found = _load(folder, identity, (MODEL, OPTIMIZER))
    return None if found is None else (found[0], found[1][MODEL], found[1][OPTIMIZER])


def _load(
    folder: Path, identity: str, members: tuple[str, ...]
) -> tuple[Progress, dict[str, dict[str, Tensor]]] | None:
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        data = {name: (folder / name).read_bytes() for name in members}
        if any(hashlib.sha256(data[name]).hexdigest() != state["sha256"][name] for name in data):
            return None
        progress = Progress(**state["progress"])
        tensors = {name: load(content) for name, content in data.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        return None
    if state["identity"] != identity:
        raise TrainingError(
            "the checkpoint was made with other data, another base model or another method.",
            where=str(folder),
            remedy="Bring back the files as they were, or start a new run.",
            code="checkpoint_of_other_run",
        )
    return progress, tensors


def newest_checkpoint(run: RunDir, identity: str) -> tuple[Progress, dict[str, Tensor], dict[str, Tensor]] | None:
    """The newest one that is whole."""
    durable.sweep(run.checkpoints)
    for step in reversed(run.steps()):
        found = load_checkpoint(run.checkpoint(step), identity)
        if found is not None:
            return found
    return None


def load_best(run: RunDir, progress: Progress, identity: str) -> dict[str, Tensor]:
    """The model tensors of the best state."""
    found = _load(run.checkpoint(progress.best_step), identity, (MODEL,))
    if found is None:
        raise TrainingError(
            f"the checkpoint of the best state (step {progress.best_step}) is missing or damaged.",
            where=str(run.checkpoints),
            remedy="Train again; the folder was changed from outside.",
            code="best_checkpoint_lost",
        )
    return found[1][MODEL]


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
