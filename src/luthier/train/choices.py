"""How every `auto` of a recipe becomes a value with a reason, whatever the task."""

from __future__ import annotations

from typing import Any

import torch

from luthier.core.errors import RecipeError
from luthier.core.recipe import Recipe


class Choices:
    """What was chosen for one recipe, and why."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._changes: dict[str, Any] = {}
        self._reasons: dict[str, str] = {}

    def __call__(self, key: str, current: Any, value: Any, reason: str) -> Any:
        """`value` where the recipe says `auto` (and note it), else what the recipe says."""
        if current != "auto":
            return current
        self._changes[key], self._reasons[key] = value, f"auto: {reason}"
        return value

    def precision(self) -> None:
        """bf16 on a GPU that has it, else fp32."""
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        reason = "a GPU with bf16" if bf16 else "a CPU: fp32"
        self("train.precision", self._recipe.train.precision, "bf16" if bf16 else "fp32", reason)

    def settled(self) -> tuple[Recipe, dict[str, str]]:
        """(the recipe without `auto`, reasons by dotted key)."""
        return self._recipe.replace(**self._changes), self._reasons


def check_max_length(recipe: Recipe, limit: int, base: str) -> None:
    """Raise `RecipeError` where `train.max_length` is more than the base reads."""
    length = recipe.train.max_length
    if isinstance(length, int) and length > limit:
        raise RecipeError(
            f"train.max_length is {length}, and {base} reads at most {limit} tokens.",
            remedy=f"Set it to {limit} or less.",
            param="train.max_length",
        )


def refuse_pairs(recipe: Recipe, task: str) -> None:
    """Raise `RecipeError` where a task without a head is asked to fit one, or to learn from pairs of labels."""
    for key, asked in (("train.contrastive", recipe.train.contrastive), ("head.fit", recipe.head.fit == "closed")):
        if asked:
            raise RecipeError(
                f"{key} is for models with a new head, and {task} trains a model that writes.",
                remedy="Leave it out.",
                code="no_new_head",
                param=key,
            )
