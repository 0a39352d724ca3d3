"""What a run has to do, in numbers: what a forecast is made from."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.packing import plan_epoch
from luthier.data.prepare import Prepared
from luthier.data.tokens import TokenTable
from luthier.models.trainable import trainable_summary
from luthier.train.parts import Parts


def workload_of(parts: Parts, prepared: Prepared) -> dict[str, Any]:
    """Counts of rows, tokens, steps and parameters, as `search.workload.Workload` has them; nothing of the data."""
    recipe, table, forward = parts.recipe, parts.table, parts.runner.forward
    spec = recipe.train
    assert isinstance(spec.batch_size, int) and isinstance(spec.epochs, int)
    trainable, total = trainable_summary(parts.model)
    vocabulary = forward.vocabulary
    learned_words = trainable
    if vocabulary is not None:
        learned_words += vocabulary.parameter.numel() - vocabulary.embedding.weight.numel()
    rows = spec.batch_size * spec.accumulate
    plan = plan_epoch(table.lengths, rows, seed=spec.seed, epoch=0, longest_first=True)
    micro = [parts.runner.cut(step, table.lengths) for step in plan]
    biggest = max((int(table.lengths[part].sum()) for step in micro for part in step), default=0)
    held_out = prepared.test if prepared.test is not None else prepared.validation
    writes = prepared.task in LANGUAGE_TASKS
    return {
        "task": prepared.task,
        "method": recipe.method.kind,
        "train": part_of(table, writes),
        "validation": None if parts.validator is None else part_of(parts.validator.table, writes),
        "held_out_rows": 0 if held_out is None else len(held_out),
        "outputs": 0 if parts.coder is None else len(parts.coder.outputs),
        "rows_per_step": rows,
        "steps_per_epoch": len(plan),
        "batches_per_epoch": sum(len(step) for step in micro),
        "biggest_batch_tokens": biggest,
        "epochs": spec.epochs,
        "patience": spec.patience,
        "boundary": int(forward.boundary),
        "base": shape_of(parts.model.config),
        "cached": bool(spec.cache and forward.boundary >= 1),
        "trainable": trainable,
        "stepped": learned_words,
        "total": total,
    }


def part_of(table: TokenTable, writes: bool) -> dict[str, int]:
    """Rows, tokens, the sum of squared lengths (attention), the longest row, and the places where loss is computed."""
    lengths = table.lengths.astype(np.int64)
    learned = int(np.count_nonzero(table.weights)) if writes else 0
    return {
        "rows": len(table),
        "tokens": int(lengths.sum()),
        "squares": int((lengths * lengths).sum()),
        "longest": int(lengths.max(initial=0)),
        "learned": learned,
    }


def shape_of(config: Any) -> dict[str, Any]:
    """The numbers of a base's configuration that its cost depends on, by their own names."""
    return {name: value for name, value in config.get_text_config().to_dict().items() if name in _SHAPE}


_SHAPE = (
    "hidden_size", "d_model", "n_embd", "dim", "num_hidden_layers", "n_layer", "n_layers", "num_layers",
    "intermediate_size", "n_inner", "hidden_dim", "d_ff", "num_attention_heads", "n_head", "n_heads", "num_heads",
    "num_key_value_heads", "vocab_size", "max_position_embeddings", "n_positions", "hidden_act", "hidden_activation",
)  # fmt: skip
"""As `search.workload.Base.of` reads them."""
