"""Extraction: a BIO tag per token, softmax cross-entropy where a token belongs to the text."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


class Extract:
    """Token classification."""

    per_token = True

    def loss_sum(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """logits [T, C]; targets and weights [T]."""
        return (functional.cross_entropy(logits, targets.long(), reduction="none") * weights).sum()
