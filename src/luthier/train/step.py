"""One optimizer step: sums first, one division, a finite check, then the update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from luthier.core.errors import TrainingError
from luthier.train.collate import Batch
from luthier.train.forward import Forward
from luthier.train.tasks import Task
from luthier.train.trunk_cache import TrunkCache


class StepRunner:
    """Forward and backward of a step's micro-batches."""

    def __init__(self, forward: Forward, task: Task, *, batch_size: int, max_tokens: int) -> None:
        self.forward = forward
        self.task = task
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.cache: TrunkCache | None = None

    def named(self) -> list[tuple[str, Tensor]]:
        """What trains, by name; the used words instead of the whole vocabulary."""
        vocabulary = self.forward.vocabulary
        whole = None if vocabulary is None else vocabulary.embedding.weight
        return [
            (name, vocabulary.parameter if vocabulary is not None and p is whole else p)
            for name, p in self.forward.model.named_parameters()
            if p.requires_grad
        ]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for _, parameter in self.named():
            parameter.grad = None

    def backward(self, batches: Sequence[Batch], seed: int | None = None) -> float:
        """Add the gradients of the step's mean loss; returns that loss (may be non-finite).

        A task's loss is a sum; it is divided once, by the weight of the whole step, so the cut into
        micro-batches does not matter. Random numbers are a function of `seed` and the micro-batch.
        """
        weight = sum(batch.weight_sum for batch in batches)
        if weight <= 0:
            raise TrainingError(
                "a step has no target to learn from.",
                remedy="Remove rows without anything to learn, or raise train.max_length.",
                code="gate_g2",
            )
        total = 0.0
        for index, batch in enumerate(batches):
            if seed is not None:
                torch.manual_seed((seed * 1_000_003 + index) % 2**63)  # more is refused
            cached = None if self.cache is None else self.cache.rows(batch.rows)
            logits = self.forward(batch, cached)
            device = logits.device
            loss = self.task.loss_sum(logits, batch.targets.to(device), batch.weights.to(device)) / weight
            loss.backward()
            total += float(loss.detach())
        return total
