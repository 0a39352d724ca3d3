"""Classification: softmax cross-entropy for one label, sigmoid for several."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional

from luthier.data.tokens import TokenTable


class Classify:
    """`class_weights` [C]: weight of each class (one label), or of its positives (several labels)."""

    per_token = False

    def __init__(self, several_labels: bool, class_weights: Tensor | None = None) -> None:
        self.several_labels = several_labels
        self.class_weights = class_weights

    @staticmethod
    def balance(table: TokenTable, classes: int, several_labels: bool) -> list[float]:
        """N / (C n_c), scikit-learn's "balanced"; with several labels negatives / positives of each."""
        if several_labels:
            positives = table.targets.reshape(len(table), classes).sum(0)
            return [float((len(table) - n) / max(n, 1.0)) for n in positives]
        counts = np.bincount(table.targets.astype(np.int64), minlength=classes)
        return [float(len(table) / (classes * max(n, 1))) for n in counts]

    def loss_sum(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits [B, C]; targets [B] class indices or [B, C] of 0 and 1; weights [B].

        With several labels a row's loss is the mean over its C decisions. Class weights are scaled
        to mean 1 over the data ("balanced"), so dividing by the rows keeps the size of the loss.
        """
        balance = None if self.class_weights is None else self.class_weights.to(logits.device)
        if self.several_labels:
            losses = functional.binary_cross_entropy_with_logits(
                logits, targets.view_as(logits), reduction="none", pos_weight=balance
            ).mean(1)
        else:
            losses = functional.cross_entropy(logits, targets.long(), weight=balance, reduction="none")
        return (losses * weights).sum()
