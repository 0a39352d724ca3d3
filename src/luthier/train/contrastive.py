"""Few-shot contrastive training of the encoder, after SetFit (Tunstall et al. 2022).

SetFit draws pairs of rows, embeds both and moves their cosine similarity to 1 where the labels are the same and to 0
where they differ, by squared error, as many pairs of the one kind as of the other. Here every row of a step is embedded
once and all pairs of the step are learned: the mean over the pairs of one label and the mean over those of two weigh
the same, so that a step of 32 rows holds 496 pairs for the price of 16. The head has no part in it: it is fitted at the
end of each epoch on what the encoder then gives (`closed_head`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from luthier.core.errors import RecipeError
from luthier.core.recipe import ContrastiveSpec, Recipe
from luthier.data.packing import split_step
from luthier.data.tokens import TokenTable
from luthier.train.collate import Batch
from luthier.train.step import StepRunner, reseed

ROWS_PER_STEP = 32
"""What `train.batch_size: auto` means here: pairs grow with its square."""


def cosine_loss(vectors_BD: Tensor, labels_B: Tensor) -> Tensor:
    """The squared distance of the cosine similarity of all pairs from 1 (same label) or 0, a scalar.

    Pairs of one label and pairs of two weigh one half each; where there is only one kind it is the whole. For a set
    of pairs of one kind this is sentence-transformers' CosineSimilarityLoss.
    """
    unit = functional.normalize(vectors_BD.float(), dim=1)
    above = torch.triu(torch.ones(len(unit), len(unit), dtype=torch.bool, device=unit.device), diagonal=1)
    same = (labels_B.unsqueeze(1) == labels_B.unsqueeze(0))[above]
    likeness = (unit @ unit.T)[above]
    kinds = [(1 - likeness[same]).square(), likeness[~same].square()]
    present = [kind.mean() for kind in kinds if len(kind)]
    return torch.stack(present).mean() if present else likeness.sum()


def plan_pairs(
    labels: NDArray[np.int64], lengths: NDArray[np.int64], rows_per_step: int, spec: ContrastiveSpec, *, seed: int,
    epoch: int,
) -> list[NDArray[np.int64]]:
    """Row indices of every step of one epoch: each row once in each of its passes, beside rows of its label.

    A pure function of (seed, epoch), like `packing.plan_epoch`; the first epoch begins with the longest step.
    """
    steps: list[NDArray[np.int64]] = []
    for number in range(epoch * spec.passes, (epoch + 1) * spec.passes):
        generator = np.random.Generator(np.random.PCG64([seed, number, 1]))
        order = generator.permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]
        ends = np.flatnonzero(np.diff(labels[order])) + 1
        groups = [
            part[begin : begin + spec.rows_per_label]
            for part in np.split(order, ends)
            for begin in range(0, len(part), spec.rows_per_label)
        ]
        shuffled = np.concatenate([groups[index] for index in generator.permutation(len(groups))])
        steps += np.array_split(shuffled, steps_of(len(labels), rows_per_step))
    if epoch == 0:
        longest = max(range(len(steps)), key=lambda index: int(lengths[steps[index]].sum()))
        steps.insert(0, steps.pop(longest))
    return steps


def steps_of(rows: int, rows_per_step: int) -> int:
    """Steps of one pass; each holds two rows or more, as one alone is no pair."""
    return max(1, min(-(-rows // rows_per_step), rows // 2))


class ContrastiveRunner(StepRunner):
    """Steps that move the encoder by `cosine_loss`. Micro-batches of a step are compared each for itself."""

    def __init__(self, plain: StepRunner, spec: ContrastiveSpec, table: TokenTable) -> None:
        super().__init__(plain.forward, plain.task, batch_size=plain.batch_size, max_tokens=plain.max_tokens)
        self.distance, self.pull, self.closed = plain.distance, plain.pull, plain.closed
        self.spec, self.labels = spec, table.targets.astype(np.int64)

    @property
    def only_fits(self) -> bool:
        """Never: the encoder takes steps."""
        return False

    def plan(self, table: TokenTable, rows_per_step: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
        """The steps of one epoch."""
        return plan_pairs(self.labels, table.lengths, rows_per_step, self.spec, seed=seed, epoch=epoch)

    def steps_per_epoch(self, table: TokenTable, rows_per_step: int) -> int:
        """All passes of an epoch."""
        return self.spec.passes * steps_of(len(table), rows_per_step)

    def cut(self, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """As few micro-batches as fit into memory; a step is a little more than a batch where rows are left over."""
        return split_step(rows, lengths, self.batch_size + 1, self.max_tokens)

    def backward(self, batches: Sequence[Batch], seed: int | None = None) -> float:
        """Add the gradients of the step's pairs; returns their loss, weighted by the rows of each micro-batch."""
        weight = sum(batch.weight_sum for batch in batches)
        total, self.penalty = 0.0, 0.0
        for index, batch in enumerate(batches):
            if seed is not None:
                reseed((seed * 1_000_003 + index) % 2**63)
            cached = None if self.cache is None else self.cache.rows(batch.rows)
            _, vectors = self.forward.read(batch, cached)
            loss = cosine_loss(vectors, batch.targets.to(vectors.device)) * (batch.weight_sum / weight)
            total += float(loss.detach())
            if self.distance is not None:
                apart = self.distance(vectors, batch, cached) / weight
                self.penalty += float(apart.detach())
                loss = loss + apart
            loss.backward()
        return total


def check_contrastive(recipe: Recipe, task: str, several_labels: bool) -> None:
    """Raise `RecipeError` where pairs cannot teach what is asked for."""
    if recipe.train.contrastive is None:
        return
    why = ""
    if task != "classify" or several_labels:
        why = "it needs rows with one label each, which say what is alike"
    elif recipe.method.kind == "head":
        why = "it trains the encoder, and method head does not"
    elif recipe.head.fit == "steps":
        why = "its head is fitted at the end of each epoch, and head.fit is steps"
    if why:
        raise RecipeError(
            f"train.contrastive does not fit here: {why}.",
            remedy="Leave it out, or use it for classify with another method and head.fit: auto.",
            code="contrastive_does_not_fit",
            param="train.contrastive",
        )
