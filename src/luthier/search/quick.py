"""A forecast at once: from a recipe, the lengths of its rows, the base's config.json and the ledger. No torch, model or
tokenizer: for a server's process, and wherever a probe would take too long.

    found = quick(recipe, task="classify", lengths=tokens_of_bytes(row_bytes, "classify"), config=config,
                  labels=3, entries=ledger.recent(), machine=machine_key())
    found.to_dict()
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.core import run_defaults
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.search.forecast import Forecast, assemble
from luthier.search.ledger import Entry
from luthier.search.stages import Judging
from luthier.search.workload import Base, Rows, Workload

BYTES_PER_TOKEN = {False: 4.6, True: 3.2}
"""Of English text, by an encoder's tokenizer and by that of a small model that writes; other languages need more."""
_EXTRA = {False: 2, True: 12}
"""Tokens of a row besides its text: marks of beginning and end, and of the turns of a conversation."""
_ANSWER_SHARE = 0.4
"""Of a row's tokens, what a model that writes learns; where nothing better is known."""
_MICRO_TOKENS = {False: 16_384, True: 8_192}


def tokens_of_bytes(sizes: Iterable[int], task: str) -> list[int]:
    """About how many tokens rows of so many bytes of text have."""
    writes = task in LANGUAGE_TASKS
    return [max(1, round(size / BYTES_PER_TOKEN[writes]) + _EXTRA[writes]) for size in sizes]


def quick(
    recipe: Recipe,
    *,
    task: str,
    lengths: Sequence[int],
    config: Mapping[str, Any],
    labels: int = 2,
    entries: Sequence[Entry] = (),
    machine: str = "",
    model: str | None = None,
    validation: Sequence[int] | None = None,
    test_rows: int | None = None,
    answer_tokens: float | None = None,
    parameters: int | None = None,
) -> Forecast:
    """A forecast of `recipe` with `task` known.

    Args:
        lengths: tokens of each row of data.train, uncut; of those that a share of it holds back, too.
        config: the base's config.json. labels: classes, numbers or tags of the target.
        entries, machine: `search.ledger.recent()`, and `search.machine.machine_key()` of where it will run.
        validation: tokens of each row of a validation file; None: the recipe's share of `lengths`.
        test_rows: rows of data.test; None: there is none.
        answer_tokens: of an answer to be learned, on average (chat, complete).
        parameters: of the base, where they are known exactly.
    """
    base = Base.of(config)
    work = workload_of(
        recipe, task, lengths, base, labels=labels, validation=validation, test_rows=test_rows,
        answer_tokens=answer_tokens, parameters=parameters,
    )  # fmt: skip
    judging = _judging(recipe, task, work)
    return assemble(work, base, judging, model=model or recipe.model, machine=machine, entries=entries)


def workload_of(
    recipe: Recipe,
    task: str,
    lengths: Sequence[int],
    base: Base,
    *,
    labels: int = 2,
    validation: Sequence[int] | None = None,
    test_rows: int | None = None,
    answer_tokens: float | None = None,
    parameters: int | None = None,
) -> Workload:
    """What the run will have to do, nearly as the run itself will count it."""
    writes, spec, kind = task in LANGUAGE_TASKS, recipe.train, recipe.method.kind
    most = spec.max_length if isinstance(spec.max_length, int) else base.positions
    rows = [min(int(length), most) for length in lengths]
    held = _share(len(rows), recipe.data.validation) if validation is None else 0
    learned_rows = max(1, round((len(rows) - held) * recipe.data.share))
    mean = sum(rows) / max(1, len(rows))
    share = min(1.0, answer_tokens / mean) if answer_tokens and mean else _ANSWER_SHARE
    every = Rows.of(rows, share if writes else 0.0)
    train = every.part(learned_rows)
    judged = every.part(held)
    if validation is not None:
        judged = Rows.of((min(int(length), most) for length in validation), share * writes)
    batch = spec.batch_size
    if not isinstance(batch, int):
        batch = run_defaults.batch_size(learned_rows, writes=writes)
    per_step = batch * spec.accumulate
    steps = math.ceil(learned_rows / per_step)
    epochs = spec.epochs if isinstance(spec.epochs, int) else run_defaults.epochs(kind, steps, writes=writes)
    biggest = sum(sorted(rows, reverse=True)[:batch])
    outputs = 0 if writes else (2 * labels + 1 if task == "extract" else max(1, labels))
    boundary = _boundary(recipe, base, writes)
    total = parameters or base.parameters
    trainable = _trainable(recipe, base, boundary, outputs, total)
    words = base.vocabulary * base.hidden
    used = min(base.vocabulary, round(9.0 * max(1, train.tokens) ** 0.55))
    stepped = trainable
    if kind == "full" and not writes and boundary < 0:
        stepped = trainable - words + used * base.hidden
    return Workload(
        task=task,
        method=kind,
        train=train,
        validation=judged if judged.rows else None,
        held_out_rows=test_rows if test_rows is not None else judged.rows,
        outputs=outputs,
        rows_per_step=per_step,
        steps_per_epoch=steps,
        batches_per_epoch=steps * spec.accumulate,
        biggest_batch_tokens=min(biggest, max(_MICRO_TOKENS[writes], max(rows, default=1))),
        epochs=epochs,
        patience=spec.patience,
        boundary=boundary,
        cached=bool(spec.cache and boundary >= 1),
        trainable=trainable,
        stepped=stepped,
        total=total + (trainable if kind not in ("full", "head", "bitfit") else base.hidden * outputs),
    )


def _judging(recipe: Recipe, task: str, work: Workload) -> Judging:
    spec, writes = recipe.evaluate, task in LANGUAGE_TASKS
    default = ["base"] if writes else ["majority", "tfidf", "frozen"]
    mean = work.train.learned / max(1, work.train.rows)
    return Judging(
        baselines=tuple(default if isinstance(spec.baselines, str) else spec.baselines),
        bootstrap=spec.bootstrap,
        samples=spec.samples if writes else 0,
        generate_rows=spec.generate_rows if writes else 0,
        max_tokens=spec.max_tokens,
        memorisation=spec.memorisation if writes else 0,
        forgetting=bool(spec.forgetting),
        answer_tokens=min(mean, spec.max_tokens),
        longest_answer=min(1.6 * mean, spec.max_tokens),
    )


def _share(rows: int, validation: Any) -> int:
    return round(rows * validation) if isinstance(validation, int | float) else 0


def _boundary(recipe: Recipe, base: Base, writes: bool) -> int:
    """Bottom layers below which nothing trains, as `models.trainable.frozen_boundary` finds them."""
    kind, frozen = recipe.method.kind, recipe.freeze.layers
    if kind == "head" and not writes:
        return base.layers
    if kind == "head":
        return base.layers
    if kind == "prefix":
        return -1
    if kind in ("full", "bitfit") and not frozen and not recipe.freeze.embeddings:
        return -1
    return min(frozen, base.layers)


def _trainable(recipe: Recipe, base: Base, boundary: int, outputs: int, total: int) -> int:
    """Parameters that train, nearly."""
    method, width, wide = recipe.method, base.hidden, base.intermediate
    layers = base.layers - max(0, boundary)
    head = width * outputs + outputs
    if method.kind == "full":
        below = 0 if boundary < 0 else total - base.layers * base.layer_parameters
        return total - below - max(0, boundary) * base.layer_parameters + head
    if method.kind == "lora":
        narrow = width * base.kv_heads // base.heads
        sides = 2 * (width + width) + 2 * (width + narrow) + (3 if base.gated else 2) * (width + wide)
        return layers * method.rank * sides + head
    if method.kind == "adapter":
        return layers * (2 if method.style == "houlsby" else 1) * (2 * width + 1) * method.bottleneck + head
    if method.kind == "prefix":
        return base.layers * 2 * width * method.tokens + head
    if method.kind == "ia3":
        return layers * (2 * width + wide) + head
    if method.kind == "bitfit":
        return layers * (9 * width + wide) + head
    return head
