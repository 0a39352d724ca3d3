"""Optimizer parameter groups: layer-wise learning-rate decay (ULMFiT, Howard and Ruder 2018;
ELECTRA, Clark et al. 2020), and no weight decay where it only hurts."""

from __future__ import annotations

from typing import Any

from torch import nn

from luthier.models.task_model import TaskModel


def parameter_groups(
    model: TaskModel,
    *,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    head_multiplier: float = 1.0,
) -> list[dict[str, Any]]:
    """Groups {name, params, lr, weight_decay} of the parameters that train, the top first.

    With n blocks: the head learns at learning_rate x head_multiplier, block i (from 0) at
    learning_rate x layer_decay^(n - i), the embeddings at learning_rate x layer_decay^(n + 1).
    Biases, norms and other vectors get no weight decay; nor do IA3's scales, whose rest is 1.
    """
    count = len(model.layers)
    rates: dict[int, tuple[str, float]] = {
        id(parameter): ("head", learning_rate * head_multiplier) for parameter in model.head_parameters()
    }
    for index in range(count):
        for module in model.block_modules(index):
            _mark(rates, module, f"layer {index}", learning_rate * layer_decay ** (count - index))
    for module in model.embedding_modules():
        _mark(rates, module, "embeddings", learning_rate * layer_decay ** (count + 1))
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part, rate = rates.get(id(parameter), ("prefix", learning_rate))
        decays = parameter.ndim > 1 and "ia3_l" not in name.split(".")
        group = groups.setdefault(
            (part, decays),
            {
                "name": part if decays else f"{part}, no decay",
                "params": [],
                "lr": rate,
                "weight_decay": weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    return sorted(groups.values(), key=lambda group: -group["lr"])


def _mark(rates: dict[int, tuple[str, float]], module: nn.Module, part: str, rate: float) -> None:
    for parameter in module.parameters():
        rates.setdefault(id(parameter), (part, rate))
