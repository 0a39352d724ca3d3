"""Held-out loss of a generative model, streamed: memory does not grow with the rows."""

from __future__ import annotations

import numpy as np
import torch

from luthier.data.packing import plan_inference
from luthier.data.tokens import TokenTable
from luthier.train.collate import collate
from luthier.train.language_step import LanguageRunner
from luthier.train.trunk_cache import TrunkCache
from luthier.train.validate import Judgement


class LanguageValidator:
    """Mean loss per weighted token; it is the metric as well, because lower is better on any text."""

    metric_name = "loss"
    higher_is_better = False

    def __init__(self, runner: LanguageRunner, table: TokenTable) -> None:
        self.runner = runner
        self.table = table
        self.cache: TrunkCache | None = None

    @torch.no_grad()
    def judge(self) -> Judgement:
        """Loss in nats, in evaluation mode, in a fixed order."""
        runner, table = self.runner, self.table
        model = runner.forward.model
        training = model.training
        model.eval()
        runner.count_anew()
        loss, weight = 0.0, 0.0
        for rows in plan_inference(table.lengths, 4 * runner.batch_size, runner.max_tokens):
            batch = collate(table, rows, per_token=True)
            loss += float(runner.loss_sum(batch, None if self.cache is None else self.cache.rows(rows)))
            weight += batch.weight_sum
        model.train(training)
        mean = loss / max(weight, 1e-9)
        return Judgement(mean, mean, runner.token_accuracy)


def trained_share(table: TokenTable) -> float:
    """Share of the tokens that carry weight."""
    return float(np.count_nonzero(table.weights) / max(1, len(table.weights)))
