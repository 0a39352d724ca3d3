"""AdamW, the schedule of its rate, and the refusal of non-finite steps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from luthier.core.recipe import TrainSpec
from luthier.models.groups import parameter_groups
from luthier.models.task_model import TaskModel
from luthier.train.vocabulary import UsedVocabulary


def rate_factor(step: int, total_steps: int, warmup: float, schedule: str) -> float:
    """Share of the peak rate for optimizer step `step` (from 0): linear warm-up, then `schedule`.

    cosine and linear fall to 0 just after the last step.
    """
    warm = math.ceil(warmup * total_steps)
    if step < warm:
        return (step + 1) / warm
    if schedule == "constant":
        return 1.0
    progress = (step - warm) / max(1, total_steps - warm)
    return 0.5 * (1 + math.cos(math.pi * progress)) if schedule == "cosine" else 1.0 - progress


class Optimizer:
    """Fused AdamW over the parameters that train (Loshchilov and Hutter 2019), with clipping.

    `names` gives every parameter a stable name for checkpoints.
    """

    def __init__(self, model: TaskModel, spec: TrainSpec, vocabulary: UsedVocabulary | None) -> None:
        assert not isinstance(spec.learning_rate, str) and not isinstance(spec.head_learning_rate, str)
        groups = parameter_groups(
            model,
            learning_rate=spec.learning_rate * spec.learning_rate_multiplier,
            weight_decay=spec.weight_decay,
            layer_decay=spec.layer_decay,
            head_multiplier=spec.head_learning_rate / spec.learning_rate,
        )
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        if vocabulary is not None:
            whole = vocabulary.embedding.weight
            names[id(vocabulary.parameter)] = names[id(whole)]
            for group in groups:
                group["params"] = [vocabulary.parameter if p is whole else p for p in group["params"]]
        self.vocabulary = vocabulary
        groups = _joined(groups)
        self.peaks = [group["lr"] for group in groups]
        self.max_grad_norm = spec.max_grad_norm
        # betas and eps as in BERT's own fine-tuning (Devlin et al. 2019)
        self.adam = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.parameters: list[Tensor] = [p for group in self.adam.param_groups for p in group["params"]]
        self.names = [names[id(parameter)] for parameter in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        self.adam.zero_grad(set_to_none=True)

    def step(self, factor: float) -> float:
        """Clip, then update at `factor` of the peak rates; returns the gradient norm before clipping.

        A norm that is not finite is returned and nothing is updated.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            return norm
        # The update divides by this as it reads the gradients (the hook of torch.amp's GradScaler): one
        # pass over all of them less than scaling first.
        scale = max(1.0, (norm + 1e-6) / self.max_grad_norm)
        self.adam.grad_scale = None if scale == 1.0 else torch.full((), scale, device=gradients[0].device)  # type: ignore[attr-defined]
        for group, peak in zip(self.adam.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
            if self.vocabulary is not None and any(p is self.vocabulary.parameter for p in group["params"]):
                self.vocabulary.decay(group["lr"], group["weight_decay"])
        self.adam.step()
        return norm

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts by parameter name."""
        found: dict[str, Tensor] = {}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            for key, value in self.adam.state.get(parameter, {}).items():
                found[f"{key}/{name}"] = value
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put `state` back; parameters without an entry have not been stepped yet."""
        by_name: dict[str, dict[str, Any]] = {}
        for key, value in state.items():
            kind, _, name = key.partition("/")
            by_name.setdefault(name, {})[kind] = value.clone()
        self.adam.state.clear()
        for name, parameter in zip(self.names, self.parameters, strict=True):
            if name in by_name:
                self.adam.state[parameter] = {
                    kind: value if kind == "step" else value.to(parameter.device)
                    for kind, value in by_name[name].items()
                }


def _joined(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of like settings as one: each group is a call, and without layer decay there are four, not
    sixteen."""
    found: dict[tuple[float, float], dict[str, Any]] = {}
    for group in groups:
        key = (group["lr"], group["weight_decay"])
        if key in found:
            found[key]["params"] += group["params"]
        else:
            found[key] = {"params": list(group["params"]), "lr": key[0], "weight_decay": key[1]}
    return list(found.values())
