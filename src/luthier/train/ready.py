"""A run that is put together and can be trained, at once or in parts: parts, optimizer and where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.events import Event
from luthier.core.predictor import Scorer
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.rundir import RunDir
from luthier.data.prepare import Prepared
from luthier.data.tokens import fingerprint
from luthier.models.base_source import BaseSource, sha256_of
from luthier.models.run_model import continue_from
from luthier.models.trainable import load_trainable_state, trainable_state
from luthier.models.twin import Weights
from luthier.train import encoder_parts, language_parts
from luthier.train.checkpoint import Progress, newest_checkpoint
from luthier.train.defaults import default_model
from luthier.train.identity import lasting
from luthier.train.journal import Journal
from luthier.train.loop import Loop
from luthier.train.optimizer import Optimizer
from luthier.train.parts import Parts
from luthier.train.preflight import MAX_TOKENS, Preflight, leak_gate
from luthier.train.shared import Shared
from luthier.train.signals import stop_flag
from luthier.train.trunk_cache import TrunkCache
from luthier.train.upkeep import Upkeep, epoch_keeper
from luthier.train.workload import workload_of

ScorerFor = Callable[[str, bool], Scorer]
CACHE_ROWS = 64
"""Rows of a batch while the frozen layers are computed."""


@dataclass
class Ready:
    """What `make_ready` gives; `advance` trains, as often as it is called."""

    run: RunDir
    recipe: Recipe
    prepared: Prepared
    source: BaseSource
    parts: Parts
    optimizer: Optimizer
    progress: Progress
    identity: str
    weights: Weights | None = None
    """What trains, where other trials take turns in the same model."""

    def take_turn(self) -> None:
        """Put what trains here into the model, where other trials use the same one."""
        if self.weights is not None:
            self.weights.install()

    def advance(self, listener: Journal, upkeep: Upkeep) -> None:
        """Train to the end of `upkeep.until_epoch`; raises `TrainingError`, and `Interrupted` after a signal."""
        parts, spec = self.parts, self.recipe.train
        self.take_turn()
        keep = epoch_keeper(self.run, upkeep.epoch_models, parts.runner.forward, parts.save, parts.on_evaluation)
        with stop_flag() as should_stop:
            Loop(
                self.run, spec, parts.runner, self.optimizer, parts.table, parts.validator, listener, self.progress,
                self.identity, should_stop, keep, upkeep,
            ).run()  # fmt: skip


def make_ready(
    recipe: Recipe,
    run: RunDir,
    scorer_for: ScorerFor,
    listener: Journal,
    *,
    resume: bool,
    from_scratch: bool,
    preflight: bool,
    upkeep: Upkeep,
    shared: Shared,
) -> Ready:
    """Read, assemble, test and (with `resume`) bring back the newest whole checkpoint."""
    source = None if recipe.model == "auto" else shared.source(recipe.model)  # a wrong name is told at once
    prepared = shared.prepared(recipe)
    if source is None:
        recipe = recipe.replace(model=default_model(prepared.task))
        source = shared.source(recipe.model)
    preflight = preflight and not (upkeep.lean and shared.passed(_kind(recipe)))
    if prepared.task in LANGUAGE_TASKS:
        parts = language_parts.assemble(
            recipe, run, prepared, source, listener, from_scratch, shared, probed=preflight, lean=upkeep.lean
        )
    else:
        scorer = scorer_for(prepared.task, prepared.several_labels)
        parts = encoder_parts.assemble(
            recipe, run, prepared, source, scorer, listener, from_scratch, shared, probed=preflight, lean=upkeep.lean
        )
    weights = shared.weights(parts.model) if upkeep.lean else None
    if weights is not None:
        weights.install()
    kind, recipe, model, forward = _kind(recipe), parts.recipe, parts.model, parts.runner.forward
    if upkeep.start is not None:
        continue_from(model, upkeep.start)
        parts.before, parts.identity = None, (*parts.identity, _contents(upkeep.start))
    spec = recipe.train
    assert isinstance(spec.epochs, int)
    identity = fingerprint(
        prepared.description["sha256"], source.sha256, parts.table.fingerprint(), lasting(recipe.method),
        lasting(recipe.freeze), spec.seed, spec.batch_size, spec.accumulate, from_scratch, *parts.identity,
    )  # fmt: skip

    def make_optimizer() -> Optimizer:
        return Optimizer(model, spec, forward.vocabulary)

    progress = Progress()
    found = newest_checkpoint(run, identity) if resume else None
    if found is None and preflight:
        with shared.timed():
            gates = Preflight(parts.gated or parts.runner, parts.table, listener)
            gates.run(parts.before, make_optimizer, spec.truncate)
            parts.gates(gates)
            gates.report(leak_gate(prepared.description["leaks"]))
        shared.pass_on(kind)
    optimizer = make_optimizer()
    if found is not None:
        progress, tensors, moments = found
        load_trainable_state(model, tensors)
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
    facts = {} if upkeep.lean else {"workload": workload_of(parts, prepared), "done": done}
    listener(Event("size", data={"checkpoint_bytes": 3 * size, **facts}))  # with the two moments of AdamW
    if spec.cache:
        _open_caches(parts, source, from_scratch, listener, shared)
    return Ready(run, recipe, prepared, source, parts, optimizer, progress, identity, weights)


def _kind(recipe: Recipe) -> tuple[Any, ...]:
    """What the gates depend on: they hold for every rate, rank and number of epochs. A longer or larger batch than
    memory holds ends the first step, which has the longest rows."""
    spec = recipe.train
    return (
        "gates", recipe.method.kind, getattr(recipe.method, "dora", False), str(recipe.freeze), str(recipe.head),
        str(spec.max_length), spec.truncate, spec.l2_sp > 0, spec.kl_to_base > 0,
    )  # fmt: skip


def _contents(folder: Path) -> list[str]:
    """The hashes of a model's weights."""
    return [sha256_of(path) for path in sorted(folder.rglob("*.safetensors"))]


def _reopen(progress: Progress, epochs: int, patience: int) -> None:
    """More epochs than planned before: somebody asked for them, so patience starts anew."""
    if epochs > progress.planned_epochs:
        progress.evaluations_without_better = 0
    progress.stopped_early = bool(patience) and progress.evaluations_without_better >= patience


def _open_caches(parts: Parts, source: BaseSource, from_scratch: bool, listener: Journal, shared: Shared) -> None:
    """Compute or find what the frozen part gives, when something above it trains."""
    runner, validator = parts.runner, parts.validator
    forward, model = runner.forward, parts.model
    if forward.boundary < 1:
        return
    base = {"sha256": source.sha256, "scratch_seed": parts.recipe.train.seed if from_scratch else None}

    def opened(table: Any) -> TrunkCache | None:
        key = ("trunk", id(table), forward.boundary, model.pooling, model.precision, forward.way, from_scratch)
        return shared.once(
            (*key, parts.recipe.train.seed if from_scratch else None),
            lambda: TrunkCache.open(
                forward,
                table,
                base=base,
                batch_size=CACHE_ROWS,
                max_tokens=MAX_TOKENS,
                on_progress=lambda done, rows: listener(Event("freezing", data={"done": done, "rows": rows})),
            ),
        )

    runner.cache = opened(parts.table)
    if validator is not None and runner.cache is not None:
        validator.cache = opened(validator.table)
    if runner.cache is None:
        listener(Event("message", "The frozen layers are not cached: the disk has too little room.", "warn"))
        return
    verb = "read from" if runner.cache.reused else "computed once into"
    text = f"The {forward.boundary} frozen layers are {verb} the cache; epochs skip them."
    listener(Event("message", text, data={"cache_reused": runner.cache.reused}))
