"""Several models over one base in memory: what stays frozen is there once, however many train beside it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn

from luthier.models.task_model import TaskModel

M = TypeVar("M", bound=TaskModel)


def twin(model: M) -> M:
    """`model` with modules and parameters of its own that read the same memory, before a method was applied.

    Modules may be replaced in the twin and parameters frozen or freed; memory is shared until `own_trained` was
    called, which must come before the first step. No family has buffers that change.
    """
    known: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
        for parameter in model.parameters()
    }
    known |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, known)


def own_trained(model: nn.Module) -> None:
    """Give every parameter that trains memory of its own, so that no twin sees its steps."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.clone()


class Weights:
    """The tensors that train in one model, apart from it: several trials take turns in the same modules."""

    def __init__(self, model: nn.Module, tensors: Sequence[Tensor] | None = None) -> None:
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._tensors = [parameter.data for parameter in self._parameters] if tensors is None else list(tensors)
        self._model = model

    def copy(self) -> Weights:
        """The same values in other memory."""
        return Weights(self._model, [tensor.clone() for tensor in self._tensors])

    def install(self) -> None:
        """Make the model compute with these and train them, without a copy; gradients of others are forgotten."""
        for parameter, tensor in zip(self._parameters, self._tensors, strict=True):
            parameter.data = tensor
            parameter.grad = None
