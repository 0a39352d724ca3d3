"""A second model over the tensors of the first: what stays frozen is there once, however many train beside it."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

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
