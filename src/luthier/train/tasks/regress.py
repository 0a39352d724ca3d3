"""Regression: squared error on standardised targets."""

from __future__ import annotations

from torch import Tensor


class Regress:
    """A linear head with one output per target."""

    per_token = False

    def loss_sum(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits and targets [B, C]; a row's loss is the mean over its targets."""
        return ((logits - targets.view_as(logits)).square().mean(1) * weights).sum()
