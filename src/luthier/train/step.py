"""One optimizer step: sums first, one division, a finite check, then the update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.core.errors import TrainingError
from luthier.data.packing import plan_epoch, split_step
from luthier.data.tokens import TokenTable
from luthier.train.closed_head import ClosedHead
from luthier.train.collate import Batch
from luthier.train.forward import Forward
from luthier.train.remedies.pull import Pull
from luthier.train.tasks import Task
from luthier.train.trunk_cache import TrunkCache


class StepRunner:
    """Forward and backward of a step's micro-batches.

    Attributes:
        distance: how far the model is from its base, as a part of the loss (`remedies.distance`); None for none.
        pull: adds the gradient of L2-SP (`remedies.pull`); None for none.
        closed: fits the head at the end of each epoch (`closed_head`); None where it learns with the rest.
        penalty: what both added to the loss of the last step, which is told without them.
    """

    def __init__(self, forward: Forward, task: Task, *, batch_size: int, max_tokens: int) -> None:
        self.forward = forward
        self.task = task
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.cache: TrunkCache | None = None
        self.distance: Any = None
        self.pull: Pull | None = None
        self.closed: ClosedHead | None = None
        self.penalty = 0.0

    def named(self) -> list[tuple[str, Tensor]]:
        """What trains, by name; the used words instead of the whole vocabulary."""
        vocabulary = self.forward.vocabulary
        whole = None if vocabulary is None else vocabulary.embedding.weight
        return [
            (name, vocabulary.parameter if vocabulary is not None and p is whole else p)
            for name, p in self.forward.model.named_parameters()
            if p.requires_grad
        ]

    @property
    def only_fits(self) -> bool:
        """Whether there is nothing to take steps for: the head is fitted, and the rest is frozen."""
        return self.closed is not None

    def plan(self, table: TokenTable, rows_per_step: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
        """The rows of every step of an epoch, a pure function of (seed, epoch)."""
        if self.only_fits:
            return []
        return plan_epoch(table.lengths, rows_per_step, seed=seed, epoch=epoch, longest_first=epoch == 0)

    def steps_per_epoch(self, table: TokenTable, rows_per_step: int) -> int:
        """How many steps `plan` holds; an epoch that only fits the head counts as one."""
        return 1 if self.only_fits else math.ceil(len(table) / rows_per_step)

    def cut(self, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """A step's rows as micro-batches that fit into memory."""
        return split_step(rows, lengths, self.batch_size, self.max_tokens)

    def loss_sum(self, batch: Batch, cached: Tensor | None = None) -> Tensor:
        """The weighted sum of the batch's losses, a scalar."""
        return self.sums(batch, cached, penalised=False)[0]

    def sums(self, batch: Batch, cached: Tensor | None, *, penalised: bool) -> tuple[Tensor, Tensor | None]:
        """`loss_sum`, and where it is asked for and there is one the `distance`, by one forward pass."""
        apart = None
        if penalised and self.distance is not None:
            logits, features = self.forward.read(batch, cached)
            apart = self.distance(features, batch, cached)
        else:
            logits = self.forward(batch, cached)
        device = logits.device
        return self.task.loss_sum(logits, batch.targets.to(device), batch.weights.to(device)), apart

    def add_pull(self) -> None:
        """Add the gradient of the pull to that of the step, once."""
        if self.pull is not None:
            self.penalty += self.pull()

    def facts(self) -> dict[str, float]:
        """What else is told of the last step."""
        return {} if self.distance is None and self.pull is None else {"penalty": self.penalty}

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
        total, self.penalty = 0.0, 0.0
        for index, batch in enumerate(batches):
            if seed is not None:
                reseed((seed * 1_000_003 + index) % 2**63)  # more is refused
            cached = None if self.cache is None else self.cache.rows(batch.rows)
            loss_sum, distance = self.sums(batch, cached, penalised=True)
            loss = loss_sum / weight
            total += float(loss.detach())
            if distance is not None:
                self.penalty += float(distance.detach()) / weight
                loss = loss + distance / weight
            loss.backward()
        return total


def reseed(seed: int) -> None:
    """What ``torch.manual_seed`` does to the generators in use, without the millisecond that it spends
    on a record of its caller."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
