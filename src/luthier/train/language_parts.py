"""The parts of a generative run: a causal model, one renderer, rows of weighted tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from luthier.core.errors import RecipeError
from luthier.core.events import Event
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.data.language_cache import cached_language_table
from luthier.data.language_table import encode_language, language_lengths
from luthier.data.prepare import Prepared, View
from luthier.data.samples import Sample
from luthier.data.sources import open_bytes
from luthier.data.templates.renderer import ChatRenderer, Renderer, renderer_for
from luthier.data.templates.text_renderer import TextRenderer
from luthier.data.tokens import TokenTable, fingerprint
from luthier.models import methods
from luthier.models.base_source import BaseSource
from luthier.models.build_causal import build_causal
from luthier.models.causal_model import CausalModel
from luthier.models.chat_tokenizer import HuggingChatTokenizer, load_chat_tokenizer
from luthier.models.export_causal import save_causal
from luthier.models.language_predictor import LanguageModel
from luthier.train.journal import Journal
from luthier.train.language_defaults import resolve
from luthier.train.language_gates import end_gate, packing_gate, template_gate
from luthier.train.language_samples import Sampler, questions
from luthier.train.language_step import LanguageForward, LanguageRunner
from luthier.train.language_validate import LanguageValidator, trained_share
from luthier.train.parts import Parts
from luthier.train.preflight import Preflight, probe
from luthier.train.remedies.distance import AnswerDistance, base_beside
from luthier.train.remedies.path import start_of
from luthier.train.remedies.pull import pull_of
from luthier.train.remedies.replay import Mixed
from luthier.train.remedies.settings import check_remedies, keeps_start, remedies_identity
from luthier.train.settle import settle
from luthier.train.shared import Shared, shared_rows
from luthier.train.trunk_cache import cache_folder

MAX_TOKENS = 8_192
"""Tokens of one micro-batch; nothing is padded."""
_FRESH = ("lora", "adapter", "ia3")
_LOOKED_AT = 64
"""Rows that the gates of the template read."""


def assemble(
    recipe: Recipe,
    run: RunDir,
    prepared: Prepared,
    source: BaseSource,
    listener: Journal,
    from_scratch: bool,
    shared: Shared,
    *,
    probed: bool,
    lean: bool,
) -> Parts:
    """Renderer, tokens, model and validator of a recipe; without `probed` there is no `Parts.before`. With `lean`, a
    trial's, they may be those of another trial, and no answers are written at evaluations."""
    tokenizer = shared.once(("tokenizer", source.path), lambda: load_chat_tokenizer(source.path))
    template = None
    if recipe.data.template is not None:
        with open_bytes(recipe.data.template) as handle:
            template = handle.read().decode("utf-8")
    recipe, gaps = _fill_middle(recipe, prepared, tokenizer)
    assert not isinstance(recipe.data.fill_middle, str)
    rate, seed = recipe.data.fill_middle, recipe.train.seed
    renderer = shared.once(
        ("renderer", tokenizer, prepared.task, template, recipe.data.learn, rate, seed),
        lambda: renderer_for(prepared.task, tokenizer, template, recipe.data.learn, fim_rate=rate, seed=seed),
    )
    config: Any = shared.once(
        ("config", source.path),
        lambda: AutoConfig.from_pretrained(source.path, local_files_only=True, trust_remote_code=False),
    )
    check_remedies(recipe, prepared.task)
    learned = shared_rows(recipe, prepared, source.name, shared)
    lengths = shared.once(
        ("rows", learned, renderer.fingerprint, "lengths"), lambda: language_lengths(learned, renderer)
    )
    text_config = config.get_text_config()
    resolved, reasons = resolve(
        recipe, task=prepared.task, lengths=lengths, source=source, hidden_size=text_config.hidden_size,
        context=tokenizer.max_length,
    )  # fmt: skip
    warnings = settle(resolved, reasons | gaps, run, prepared, source, listener, shared)

    def build_parts() -> Parts:
        return _build(resolved, prepared, source, tokenizer, renderer, learned, from_scratch, shared, probed)

    key = (prepared.train, from_scratch)
    parts = shared.parts(resolved, key, build_parts, probed=probed) if lean else build_parts()
    listener(Event("message", _seen(parts.table, parts.notes)))
    if not lean:
        assert isinstance(parts.model, CausalModel)
        parts.on_evaluation = _sampler(resolved, run, prepared, parts.model, tokenizer, renderer, listener)
    return replace(parts, recipe=resolved, warnings=warnings)


def _build(
    recipe: Recipe,
    prepared: Prepared,
    source: BaseSource,
    tokenizer: HuggingChatTokenizer,
    renderer: ChatRenderer | TextRenderer,
    learned: Mixed,
    from_scratch: bool,
    shared: Shared,
    probed: bool,
) -> Parts:
    """Everything that does not depend on how the weights move."""
    spec = recipe.train
    assert isinstance(spec.max_length, int) and isinstance(spec.batch_size, int)
    torch.manual_seed(spec.seed)
    table = _table(prepared, "train", learned, renderer, recipe, shared)
    held_out = None
    if prepared.validation is not None and len(prepared.validation):
        held_out = _table(prepared, "validation", prepared.validation, renderer, recipe, shared)
    model, before, base = _model(recipe, prepared.task, source, table, from_scratch, shared, probed)
    forward = LanguageForward(model, share=spec.shared_prefix)
    runner = LanguageRunner(forward, batch_size=spec.batch_size, max_tokens=MAX_TOKENS)
    runner.pull = pull_of(recipe, model)
    if base is not None:
        beside = LanguageForward(base, share=spec.shared_prefix)
        beside.boundary = forward.boundary  # what is cached for one is good for both
        runner.distance = AnswerDistance(beside, spec.kl_to_base)
    notes: dict[str, Any] = {"trained_tokens_share": trained_share(table), "way": forward.way}

    def gates(preflight: Preflight) -> None:
        rows = list(islice(iter(prepared.train), _LOOKED_AT))
        preflight.report(end_gate(renderer, rows))
        preflight.report(template_gate(renderer, rows))
        preflight.report(packing_gate(runner, table))

    def save(folder: Path, extras: dict[str, Any]) -> None:
        known = {"max_length": spec.max_length, "learn": recipe.data.learn}
        carried = tokenizer.with_template(renderer.template.source) if isinstance(renderer, ChatRenderer) else tokenizer
        save_causal(model, carried, source, folder, extras=known | extras)

    return Parts(
        recipe,
        table,
        model,
        runner,
        None if held_out is None else LanguageValidator(runner, held_out),
        before,
        tokenizer,
        save,
        None,
        (renderer.fingerprint, *remedies_identity(spec), *learned.identity),
        gates,
        start=start_of(model) if keeps_start(recipe) else None,
        notes=notes,
    )


def _fill_middle(
    recipe: Recipe, prepared: Prepared, tokenizer: HuggingChatTokenizer
) -> tuple[Recipe, dict[str, str]]:
    """`data.fill_middle` settled, and its reason where it was `auto`."""
    able = prepared.task == "complete" and TextRenderer(tokenizer).fim is not None
    rate = recipe.data.fill_middle
    if rate == "auto":
        code = prepared.train.dataset.is_code
        chosen = 0.5 if able and code else 0.0
        why = "a folder of source code" if code else "this is no folder of source code"
        why += "" if able else "; the tokenizer has no marks for gaps"
        return recipe.replace(**{"data.fill_middle": chosen}), {"data.fill_middle": f"auto: {why}"}
    if rate and not able:
        raise RecipeError(
            f"data.fill_middle is {rate:g}, and this base's tokenizer has no marks for gaps (or the task is chat).",
            remedy="Leave it out, or choose a base for code.",
            param="data.fill_middle",
        )
    return recipe, {}


def _seen(table: TokenTable, notes: dict[str, Any]) -> str:
    return (
        f"{len(table.ids):,} tokens in {len(table):,} rows, {notes['trained_tokens_share']:.0%} of them learned; "
        f"computed as a {notes['way']} without padding."
    )


def _table(
    prepared: Prepared, part: str, view: View | Mixed, renderer: Renderer, recipe: Recipe, shared: Shared
) -> TokenTable:
    """Rows of tokens, from the cache where these very ones were made before."""
    spec = recipe.train
    assert isinstance(spec.max_length, int)
    length: int = spec.max_length

    def make() -> TokenTable:
        return encode_language(view, renderer, max_length=length, truncate=spec.truncate)

    key = (
        part, prepared.description["sha256"], prepared.description.get(part), renderer.fingerprint, length,
        spec.truncate, recipe.data.model_dump(), spec.seed, prepared.description.get("canaries"),
        *(view.identity if isinstance(view, Mixed) else ()),
    )  # fmt: skip
    return shared.once(
        ("table", fingerprint(*key)), lambda: cached_language_table(key, make, cache_folder().parent / "tokens")
    )


def _model(
    recipe: Recipe,
    task: str,
    source: BaseSource,
    table: TokenTable,
    from_scratch: bool,
    shared: Shared,
    probed: bool,
) -> tuple[CausalModel, Tensor | None, Any]:
    """The model with its method applied, the probe's logits before that, and the base beside it."""
    spec = recipe.train
    assert not isinstance(spec.dropout, str)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options: dict[str, Any] = {
        "seed": spec.seed, "from_scratch": from_scratch, "precision": spec.precision, "dropout": spec.dropout,
        "gradient_checkpointing": spec.gradient_checkpointing,
    }  # fmt: skip
    model = shared.base(
        (source.path, task, *options.values()), lambda: build_causal(source, task=task, **options).to(device)
    )
    before = None
    if probed and recipe.method.kind in _FRESH:
        model.eval()
        with torch.no_grad():
            before = LanguageForward(model, share=False, stream=False)(probe(table, per_token=True))
    base = base_beside(recipe, task, model)
    methods.apply(model, recipe.method, recipe.freeze)
    shared.own(model)
    return model.to(device), before, base


def _sampler(
    recipe: Recipe,
    run: RunDir,
    prepared: Prepared,
    model: CausalModel,
    tokenizer: HuggingChatTokenizer,
    renderer: ChatRenderer | TextRenderer,
    listener: Journal,
) -> Callable[[int], None]:
    """Answers to fixed questions at each evaluation: seeing the model change says more than a curve."""
    spec = recipe.evaluate
    view: Sequence[Sample] | View = prepared.validation if prepared.validation is not None else prepared.train
    asked = questions(view, spec.samples)
    if not asked:
        return lambda step: None
    writer = LanguageModel(model, tokenizer, renderer, {"task": prepared.task})
    return Sampler(run, writer, asked, spec.max_tokens, listener)
