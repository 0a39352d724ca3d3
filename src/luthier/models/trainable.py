"""What trains: counts, the frozen boundary, and the tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from luthier.core.errors import ModelError
from luthier.models.task_model import TaskModel


def trainable_summary(model: TaskModel) -> tuple[int, int]:
    """(parameters that train, all parameters); the untrained copies that PEFT keeps do not count."""
    counted = [parameter for name, parameter in model.named_parameters() if "original_module" not in name.split(".")]
    return sum(p.numel() for p in counted if p.requires_grad), sum(p.numel() for p in counted)


def frozen_boundary(model: TaskModel) -> int:
    """How many bottom blocks nothing trains in or below.

    -1: the embeddings (or tables that all blocks share, or a prefix) train, so nothing below is
    fixed. k in 0..n: the embeddings and the first k of n blocks are frozen, so
    ``run_blocks(embed(x), mask, 0, k)`` never changes; with k = n ``encode(x)`` never changes.
    """
    if model.method.kind == "prefix" or any(
        parameter.requires_grad for module in model.embedding_modules() for parameter in module.parameters()
    ):
        return -1
    for index in range(len(model.layers)):
        if any(p.requires_grad for module in model.block_modules(index) for p in module.parameters()):
            return index
    return len(model.layers)


def trainable_state(model: TaskModel) -> dict[str, Tensor]:
    """The tensors that train, by name, detached but not copied. (No family has buffers that change.)"""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def load_trainable_state(model: TaskModel, state: Mapping[str, Tensor]) -> None:
    """Put `state` back, in place; names and shapes must be exactly those of the model."""
    own = trainable_state(model)
    wrong = sorted(set(own) ^ set(state)) or sorted(name for name in own if own[name].shape != state[name].shape)
    if wrong:
        raise ModelError(
            f"the saved tensors are not those of this model ({len(wrong)} differ, the first is {wrong[0]}).",
            remedy="Load it with the recipe that it was trained with.",
            code="state_does_not_fit",
        )
    for name, tensor in own.items():
        tensor.copy_(state[name])
