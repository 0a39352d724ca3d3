"""Judge the validation rows: loss and one streaming metric, logits never gathered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.core.predictor import Prediction, Scorer
from luthier.data.packing import plan_inference
from luthier.data.tokens import TargetCoder, TokenTable
from luthier.models.decode import decode
from luthier.train.collate import collate
from luthier.train.step import StepRunner
from luthier.train.trunk_cache import TrunkCache


@dataclass(frozen=True, slots=True)
class Judgement:
    """`loss` is the mean over targets; `value` the scorer's; `accuracy` of tokens, where tokens are predicted."""

    loss: float
    value: float
    accuracy: float | None = None


class Judge(Protocol):
    """Judges the model as it is now on held-out rows."""

    table: TokenTable
    cache: TrunkCache | None

    @property
    def metric_name(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    def judge(self) -> Judgement: ...


class Validator:
    """Runs a table through the model as it is now."""

    def __init__(self, runner: StepRunner, table: TokenTable, coder: TargetCoder, scorer: Scorer) -> None:
        self.runner = runner
        self.table = table
        self.coder = coder
        self.scorer = scorer
        self.cache: TrunkCache | None = None

    @property
    def metric_name(self) -> str:
        """The scorer's."""
        return self.scorer.name

    @property
    def higher_is_better(self) -> bool:
        """The scorer's."""
        return self.scorer.higher_is_better

    @torch.no_grad()
    def judge(self) -> Judgement:
        """Loss and metric, in evaluation mode, in a fixed order."""
        runner, table = self.runner, self.table
        vocabulary = runner.forward.vocabulary
        if vocabulary is not None:
            vocabulary.publish()
        training = runner.forward.model.training
        runner.forward.model.eval()
        self.scorer.reset()
        loss, weight = 0.0, 0.0
        for chosen in plan_inference(table.lengths, 4 * runner.batch_size, runner.max_tokens):
            batch = collate(table, chosen, runner.task.per_token)
            logits = runner.forward(batch, None if self.cache is None else self.cache.rows(chosen))
            targets, weights = batch.targets.to(logits.device), batch.weights.to(logits.device)
            loss += float(runner.task.loss_sum(logits, targets, weights))
            weight += batch.weight_sum
            references = [table.references[row] for row in chosen]
            self.scorer.update(self._predictions(logits.cpu().numpy(), chosen), references)
        runner.forward.model.train(training)
        return Judgement(loss / max(weight, 1e-9), float(self.scorer.value()))

    @torch.no_grad()
    def logits(self) -> NDArray[np.float32]:
        """Logits of all rows in the table's order, [N, C]; for fitting a temperature."""
        runner, table = self.runner, self.table
        runner.forward.model.eval()
        found = np.zeros((len(table), len(self.coder.outputs)), np.float32)
        for chosen in plan_inference(table.lengths, 4 * runner.batch_size, runner.max_tokens):
            batch = collate(table, chosen, runner.task.per_token)
            cached = None if self.cache is None else self.cache.rows(chosen)
            found[chosen] = runner.forward(batch, cached).float().cpu().numpy()
        return found

    def _predictions(self, logits: NDArray[np.float32], rows: NDArray[np.int64]) -> list[Prediction]:
        coder, table = self.coder, self.table
        if coder.task == "extract":
            ends = np.cumsum(table.lengths[rows])[:-1]
            return decode(
                "extract", np.split(logits, ends), coder.labels,
                texts=[table.texts[row] for row in rows], encoded=[table.encoded[row] for row in rows],
            )  # fmt: skip
        return decode(
            coder.task, logits, coder.labels, several_labels=coder.several_labels,
            target_mean=coder.mean or None, target_std=coder.std or None,
        )  # fmt: skip
