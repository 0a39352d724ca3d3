"""Every `auto` becomes a value, from data, method and model, with its reason."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from luthier.core import run_defaults
from luthier.core.errors import RecipeError
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.text import TextEncoder
from luthier.models.base_source import BaseSource
from luthier.models.build import choose_pooling
from luthier.train.choices import Choices, check_max_length
from luthier.train.contrastive import ROWS_PER_STEP

# Peak rates that reach the best validation score untouched on the data sets of docs/log.md.
_RATES = {
    "full": 1e-4, "lora": 1e-3, "adapter": 1e-3, "bitfit": 1e-3, "ia3": 5e-3, "prefix": 5e-3, "head": 5e-3,
}  # fmt: skip
_WIDTH = 384
HEAD_RATE = 2e-3


def default_model(task: str) -> str:
    """The embedded base that `model: auto` means."""
    return "luthier-nano" if task in LANGUAGE_TASKS else "minilm"


def plan_steps(recipe: Recipe, rows: int, *, closed: bool = False) -> tuple[int, int, int]:
    """(rows of a batch, steps of an epoch, epochs) where nobody chose them; a batch that was chosen counts.

    Args:
        rows: training rows. closed: whether the head is fitted in one go.
    """
    kind, spec = recipe.method.kind, recipe.train
    size = ROWS_PER_STEP if spec.contrastive is not None else run_defaults.batch_size(rows, writes=False)
    batch = size if spec.batch_size == "auto" else spec.batch_size
    steps = math.ceil(rows / (batch * spec.accumulate))
    if spec.contrastive is not None:
        steps *= spec.contrastive.passes
    epochs = run_defaults.epochs(kind, steps, writes=False)
    return size, steps, 1 if closed and kind == "head" else epochs


def resolve(
    recipe: Recipe,
    *,
    task: str,
    lengths: NDArray[np.int64],
    source: BaseSource,
    hidden_size: int,
    encoder: TextEncoder,
    reserved_positions: int = 0,
) -> tuple[Recipe, dict[str, str]]:
    """(the recipe without `auto`, reasons by dotted key). `lengths` are tokens per training row."""
    kind = recipe.method.kind
    rows = len(lengths)
    choose = Choices(recipe)
    choose("task", recipe.task, task, "recognised from the columns")
    spec = recipe.train
    pairs = spec.contrastive
    fit, why = ("steps", "the head learns with the rest") if pairs is None else ("closed", "pairs teach the encoder")
    closed = choose("head.fit", recipe.head.fit, fit, why) == "closed"
    size, steps, epochs = plan_steps(recipe, rows, closed=closed)
    why = "a step learns all pairs of its rows" if pairs is not None else f"{rows:,} training rows"
    choose("train.batch_size", spec.batch_size, size, why)
    choose("train.epochs", spec.epochs, epochs, f"{steps:,} steps per epoch; patience stops earlier")
    rate = float(f"{_RATES[kind] * math.sqrt(_WIDTH / hidden_size):.1e}") if kind == "full" else _RATES[kind]
    why = {
        "full": f"full fine-tuning of a base of width {hidden_size}",
        "lora": "adapters take about ten times the rate of full fine-tuning (LoRA Without Regret)",
        "head": "only a linear head learns",
    }.get(kind, f"few parameters learn ({kind})")
    rate = choose("train.learning_rate", spec.learning_rate, rate, why)
    choose(
        "train.head_learning_rate",
        spec.head_learning_rate,
        max(rate, HEAD_RATE),
        "the head is new and starts from zero knowledge, so it may move faster than the base",
    )
    limit = encoder.max_length - reserved_positions
    longest = int(lengths.max())
    check_max_length(recipe, limit, source.name)
    length = min(limit, max(16, math.ceil(longest * 1.1 / 8) * 8))
    over = f"; {int((lengths > limit).sum())} rows are longer than the base can read" if longest > limit else ""
    choose("train.max_length", spec.max_length, length, f"the longest row has {longest} tokens{over}")
    choose.precision()
    choose("train.dropout", spec.dropout, 0.0, "short fine-tuning is regularised by stopping early (docs/log.md)")
    choose("train.truncate", spec.truncate, "end", "the beginning of a text says most")
    if spec.truncate == "split":
        raise RecipeError(
            "train.truncate: split is for plain text to be continued; a labelled text cannot be split.",
            remedy="Use end, start or drop.",
            param="train.truncate",
        )
    choose("data.fill_middle", recipe.data.fill_middle, 0.0, "only source code has gaps to fill")
    choose("train.shared_prefix", spec.shared_prefix, False, "only generative tasks share beginnings")
    choose("evaluate.baselines", recipe.evaluate.baselines, ["majority", "tfidf", "frozen"], "what a model must beat")
    pooling = choose_pooling(source, task)
    fits = "a sentence encoder, which was trained with it" if pooling != "stock" else "the architecture's own head"
    if closed and pooling == "stock" and task != "extract":
        pooling, fits = "mean", "a closed fit needs a head of one linear layer"
    choose("head.pooling", recipe.head.pooling, pooling, fits)
    choose("head.dropout", recipe.head.dropout, 0.1, "the usual value for a classification head")
    return choose.settled()
