"""One optimizer step: sums first, one division, a finite check, then the update."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.core.errors import TrainingError
from luthier.data.packing import split_step
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

    def cut(self, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """A step's rows as micro-batches that fit into memory."""
        return split_step(rows, lengths, self.batch_size, self.max_tokens)

    def loss_sum(self, batch: Batch, cached: Tensor | None = None) -> Tensor:
        """The weighted sum of the batch's losses, a scalar."""
        logits = self.forward(batch, cached)
        device = logits.device
        return self.task.loss_sum(logits, batch.targets.to(device), batch.weights.to(device))

    def facts(self) -> dict[str, float]:
        """What else is told of the last step."""
        return {}

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
                _reseed((seed * 1_000_003 + index) % 2**63)  # more is refused
            cached = None if self.cache is None else self.cache.rows(batch.rows)
            loss = self.loss_sum(batch, cached) / weight
            loss.backward()
            total += float(loss.detach())
        return total


def _reseed(seed: int) -> None:
    """What ``torch.manual_seed`` does to the generators in use, without the millisecond that it spends
    on a record of its caller."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
