"""The frozen base beside the model that learns: how far answers (or features) have moved, as a part of the loss.

Learning without Forgetting (Li and Hoiem 2016) on the rows of the batch: for what writes the KL divergence of the next
token's distribution, for encoders the squared distance of the vectors that the head reads.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from luthier.core.errors import RecipeError
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.models.task_model import TaskModel
from luthier.train.collate import Batch
from luthier.train.remedies.kl import linear_kl


def base_beside(recipe: Recipe, task: str, model: TaskModel) -> TaskModel | None:
    """A frozen copy of `model`, which no method has changed yet; None where the recipe asks for no distance.

    Raises `RecipeError` (`remedy_does_not_fit`) where the distance could only be 0.
    """
    if not recipe.train.kl_to_base:
        return None
    if recipe.method.kind == "head" and task not in LANGUAGE_TASKS:
        raise RecipeError(
            "train.kl_to_base holds the features near the base's, and method head does not move them.",
            remedy="Leave it out: a base under a new head forgets nothing.",
            code="remedy_does_not_fit",
            param="train.kl_to_base",
        )
    return copy.deepcopy(model).requires_grad_(False).eval()


class FeatureDistance:
    """`strength` times the squared distance of features, summed over a batch's weighted rows (extract: tokens)."""

    def __init__(self, forward: Any, strength: float) -> None:
        self._forward, self.strength = forward, strength

    def __call__(self, features: Tensor, batch: Batch, cached: Tensor | None) -> Tensor:
        """`features` [B, D] (extract [T, D]) of the model that learns; `cached` as for that."""
        with torch.no_grad():
            _, base = self._forward.read(batch, cached)
        weights = batch.weights.to(features.device)
        apart: Tensor = ((features - base).float().square().sum(-1) * weights).sum()
        return self.strength * apart


class AnswerDistance:
    """`strength` times KL(base || tuned), summed over a batch's weighted tokens."""

    def __init__(self, forward: Any, strength: float) -> None:
        self._forward, self.strength = forward, strength

    def __call__(self, hidden_ND: Tensor, stream: Any, cached: Tensor | None, model: Any) -> Tensor:
        """`hidden_ND` of `model` at the judged places of `stream`."""
        base = self._forward.model
        with torch.no_grad():
            base_ND = self._forward.hidden(stream, cached)

            def logits(here: slice) -> Tensor:
                found: Tensor = base.logits(base_ND[here])
                return found

        return self.strength * linear_kl(
            hidden_ND, model.output_weight, model.output_bias, logits, stream.weights, softcap=model.softcap
        )
