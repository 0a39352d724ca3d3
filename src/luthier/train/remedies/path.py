"""The straight way from the base to the tuned model, in weights (WiSE-FT, Wortsman et al. 2022).

Adapters lie on it by their scale: the half of LoRA or of a bottleneck that begins at 0 is scaled, and with it the whole
update. A new head has no place at the base's end and stays as it was tuned.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from luthier.core.errors import RecipeError
from luthier.core.recipe import Recipe
from luthier.models.causal_model import CausalModel
from luthier.models.task_model import TaskModel
from luthier.models.trainable import load_trainable_state, trainable_state

_KEPT = (".lora_A.", ".lora_embedding_A.", ".adapter.down.")
"""Halves that begin anywhere: scaling them too would scale the update twice."""


def start_of(model: TaskModel) -> dict[str, Tensor]:
    """A copy of what trains, as it is now."""
    return {name: tensor.clone() for name, tensor in trainable_state(model).items()}


def has_path(model: TaskModel) -> bool:
    """Whether there is a model between base and tuned: a prefix has no such start."""
    return bool(model.method.kind != "prefix")


def along(
    model: TaskModel, start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """The trained tensors at `share` of the way: 0 is the base (under the tuned head), 1 is `tuned`, exactly."""
    new = set() if isinstance(model, CausalModel) else {id(parameter) for parameter in model.head_parameters()}
    head = {name for name, parameter in model.named_parameters() if id(parameter) in new}
    return {
        name: tensor
        if share == 1.0 or name in head or any(part in f".{name}" for part in _KEPT)
        else torch.lerp(start[name].to(tensor.device), tensor, share)
        for name, tensor in tuned.items()
    }


def check_average(recipe: Recipe) -> None:
    """Raise `RecipeError` where `train.average` is asked of a model that has no way to its base."""
    if recipe.train.average < 1.0 and recipe.method.kind == "prefix":
        raise RecipeError(
            "train.average mixes base and tuned weights, and a prefix has no weights at the base's end.",
            remedy="Leave it out, or use method lora or full.",
            code="remedy_does_not_fit",
            param="train.average",
        )


def average(model: TaskModel, start: Mapping[str, Tensor], share: float) -> None:
    """Leave the model at `share` of its way, in place."""
    tuned = {name: tensor.clone() for name, tensor in trainable_state(model).items()}
    load_trainable_state(model, along(model, start, tuned, share))
