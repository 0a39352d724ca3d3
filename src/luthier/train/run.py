"""One run: from a recipe to the weights of the best state, in a folder that can be resumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from luthier.core import clock, durable
from luthier.core.errors import Interrupted, LuthierError
from luthier.core.events import Event, Listener
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.data.prepare import Prepared
from luthier.data.tokens import TargetCoder
from luthier.models.base_source import BaseSource
from luthier.models.task_model import TaskModel
from luthier.models.trainable import load_trainable_state, trainable_summary
from luthier.train.checkpoint import Progress, load_best
from luthier.train.journal import Journal
from luthier.train.memory import peak_memory_bytes
from luthier.train.parts import Save
from luthier.train.ready import ScorerFor, make_ready
from luthier.train.remedies.path import average, start_of
from luthier.train.shared import Shared
from luthier.train.step import StepRunner
from luthier.train.upkeep import Upkeep
from luthier.train.validate import Judge


@dataclass
class Trained:
    """A model with its best weights, and what is known of how it came about."""

    run: RunDir
    recipe: Recipe
    prepared: Prepared
    source: BaseSource
    model: TaskModel
    tokenizer: Any
    coder: TargetCoder | None
    progress: Progress
    validator: Judge | None
    runner: StepRunner
    save: Save
    cost: dict[str, Any]
    dropped: int = 0
    warnings: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Tensor] | None = None
    """What trains as the base has it, and `tuned` as it was learned, where something asks for the way between."""
    tuned: dict[str, Tensor] | None = None

    def export(self, **extras: Any) -> None:
        """Write the run's model/; `extras` go into its settings (temperature)."""
        with durable.atomic_folder(self.run.model) as folder:
            self.save(folder, extras)


def new_run(recipe: Recipe) -> RunDir:
    """An empty folder for this recipe."""
    first = recipe.data.train if isinstance(recipe.data.train, str) else recipe.data.train[0]
    stem = Path(first.rstrip("/").rsplit("/", 1)[-1]).name.split(".")[0] or "data"
    return RunDir.create(recipe.out, f"{stem}-{recipe.method.kind}")


def train(
    recipe: Recipe,
    run: RunDir,
    *,
    scorer_for: ScorerFor,
    listener: Listener,
    resume: bool = False,
    from_scratch: bool = False,
    preflight: bool = True,
    upkeep: Upkeep | None = None,
    shared: Shared | None = None,
) -> Trained:
    """Train `recipe` in `run`; with `resume` go on from its newest whole checkpoint.

    `shared` holds what runs before it made of the same data and base, and keeps what this one makes.

    `scorer_for(task, several_labels)` gives the validation metric. Raises `DataError`, `ModelError`,
    `TrainingError`, `StorageError`; `Interrupted` after a signal, with everything saved.
    """
    with Journal(run, listener) as journal:
        try:
            return _train(recipe, run, scorer_for, journal, resume, from_scratch, preflight, upkeep or Upkeep(),
                          shared or Shared(keep=False))  # fmt: skip
        except Interrupted as stop:
            journal(Event("interrupted", stop.message))
            raise
        except LuthierError as error:
            journal(Event("failed", str(error), "error", {"code": error.code}))
            raise


def _train(
    recipe: Recipe,
    run: RunDir,
    scorer_for: ScorerFor,
    listener: Journal,
    resume: bool,
    from_scratch: bool,
    preflight: bool,
    upkeep: Upkeep,
    shared: Shared,
) -> Trained:
    began = clock.monotonic()
    ready = make_ready(
        recipe, run, scorer_for, listener, resume=resume, from_scratch=from_scratch, preflight=preflight,
        upkeep=upkeep, shared=shared,
    )  # fmt: skip
    ready.advance(listener, upkeep)
    parts, progress, spec = ready.parts, ready.progress, ready.recipe.train
    model, runner, table = parts.model, parts.runner, parts.table
    tuned: dict[str, Tensor] | None = None
    if progress.best_step:
        load_trainable_state(model, load_best(run, progress, ready.identity))
        runner.forward.vocabulary = None  # the model's own embedding now holds the best words
        if parts.start is not None:
            tuned = start_of(model)
        if spec.average < 1.0 and parts.start is not None:
            average(model, parts.start, spec.average)
            listener(Event("message", f"Kept: {spec.average:.0%} of the way from the base to the tuned weights."))
    model.eval()
    trainable, total = trainable_summary(model)
    seconds = progress.seconds
    cost = {
        "seconds": seconds,
        "seconds_with_setup": clock.monotonic() - began,
        "tokens": progress.tokens,
        "tokens_per_second": progress.tokens / max(seconds, 1e-9),
        "peak_memory_bytes": max(progress.peak_memory_bytes, peak_memory_bytes()),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "epochs": progress.epoch,
        "steps": progress.step,
    }
    kept = f"the state after epoch {progress.best_epoch} is kept."
    if progress.epoch < progress.planned_epochs and not progress.stopped_early:
        where = f"epoch {progress.epoch} of {progress.planned_epochs}"
        listener(Event("message", f"Stopped after {where}, as asked; {kept}"))
    else:
        listener(Event("finished", f"Trained {progress.step} steps; {kept}",
                       data={"best_epoch": progress.best_epoch, "best_step": progress.best_step}))  # fmt: skip
    return Trained(
        run,
        ready.recipe,
        ready.prepared,
        ready.source,
        model,
        parts.tokenizer,
        parts.coder,
        progress,
        parts.validator,
        runner,
        parts.save,
        cost,
        table.dropped,
        parts.warnings,
        parts.notes,
        parts.start,
        tuned,
    )

