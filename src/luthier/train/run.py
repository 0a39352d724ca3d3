"""One run: from a recipe to the weights of the best state, in a folder that can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from luthier.core import clock, durable
from luthier.core.errors import Interrupted, LuthierError
from luthier.core.events import Event, Listener
from luthier.core.predictor import Scorer
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.data.prepare import Prepared, prepare
from luthier.data.tokens import TargetCoder, TokenTable, encode_samples, fingerprint, token_lengths
from luthier.models import export, methods
from luthier.models.base_source import BaseSource
from luthier.models.build import build
from luthier.models.catalogue import locate
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import Tokenizer, load_tokenizer
from luthier.models.trainable import load_trainable_state, trainable_summary
from luthier.train.checkpoint import Progress, load_best, newest_checkpoint
from luthier.train.defaults import resolve
from luthier.train.forward import Forward
from luthier.train.journal import Journal
from luthier.train.loop import Loop, seed_everything
from luthier.train.memory import peak_memory_bytes
from luthier.train.optimizer import Optimizer
from luthier.train.preflight import Preflight, leak_gate
from luthier.train.signals import stop_flag
from luthier.train.step import StepRunner
from luthier.train.tasks import make_task
from luthier.train.trunk_cache import TrunkCache
from luthier.train.validate import Validator

MAX_TOKENS = 16_384
"""Padded tokens of one micro-batch; more rows of a step come in several."""
_FRESH = ("lora", "adapter", "ia3")
"""Methods whose new parts must not change the answers before they have learned."""

ScorerFor = Callable[[str, bool], Scorer]


@dataclass
class Trained:
    """A model with its best weights, and what is known of how it came about."""

    run: RunDir
    recipe: Recipe
    prepared: Prepared
    source: BaseSource
    model: TaskModel
    tokenizer: Tokenizer
    coder: TargetCoder
    progress: Progress
    validator: Validator | None
    runner: StepRunner
    cost: dict[str, Any]
    dropped: int = 0
    warnings: list[str] = field(default_factory=list)

    def export(self, **extras: Any) -> None:
        """Write the run's model/; `extras` go into its settings (temperature)."""
        train = self.recipe.train
        with durable.atomic_folder(self.run.model) as folder:
            export.save(
                self.model, self.tokenizer, self.source, folder,
                extras={
                    "max_length": train.max_length,
                    "cut": "start" if train.truncate == "start" else "end",
                    "target_mean": list(self.coder.mean) or None,
                    "target_std": list(self.coder.std) or None,
                    **extras,
                },
            )  # fmt: skip


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
) -> Trained:
    """Train `recipe` in `run`; with `resume` go on from its newest whole checkpoint.

    `scorer_for(task, several_labels)` gives the validation metric. Raises `DataError`, `ModelError`,
    `TrainingError`, `StorageError`; `Interrupted` after a signal, with everything saved.
    """
    with Journal(run, listener) as journal:
        try:
            return _train(recipe, run, scorer_for, journal, resume, from_scratch, preflight)
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
) -> Trained:
    began = clock.monotonic()
    source = locate(recipe.model)
    tokenizer = load_tokenizer(source.path)
    prepared = prepare(recipe.data, recipe.task, recipe.train.seed)
    recipe, warnings = _settle(recipe, run, prepared, source, tokenizer, listener)
    spec = recipe.train
    assert isinstance(spec.max_length, int) and isinstance(spec.batch_size, int) and isinstance(spec.epochs, int)
    seed_everything(spec.seed)

    coder = TargetCoder.fit(prepared.task, prepared.labels, prepared.several_labels, prepared.train)
    table = encode_samples(prepared.train, tokenizer, coder, max_length=spec.max_length, truncate=spec.truncate)
    held_out = None
    if prepared.validation is not None and len(prepared.validation):
        held_out = encode_samples(
            prepared.validation, tokenizer, coder, max_length=spec.max_length, truncate=spec.truncate, keep=True
        )
    model, before = _model(recipe, prepared, source, tokenizer, coder, table, from_scratch)
    forward = Forward(model, tokenizer.pad_id)
    forward.train_used_words_only(table)
    task = make_task(coder, table, recipe.head.class_weights)
    runner = StepRunner(forward, task, batch_size=spec.batch_size, max_tokens=MAX_TOKENS)
    identity = fingerprint(
        prepared.description["sha256"], source.sha256, table.fingerprint(), recipe.method.model_dump(),
        recipe.head.model_dump(), recipe.freeze.model_dump(), coder.labels, spec.seed, spec.batch_size,
        spec.accumulate, from_scratch,
    )  # fmt: skip

    def make_optimizer() -> Optimizer:
        return Optimizer(model, spec, forward.vocabulary)

    progress = Progress()
    found = newest_checkpoint(run, identity) if resume else None
    if found is None and preflight:
        gates = Preflight(runner, table, listener)
        gates.run(before, make_optimizer, spec.truncate)
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

    validator = None
    if held_out is not None:
        validator = Validator(runner, held_out, coder, scorer_for(prepared.task, prepared.several_labels))
    if spec.cache:
        _open_caches(runner, table, validator, source, from_scratch, spec.seed, listener)
    with stop_flag() as should_stop:
        Loop(run, spec, runner, optimizer, table, validator, listener, progress, identity, should_stop).run()
    if progress.best_step:
        load_trainable_state(model, load_best(run, progress, identity))
        forward.vocabulary = None  # the model's own embedding now holds the best words
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
        tokenizer,
        coder,
        progress,
        validator,
        runner,
        cost,
        table.dropped,
        warnings,
    )


def _settle(
    recipe: Recipe, run: RunDir, prepared: Prepared, source: BaseSource, tokenizer: Tokenizer, listener: Listener
) -> tuple[Recipe, list[str]]:
    """Resolve every `auto`, write recipe.yaml and data.json, and say what was chosen."""
    lengths = token_lengths(prepared.train, tokenizer)
    reserved = recipe.method.tokens if recipe.method.kind == "prefix" else 0
    config: Any = AutoConfig.from_pretrained(source.path, local_files_only=True, trust_remote_code=False)
    recipe, reasons = resolve(
        recipe, task=prepared.task, lengths=lengths, source=source, hidden_size=config.hidden_size,
        encoder=tokenizer, reserved_positions=reserved,
    )  # fmt: skip
    durable.write_text(run.recipe_yaml, recipe.to_yaml(reasons))
    durable.write_json(run.data_json, prepared.description)
    warnings = []
    if recipe.evaluate.forgetting:
        warnings.append("evaluate.forgetting is not measured by this version of Luthier.")
    if recipe.evaluate.fairness is not None:
        warnings.append("evaluate.fairness is not measured by this version of Luthier.")
    for part, entry in prepared.description["leaks"].items():
        if entry["rows"]:
            warnings.append(f"{entry['rows']} rows of {part} are also in train; its figures flatter the model.")
    for warning in warnings:
        listener(Event("message", warning, "warn"))
    rows = prepared.description["rows"]
    counts = ", ".join(f"{n:,} {part} rows" for part, n in rows.items())
    chosen = {"reasons": reasons, "recipe": recipe.model_dump()}
    listener(Event("message", f"{prepared.task} on {source.name}: {counts}", data=chosen))
    return recipe, warnings


def _model(
    recipe: Recipe,
    prepared: Prepared,
    source: BaseSource,
    tokenizer: Tokenizer,
    coder: TargetCoder,
    table: TokenTable,
    from_scratch: bool,
) -> tuple[TaskModel, Tensor | None]:
    """The model with its method applied, and the probe's logits before that."""
    assert not isinstance(recipe.head.dropout, str) and not isinstance(recipe.train.dropout, str)
    model = build(
        source, task=prepared.task, labels=prepared.labels, several_labels=prepared.several_labels,
        pooling=recipe.head.pooling, dropout=recipe.head.dropout, encoder_dropout=recipe.train.dropout,
        seed=recipe.train.seed, from_scratch=from_scratch, precision=recipe.train.precision,
    )  # fmt: skip
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    before = None
    if recipe.method.kind in _FRESH:
        model.eval()
        task = make_task(coder, table, "none")
        probe_runner = StepRunner(
            Forward(model, tokenizer.pad_id, stream=False), task, batch_size=8, max_tokens=MAX_TOKENS
        )
        with torch.no_grad():
            before = probe_runner.forward(Preflight(probe_runner, table, lambda event: None).probe())
    methods.apply(model, recipe.method, recipe.freeze)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), before


def _reopen(progress: Progress, epochs: int, patience: int) -> None:
    """More epochs than planned before: somebody asked for them, so patience starts anew."""
    if epochs > progress.planned_epochs:
        progress.evaluations_without_better = 0
    progress.stopped_early = bool(patience) and progress.evaluations_without_better >= patience


def _open_caches(
    runner: StepRunner,
    table: TokenTable,
    validator: Validator | None,
    source: BaseSource,
    from_scratch: bool,
    seed: int,
    listener: Listener,
) -> None:
    """Compute or find what the frozen part gives, when something above it trains."""
    forward = runner.forward
    if forward.boundary < 1:
        return
    base = {"sha256": source.sha256, "scratch_seed": seed if from_scratch else None}
    rows = 64
    runner.cache = TrunkCache.open(forward, table, base=base, batch_size=rows, max_tokens=MAX_TOKENS)
    if validator is not None and runner.cache is not None:
        validator.cache = TrunkCache.open(forward, validator.table, base=base, batch_size=rows, max_tokens=MAX_TOKENS)
    if runner.cache is None:
        listener(Event("message", "The frozen layers are not cached: the disk has too little room.", "warn"))
        return
    verb = "read from" if runner.cache.reused else "computed once into"
    listener(Event("message", f"The {forward.boundary} frozen layers are {verb} the cache; epochs skip them."))
