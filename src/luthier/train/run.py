"""One run: from a recipe to the weights of the best state, in a folder that can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from luthier.core import clock, durable
from luthier.core.errors import Interrupted, LuthierError
from luthier.core.events import Event, Listener
from luthier.core.predictor import Scorer
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.rundir import RunDir
from luthier.data.canaries import plant
from luthier.data.prepare import Prepared, prepare
from luthier.data.tokens import TargetCoder, fingerprint
from luthier.models.base_source import BaseSource, sha256_of
from luthier.models.catalogue import locate
from luthier.models.run_model import continue_from
from luthier.models.task_model import TaskModel
from luthier.models.trainable import load_trainable_state, trainable_state, trainable_summary
from luthier.train import encoder_parts, language_parts
from luthier.train.checkpoint import Progress, load_best, newest_checkpoint
from luthier.train.defaults import default_model
from luthier.train.journal import Journal
from luthier.train.loop import Loop
from luthier.train.memory import peak_memory_bytes
from luthier.train.optimizer import Optimizer
from luthier.train.parts import Parts, Save
from luthier.train.preflight import MAX_TOKENS, Preflight, leak_gate
from luthier.train.remedies.path import average, start_of
from luthier.train.signals import stop_flag
from luthier.train.step import StepRunner
from luthier.train.trunk_cache import TrunkCache
from luthier.train.upkeep import Upkeep, epoch_keeper
from luthier.train.validate import Judge
from luthier.train.workload import workload_of

ScorerFor = Callable[[str, bool], Scorer]
CACHE_ROWS = 64
"""Rows of a batch while the frozen layers are computed."""


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
) -> Trained:
    """Train `recipe` in `run`; with `resume` go on from its newest whole checkpoint.

    `scorer_for(task, several_labels)` gives the validation metric. Raises `DataError`, `ModelError`,
    `TrainingError`, `StorageError`; `Interrupted` after a signal, with everything saved.
    """
    with Journal(run, listener) as journal:
        try:
            return _train(recipe, run, scorer_for, journal, resume, from_scratch, preflight, upkeep or Upkeep())
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
) -> Trained:
    began = clock.monotonic()
    source = None if recipe.model == "auto" else locate(recipe.model)  # a wrong name is told before data are read
    prepared = prepare(recipe.data, recipe.task, recipe.train.seed)
    if recipe.evaluate.canaries:
        prepared = plant(prepared, recipe.evaluate.canaries, recipe.train.seed)
    if source is None:
        recipe = recipe.replace(model=default_model(prepared.task))
        source = locate(recipe.model)
    if prepared.task in LANGUAGE_TASKS:
        parts = language_parts.assemble(recipe, run, prepared, source, listener, from_scratch)
    else:
        scorer = scorer_for(prepared.task, prepared.several_labels)
        parts = encoder_parts.assemble(recipe, run, prepared, source, scorer, listener, from_scratch)
    recipe, model, runner, table = parts.recipe, parts.model, parts.runner, parts.table
    if upkeep.start is not None:
        continue_from(model, upkeep.start)
        parts.before, parts.identity = None, (*parts.identity, _contents(upkeep.start))
    spec, forward = recipe.train, runner.forward
    assert isinstance(spec.epochs, int)
    identity = fingerprint(
        prepared.description["sha256"], source.sha256, table.fingerprint(), recipe.method.model_dump(),
        recipe.freeze.model_dump(), spec.seed, spec.batch_size, spec.accumulate, from_scratch, *parts.identity,
    )  # fmt: skip

    def make_optimizer() -> Optimizer:
        return Optimizer(model, spec, forward.vocabulary)

    progress = Progress()
    found = newest_checkpoint(run, identity) if resume else None
    if found is None and preflight:
        gates = Preflight(runner, table, listener)
        gates.run(parts.before, make_optimizer, spec.truncate)
        parts.gates(gates)
        gates.report(leak_gate(prepared.description["leaks"]))
    optimizer = make_optimizer()
    if found is not None:
        progress, weights, moments = found
        load_trainable_state(model, weights)
        if forward.vocabulary is not None:
            forward.vocabulary.reload(progress.decayed)
        optimizer.load_state(moments)
        _reopen(progress, spec.epochs, spec.patience)
        listener.rewind(progress.step, {entry["step"] for entry in progress.history})
        listener(Event("message", f"Going on from step {progress.step} (epoch {progress.epoch + 1})."))
    elif resume:
        listener.rewind(0, set())
        listener(Event("message", "There is no whole checkpoint yet: training begins at step 0.", "warn"))
    size = sum(tensor.numel() * tensor.element_size() for tensor in trainable_state(model).values())
    done = {"step": progress.step, "epoch": progress.epoch, "seconds": progress.seconds}
    facts = {"workload": workload_of(parts, prepared), "done": done}
    listener(Event("size", data={"checkpoint_bytes": 3 * size, **facts}))  # with the two moments of AdamW
    if spec.cache:
        _open_caches(parts, source, from_scratch, listener)
    with stop_flag() as should_stop:
        Loop(
            run, spec, runner, optimizer, table, parts.validator, listener, progress, identity, should_stop,
            epoch_keeper(run, upkeep.epoch_models, forward, parts.save, parts.on_evaluation),
            upkeep.save_every_seconds,
        ).run()  # fmt: skip
    tuned: dict[str, Tensor] | None = None
    if progress.best_step:
        load_trainable_state(model, load_best(run, progress, identity))
        forward.vocabulary = None  # the model's own embedding now holds the best words
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
    listener(Event("finished", f"Trained {progress.step} steps; the state after epoch {progress.best_epoch} is kept.",
                   data={"best_epoch": progress.best_epoch, "best_step": progress.best_step}))  # fmt: skip
    return Trained(
        run,
        recipe,
        prepared,
        source,
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


def _contents(folder: Path) -> list[str]:
    """The hashes of a model's weights."""
    return [sha256_of(path) for path in sorted(folder.rglob("*.safetensors"))]


def _reopen(progress: Progress, epochs: int, patience: int) -> None:
    """More epochs than planned before: somebody asked for them, so patience starts anew."""
    if epochs > progress.planned_epochs:
        progress.evaluations_without_better = 0
    progress.stopped_early = bool(patience) and progress.evaluations_without_better >= patience


def _open_caches(parts: Parts, source: BaseSource, from_scratch: bool, listener: Listener) -> None:
    """Compute or find what the frozen part gives, when something above it trains."""
    runner, validator = parts.runner, parts.validator
    forward = runner.forward
    if forward.boundary < 1:
        return
    base = {"sha256": source.sha256, "scratch_seed": parts.recipe.train.seed if from_scratch else None}
    rows = CACHE_ROWS
    runner.cache = TrunkCache.open(forward, parts.table, base=base, batch_size=rows, max_tokens=MAX_TOKENS)
    if validator is not None and runner.cache is not None:
        validator.cache = TrunkCache.open(forward, validator.table, base=base, batch_size=rows, max_tokens=MAX_TOKENS)
    if runner.cache is None:
        listener(Event("message", "The frozen layers are not cached: the disk has too little room.", "warn"))
        return
    verb = "read from" if runner.cache.reused else "computed once into"
    text = f"The {forward.boundary} frozen layers are {verb} the cache; epochs skip them."
    listener(Event("message", text, data={"cache_reused": runner.cache.reused}))
