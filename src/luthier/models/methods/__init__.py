"""Methods: which parameters train, and where new ones are put. One file each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from luthier.core.errors import RecipeError
from luthier.core.recipe import FreezeSpec, Method
from luthier.models.methods import adapter, bitfit, full, head, ia3, lora, prefix
from luthier.models.task_model import TaskModel

REGISTRY: dict[str, Callable[[TaskModel, Any, range], None]] = {
    "full": full.apply,
    "lora": lora.apply,
    "adapter": adapter.apply,
    "head": head.apply,
    "bitfit": bitfit.apply,
    "ia3": ia3.apply,
    "prefix": prefix.apply,
}


def apply(model: TaskModel, method: Method, freeze: FreezeSpec | None = None) -> None:
    """Make `model` train as `method` says, with the bottom frozen as `freeze` says; once per model.

    The head always trains (a generative base has one only with method head). Layers below
    `freeze.layers` hold no new parameters either. New parameters are drawn from the model's own
    seed. Raises `RecipeError` when the method does not fit the model or leaves nothing to train.
    """
    freeze = freeze or FreezeSpec()
    count = len(model.layers)
    if freeze.layers > count:
        raise RecipeError(
            f"freeze.layers is {freeze.layers}, and this base has {count} layers.",
            remedy=f"Set it to {count} or less.",
            param="freeze.layers",
        )
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.seed + 1)
        REGISTRY[method.kind](model, method, range(freeze.layers, count))
    model.method = method
    model.freeze = freeze
    if freeze.embeddings or freeze.layers:  # what lies below a frozen layer is frozen too
        for module in model.embedding_modules():
            module.requires_grad_(False)
    for index in range(freeze.layers):
        for module in model.block_modules(index):
            module.requires_grad_(False)
    for parameter in model.head_parameters():
        parameter.requires_grad_(True)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(
            "nothing is left to train: freeze.layers freezes everything that this method trains.",
            remedy="Freeze fewer layers, or use method: head, which trains the output matrix.",
            param="freeze.layers",
        )
