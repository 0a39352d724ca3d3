"""The head in one go: logistic regression (regress: ridge regression) on what the encoder gives, written into the head.

The same linear model that steps would slowly approach, found by L-BFGS within a second or so on a small data set
(scikit-learn). Features are standardised for the fit, and the scale is folded into the weights.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.core.errors import RecipeError
from luthier.core.recipe import Recipe
from luthier.data.packing import plan_inference
from luthier.data.tokens import TargetCoder, TokenTable
from luthier.train.collate import collate, flat_index

MOST_ITEMS = 100_000
"""Rows (extract: tokens) that are fitted; of more a random draw, so that memory and time are bounded."""
_MAX_ITERATIONS = 300
_NEVER = -10.0
"""Bias of a label that no row has."""
_ALWAYS = 5.0
"""Bias of a label that every row has."""


class ClosedHead:
    """Fits the head of a model to a table of rows. `strength` is C; ridge regression's penalty is n / (1000 C)."""

    def __init__(self, coder: TargetCoder, strength: float, class_weights: str) -> None:
        self.coder, self.strength = coder, strength
        self.balance = None if class_weights == "none" else class_weights

    def fit(self, runner: Any, table: TokenTable) -> tuple[float, float]:
        """Write the fitted weights into the head of the runner's model; returns (sum of losses, sum of weights) of the
        rows that were fitted."""
        features, targets, weights = self._items(runner, table)
        weight_CD, bias_C = solve(
            self.coder, features, targets, weights, strength=self.strength, class_weight=self.balance
        )
        matrix, bias = head_of(runner.forward.model)
        with torch.no_grad():
            matrix.copy_(torch.from_numpy(weight_CD))
            bias.copy_(torch.from_numpy(bias_C))
            logits = torch.from_numpy(features @ weight_CD.T + bias_C)
            loss = runner.task.loss_sum(logits, torch.from_numpy(targets), torch.from_numpy(weights))
        return float(loss), float(weights.sum(dtype=np.float64))

    @torch.no_grad()
    def _items(self, runner: Any, table: TokenTable) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Features [n, D], targets [n] or [n, C] and weights [n] of rows, for extract of tokens that count."""
        forward, per_token = runner.forward, runner.task.per_token
        if forward.vocabulary is not None:
            forward.vocabulary.publish()
        training = forward.model.training
        forward.model.eval()
        shape = (len(table.ids) if per_token else len(table), int(forward.model.config.hidden_size))
        features = np.zeros(shape, np.float32)
        for rows in plan_inference(table.lengths, 4 * runner.batch_size, runner.max_tokens):
            batch = collate(table, rows, per_token)
            cached = None if runner.cache is None else runner.cache.rows(rows)
            _, vectors = forward.read(batch, cached)
            features[flat_index(table.starts, rows) if per_token else rows] = vectors.float().cpu().numpy()
        forward.model.train(training)
        width = 1 if per_token else int(table.target_starts[1] - table.target_starts[0])
        targets = table.targets if width == 1 and self.coder.task != "regress" else table.targets.reshape(-1, width)
        keep = np.flatnonzero(table.weights > 0)
        if len(keep) > MOST_ITEMS:
            keep = np.sort(np.random.default_rng(0).choice(keep, MOST_ITEMS, replace=False))
        return features[keep], targets[keep], table.weights[keep]


def head_of(model: Any) -> tuple[Tensor, Tensor]:
    """(weight [C, D], bias [C]) of a head that is one linear layer; `RecipeError` for another one."""
    found = sorted(model.head_parameters(), key=lambda parameter: -parameter.ndim)
    if [parameter.ndim for parameter in found] != [2, 1]:
        raise RecipeError(
            "head.fit: closed needs a head of one linear layer, and this base's own has more.",
            remedy="Use head.pooling: mean, or head.fit: steps.",
            code="closed_does_not_fit",
            param="head.fit",
        )
    return found[0], found[1]


def solve(
    coder: TargetCoder, features: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any], *, strength: float,
    class_weight: str | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(weight [C, D], bias [C]) of the linear model on features [n, D] as they are."""
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    # a dimension that varies by rounding only would be noise, scaled up
    spread[spread <= 1e-6 * spread.max(initial=0.0)] = 1.0
    scaled = ((features - mean) / spread).astype(np.float32)
    if coder.task == "regress":
        weight, bias = _ridge(scaled, targets, weights, len(features) / (1000 * strength))
    elif coder.several_labels:
        parts = [_logistic(scaled, targets[:, c], weights, 2, strength, class_weight) for c in range(targets.shape[1])]
        weight = np.stack([part[0][1] - part[0][0] for part in parts])
        bias = np.array([part[1][1] - part[1][0] for part in parts])
    else:
        weight, bias = _logistic(scaled, targets, weights, len(coder.outputs), strength, class_weight)
    folded = weight / spread
    return folded.astype(np.float32), (bias - folded @ mean).astype(np.float32)


def _ridge(scaled: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any], alpha: float) -> tuple[Any, Any]:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=alpha).fit(scaled, targets, sample_weight=weights)
    return model.coef_.reshape(targets.shape[1], -1), np.broadcast_to(model.intercept_, (targets.shape[1],))


def _logistic(
    scaled: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any], classes: int, strength: float,
    class_weight: str | None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits of all `classes`, those that no row has included."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weight, bias = np.zeros((classes, scaled.shape[1])), np.full(classes, _NEVER)
    present = np.unique(targets.astype(np.int64))
    if len(present) < 2:
        bias[present] = _ALWAYS
        return weight, bias
    model = LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS, class_weight=class_weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # close to the optimum is near enough
        model.fit(scaled, targets.astype(np.int64), sample_weight=weights)
    if len(present) == 2:  # scikit-learn gives one logit, of the second class
        weight[present], bias[present] = np.stack([-model.coef_[0], model.coef_[0]]) / 2, [
            -model.intercept_[0] / 2, model.intercept_[0] / 2,
        ]  # fmt: skip
    else:
        weight[present], bias[present] = model.coef_, model.intercept_
    return weight, bias


def check_closed(recipe: Recipe, task: str) -> None:
    """Raise `RecipeError` where a closed fit of the head would leave the rest of the method without a gradient."""
    if recipe.head.fit != "closed" or recipe.method.kind == "head" or recipe.train.contrastive is not None:
        return
    raise RecipeError(
        f"head.fit: closed fits the head alone, and nothing would train what method {recipe.method.kind} puts below.",
        remedy="Use method: head, or train.contrastive: true, or head.fit: steps.",
        code="closed_does_not_fit",
        param="head.fit",
    )
