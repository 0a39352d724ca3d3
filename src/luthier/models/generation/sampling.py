"""From logits to the next token, each row of a batch with its own settings and its own random numbers.

Shapes: B rows, V vocabulary. Scores are float32; -inf marks a token that cannot be chosen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from luthier.core.errors import UsageError
from luthier.core.generation import Sampling

_LIMITS: dict[str, tuple[float, float]] = {
    "max_tokens": (1, math.inf),
    "temperature": (0, math.inf),
    "top_p": (0, 1),
    "top_k": (0, math.inf),
    "min_p": (0, 1),
    "repetition_penalty": (0, math.inf),
    "presence_penalty": (-math.inf, math.inf),
    "frequency_penalty": (-math.inf, math.inf),
    "logprobs": (0, 100),
}
_OPEN_BELOW = ("top_p", "repetition_penalty")
"""These may come near their lower limit but not be it."""


def check_sampling(sampling: Sampling) -> None:
    """Raise a `UsageError` that names the first setting out of its range."""
    for name, (low, high) in _LIMITS.items():
        value = getattr(sampling, name)
        if value is None:
            continue
        inside = low < value <= high if name in _OPEN_BELOW else low <= value <= high
        if not (inside and math.isfinite(value)):
            above = "above" if name in _OPEN_BELOW else "at least"
            limits = [f"{above} {low:g}"] * (low > -math.inf) + [f"at most {high:g}"] * (high < math.inf)
            raise UsageError(
                f"{name} is {value}, and must be {' and '.join(limits) or 'a finite number'}.",
                remedy=f"The default is {getattr(Sampling(), name)}.",
                code="invalid_sampling",
                param=name,
            )
    if any(not text for text in sampling.stop):
        raise UsageError(
            "an empty stop text would end every answer before it begins.",
            remedy="Leave it out.",
            code="invalid_sampling",
            param="stop",
        )


class RowSampler:
    """What one request needs to choose its tokens.

    Its random numbers are its own, one per token, so that an answer depends on prompt, settings and
    seed, not on who else is in the batch.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self.sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        self._seen = set(prompt) if sampling.repetition_penalty != 1 else set()
        self._counts: Counter[int] = Counter()

    @property
    def penalises(self) -> bool:
        """Whether `penalise` changes anything."""
        sampling = self.sampling
        return sampling.repetition_penalty != 1 or bool(sampling.presence_penalty or sampling.frequency_penalty)

    def draw(self) -> float:
        """The next random number, uniform in [0, 1), of 24 bits."""
        return float(torch.rand((), generator=self._generator))

    def accept(self, token: int) -> None:
        """Remember a generated token for the penalties."""
        if self.sampling.repetition_penalty != 1:
            self._seen.add(token)
        self._counts[token] += 1

    def penalise(self, scores_V: Tensor) -> Tensor:
        """Scores with repetition (prompt and answer), presence and frequency penalties (answer)."""
        sampling = self.sampling
        if self._seen:
            ids = torch.tensor(sorted(self._seen), device=scores_V.device)
            found = scores_V[ids]
            scaled = torch.where(found < 0, found * sampling.repetition_penalty, found / sampling.repetition_penalty)
            scores_V = scores_V.index_copy(0, ids, scaled)
        if self._counts and (sampling.presence_penalty or sampling.frequency_penalty):
            ids = torch.tensor(list(self._counts), device=scores_V.device)
            times = torch.tensor(list(self._counts.values()), dtype=scores_V.dtype, device=scores_V.device)
            loss = sampling.presence_penalty + sampling.frequency_penalty * times
            scores_V = scores_V.index_add(0, ids, -loss)
        return scores_V


def choose(logits_BV: Tensor, rows: Sequence[RowSampler]) -> list[int]:
    """One token per row: the likeliest at temperature 0, else drawn."""
    scores = logits_BV
    if any(row.penalises for row in rows):
        scores = torch.stack([row.penalise(logits) for row, logits in zip(rows, logits_BV, strict=True)])
    tokens: list[int] = scores.argmax(dim=-1).tolist()
    drawn = [index for index, row in enumerate(rows) if row.sampling.temperature > 0]
    if drawn:
        kept = filter_scores(scores[drawn], [rows[index].sampling for index in drawn])
        numbers = torch.tensor([rows[index].draw() for index in drawn], dtype=torch.float64)
        for index, token in zip(drawn, invert(kept, numbers.to(kept.device)), strict=True):
            tokens[index] = token
    return tokens


def filter_scores(scores_BV: Tensor, rows: Sequence[Sampling]) -> Tensor:
    """Scores after temperature, top-k, top-p and min-p, in this order (that of transformers)."""
    scores = scores_BV / scores_BV.new_tensor([row.temperature for row in rows]).unsqueeze(1)
    if any(row.top_k for row in rows):
        scores = keep_top_k(scores, torch.tensor([row.top_k for row in rows], device=scores.device))
    if any(row.top_p < 1 for row in rows):
        scores = keep_top_p(scores, scores.new_tensor([row.top_p for row in rows]))
    if any(row.min_p for row in rows):
        scores = keep_min_p(scores, scores.new_tensor([row.min_p for row in rows]))
    return scores


def keep_top_k(scores_BV: Tensor, k_B: Tensor) -> Tensor:
    """The k best of each row (and what ties with the last of them); k = 0 keeps all."""
    k = k_B.clamp(max=scores_BV.shape[1])
    best = scores_BV.topk(int(k.max()), dim=-1).values
    worst_kept = best.gather(1, (k - 1).clamp(min=0).unsqueeze(1))
    return scores_BV.masked_fill((scores_BV < worst_kept) & (k > 0).unsqueeze(1), -math.inf)


def keep_top_p(scores_BV: Tensor, p_B: Tensor) -> Tensor:
    """The smallest set of likeliest tokens with p or more of the probability (Holtzman et al. 2020)."""
    ordered, places = scores_BV.sort(dim=-1)
    below = ordered.softmax(dim=-1).cumsum(dim=-1)
    out = (below <= 1 - p_B.unsqueeze(1)) & (p_B < 1).unsqueeze(1)
    out[:, -1] = False
    return scores_BV.masked_fill(out.scatter(1, places, out), -math.inf)


def keep_min_p(scores_BV: Tensor, min_p_B: Tensor) -> Tensor:
    """Tokens at least min_p times as likely as the likeliest (Nguyen et al. 2024)."""
    probabilities = scores_BV.softmax(dim=-1)
    limit = min_p_B.unsqueeze(1) * probabilities.amax(dim=-1, keepdim=True)
    return scores_BV.masked_fill(probabilities < limit, -math.inf)


def invert(scores_BV: Tensor, numbers_B: Tensor) -> list[int]:
    """Where each number in [0, 1) falls in its row's cumulative distribution; never a token at -inf."""
    cumulative = scores_BV.double().softmax(dim=-1).cumsum(dim=-1)
    targets = (numbers_B * cumulative[:, -1]).unsqueeze(1)
    tokens: list[int] = torch.searchsorted(cumulative, targets, right=True).squeeze(1).tolist()
    return tokens
