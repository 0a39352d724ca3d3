"""Tasks: the loss of each, and the names of what the other rooms do for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from luthier.data.tokens import TargetCoder, TokenTable
from luthier.train.tasks.classify import Classify
from luthier.train.tasks.extract import Extract
from luthier.train.tasks.regress import Regress


class Task(Protocol):
    """How wrong an answer is. Shapes: B rows, C outputs, T tokens."""

    per_token: bool
    """Whether targets and weights belong to tokens (else to rows)."""

    def loss_sum(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The weighted *sum* of losses (a scalar); the step divides once by the sum of all weights."""
        ...


def make_task(coder: TargetCoder, table: TokenTable, class_weights: str) -> Task:
    """The task's object; `class_weights` balanced counts the classes of the training table."""
    if coder.task == "regress":
        return Regress()
    if coder.task == "extract":
        return Extract()
    balance: Sequence[float] | None = None
    if class_weights == "balanced":
        balance = Classify.balance(table, len(coder.labels), coder.several_labels)
    return Classify(coder.several_labels, None if balance is None else torch.tensor(balance))
