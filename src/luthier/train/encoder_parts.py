"""The parts of a run that classifies, regresses or extracts: an encoder with a head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from luthier.core.predictor import Scorer
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.data.prepare import Prepared
from luthier.data.tokens import TargetCoder, TokenTable, encode_samples, token_lengths
from luthier.models import export, methods
from luthier.models.base_source import BaseSource
from luthier.models.build import build
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import Tokenizer, load_tokenizer
from luthier.train.closed_head import ClosedHead, check_closed, head_of
from luthier.train.contrastive import ContrastiveRunner, check_contrastive
from luthier.train.defaults import resolve
from luthier.train.forward import Forward
from luthier.train.identity import lasting
from luthier.train.journal import Journal
from luthier.train.parts import Parts
from luthier.train.preflight import MAX_TOKENS, probe
from luthier.train.remedies.distance import FeatureDistance, base_beside
from luthier.train.remedies.path import start_of
from luthier.train.remedies.pull import pull_of
from luthier.train.remedies.replay import Mixed
from luthier.train.remedies.settings import check_remedies, keeps_start, remedies_identity
from luthier.train.settle import settle
from luthier.train.shared import Shared, shared_rows
from luthier.train.step import StepRunner
from luthier.train.tasks import make_task
from luthier.train.validate import Validator

_FRESH = ("lora", "adapter", "ia3")
"""Methods whose new parts must not change the answers before they have learned."""


def assemble(
    recipe: Recipe,
    run: RunDir,
    prepared: Prepared,
    source: BaseSource,
    scorer: Scorer,
    listener: Journal,
    from_scratch: bool,
    shared: Shared,
    *,
    probed: bool,
    lean: bool,
) -> Parts:
    """Tokens, model, task and validator of a recipe; without `probed` there is no `Parts.before`. With `lean`, a
    trial's, they may be those of another trial, whose model takes up one trial's weights after another."""
    tokenizer = shared.once(("tokenizer", source.path), lambda: load_tokenizer(source.path))
    check_remedies(recipe, prepared.task)
    check_contrastive(recipe, prepared.task, prepared.several_labels)
    check_closed(recipe, prepared.task)
    learned = shared_rows(recipe, prepared, source.name, shared)
    lengths = shared.once(("rows", learned, tokenizer, "lengths"), lambda: token_lengths(learned, tokenizer))
    reserved = recipe.method.tokens if recipe.method.kind == "prefix" else 0
    config: Any = shared.once(
        ("config", source.path),
        lambda: AutoConfig.from_pretrained(source.path, local_files_only=True, trust_remote_code=False),
    )
    resolved, reasons = resolve(
        recipe, task=prepared.task, lengths=lengths, source=source, hidden_size=config.hidden_size,
        encoder=tokenizer, reserved_positions=reserved,
    )  # fmt: skip
    warnings = settle(resolved, reasons, run, prepared, source, listener, shared)

    def build_parts() -> Parts:
        return _build(resolved, prepared, source, scorer, tokenizer, learned, from_scratch, shared, probed)

    key = (prepared.train, from_scratch)
    parts = shared.parts(resolved, key, build_parts, probed=probed) if lean else build_parts()
    return replace(parts, recipe=resolved, warnings=warnings)


def _build(
    recipe: Recipe,
    prepared: Prepared,
    source: BaseSource,
    scorer: Scorer,
    tokenizer: Tokenizer,
    learned: Mixed,
    from_scratch: bool,
    shared: Shared,
    probed: bool,
) -> Parts:
    """Everything that does not depend on how the weights move."""
    spec = recipe.train
    assert isinstance(spec.max_length, int) and isinstance(spec.batch_size, int)
    torch.manual_seed(spec.seed)
    length: int = spec.max_length
    coder = shared.once(
        ("coder", prepared.train),
        lambda: TargetCoder.fit(prepared.task, prepared.labels, prepared.several_labels, prepared.train),
    )
    rows = ("rows", learned, tokenizer)
    table = shared.once(
        (*rows, length, spec.truncate),
        lambda: encode_samples(learned, tokenizer, coder, max_length=length, truncate=spec.truncate),
    )
    held_out, validation = None, prepared.validation
    if validation is not None and len(validation):
        held_out = shared.once(
            ("rows", validation, tokenizer, length, spec.truncate),
            lambda: encode_samples(
                validation, tokenizer, coder, max_length=length, truncate=spec.truncate, keep=True
            ),
        )
    model, before, base = _model(recipe, prepared, source, tokenizer, coder, table, from_scratch, shared, probed)
    forward = Forward(model, tokenizer.pad_id)
    if not spec.l2_sp:  # its pull moves the words that are not used, too
        forward.train_used_words_only(table)
    task = make_task(coder, table, recipe.head.class_weights)
    runner = StepRunner(forward, task, batch_size=spec.batch_size, max_tokens=MAX_TOKENS)
    runner.pull = pull_of(recipe, model)
    if base is not None:
        beside = Forward(base, tokenizer.pad_id)
        beside.boundary = forward.boundary  # what is cached for one is good for both
        runner.distance = FeatureDistance(beside, spec.kl_to_base)

    learner = runner
    if recipe.head.fit == "closed":
        head_of(model)
        runner.closed = ClosedHead(coder, recipe.head.strength, recipe.head.class_weights)
        if spec.contrastive is not None:
            learner = ContrastiveRunner(runner, spec.contrastive, table)

    def save(folder: Path, extras: dict[str, Any]) -> None:
        known = {
            "max_length": spec.max_length,
            "cut": "start" if spec.truncate == "start" else "end",
            "target_mean": list(coder.mean) or None,
            "target_std": list(coder.std) or None,
        }
        export.save(model, tokenizer, source, folder, extras=known | extras)

    return Parts(
        recipe,
        table,
        model,
        learner,
        None if held_out is None else Validator(learner, held_out, coder, scorer),
        before,
        tokenizer,
        save,
        coder,
        (*_head_identity(recipe), coder.labels, *remedies_identity(spec), *learned.identity),
        start=start_of(model) if keeps_start(recipe) else None,
        gated=runner,
    )


def _head_identity(recipe: Recipe) -> tuple[Any, ...]:
    """What of the head and of the pairs changes the weights; where those are at rest, as before there were any."""
    found = lasting(recipe.head, without=frozenset({"fit", "strength"}))
    if recipe.head.fit != "closed":
        return (found,)
    pairs = recipe.train.contrastive
    return (found, {"strength": recipe.head.strength, "contrastive": None if pairs is None else lasting(pairs)})


def _model(
    recipe: Recipe,
    prepared: Prepared,
    source: BaseSource,
    tokenizer: Tokenizer,
    coder: TargetCoder,
    table: TokenTable,
    from_scratch: bool,
    shared: Shared,
    probed: bool,
) -> tuple[TaskModel, Tensor | None, TaskModel | None]:
    """The model with its method applied, the probe's logits before that, and the base beside it."""
    assert not isinstance(recipe.head.dropout, str) and not isinstance(recipe.train.dropout, str)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options: dict[str, Any] = {
        "several_labels": prepared.several_labels, "pooling": recipe.head.pooling, "dropout": recipe.head.dropout,
        "encoder_dropout": recipe.train.dropout, "seed": recipe.train.seed, "from_scratch": from_scratch,
        "precision": recipe.train.precision,
    }  # fmt: skip
    model = shared.base(
        (source.path, prepared.task, tuple(prepared.labels), *options.values()),
        lambda: build(source, task=prepared.task, labels=prepared.labels, **options).to(device),
    )
    before = None
    if probed and recipe.method.kind in _FRESH:
        model.eval()
        task = make_task(coder, table, "none")
        forward = Forward(model, tokenizer.pad_id, stream=False)
        with torch.no_grad():
            before = forward(probe(table, task.per_token))
    base = base_beside(recipe, prepared.task, model)
    methods.apply(model, recipe.method, recipe.freeze)
    shared.own(model)
    return model.to(device), before, base
