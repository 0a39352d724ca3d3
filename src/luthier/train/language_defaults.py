"""Every `auto` of a generative run becomes a value, with its reason."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from luthier.core import run_defaults
from luthier.core.errors import RecipeError
from luthier.core.recipe import Recipe
from luthier.models.base_source import BaseSource
from luthier.train.choices import Choices, check_max_length, refuse_pairs

_WIDTH = 512
_FULL_RATE = 3e-4
"""Of full fine-tuning at width 512; it falls with the square root of the width."""
_TIMES = {"full": 1.0, "lora": 10.0, "adapter": 5.0, "bitfit": 10.0, "ia3": 20.0, "prefix": 20.0, "head": 3.0}


def plan_steps(recipe: Recipe, rows: int) -> tuple[int, int, int]:
    """(rows of a batch, steps of an epoch, epochs) where nobody chose them; a batch that was chosen counts."""
    spec, size = recipe.train, run_defaults.batch_size(rows, writes=True)
    batch = size if spec.batch_size == "auto" else spec.batch_size
    steps = math.ceil(rows / (batch * spec.accumulate))
    return size, steps, run_defaults.epochs(recipe.method.kind, steps, writes=True)


def resolve(
    recipe: Recipe, *, task: str, lengths: NDArray[np.int64], source: BaseSource, hidden_size: int, context: int
) -> tuple[Recipe, dict[str, str]]:
    """(the recipe without `auto`, reasons by dotted key). `lengths` are tokens per row, uncut.

    LoRA's rate is about ten times that of full fine-tuning, and its best batch is not larger ("LoRA
    Without Regret", Schulman et al. 2025).
    """
    kind, rows, spec = recipe.method.kind, len(lengths), recipe.train
    refuse_pairs(recipe, task)
    choose = Choices(recipe)
    choose("task", recipe.task, task, "recognised from the columns")
    size, steps, epochs = plan_steps(recipe, rows)
    choose("train.batch_size", spec.batch_size, size, f"{rows:,} training rows")
    choose("train.epochs", spec.epochs, epochs, f"{steps:,} steps per epoch; patience stops earlier")
    rate = float(f"{_FULL_RATE * _TIMES[kind] * math.sqrt(_WIDTH / hidden_size):.1e}")
    times = _TIMES[kind]
    why = f"a base of width {hidden_size}" if times == 1 else f"{times:g} times that of full fine-tuning"
    rate = choose("train.learning_rate", spec.learning_rate, rate, f"{why} ({kind})")
    choose("train.head_learning_rate", spec.head_learning_rate, rate, "there is no new head")
    longest = int(lengths.max())
    check_max_length(recipe, context, source.name)
    enough = min(context, max(16, longest))
    limit = choose("train.max_length", spec.max_length, enough, f"the longest row has {longest} tokens")
    over = int((lengths > limit).sum())
    policy, reason = ("split", "plain text goes on in the next piece") if task == "complete" else (
        "drop", "half an answer would be learned as a whole one")  # fmt: skip
    cut = choose("train.truncate", spec.truncate, policy, f"{reason}; {over} of {rows} rows are longer than {limit}")
    if cut == "split" and task == "chat":
        raise RecipeError(
            "train.truncate: split is for plain text; a conversation cannot be split.",
            remedy="Use drop, or start (keeps the end, with its last answers).",
            param="train.truncate",
        )
    choose.precision()
    choose("train.dropout", spec.dropout, 0.0, "generative bases are trained without")
    choose("train.shared_prefix", spec.shared_prefix, kind != "prefix", "used in the steps where it saves 5 % or more")
    choose("head.pooling", recipe.head.pooling, "stock", "the base's own output layer")
    choose("head.fit", recipe.head.fit, "steps", "there is no new head")
    choose("head.dropout", recipe.head.dropout, 0.0, "there is no new head")
    choose("evaluate.baselines", recipe.evaluate.baselines, ["base"], "the model before tuning")
    return choose.settled()
