"""Generative training: a batch of rows is one stream, and loss is computed only where a token counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.data.packing import pack_step
from luthier.data.prefixes import PrefixPlan, plan_prefixes, separate
from luthier.models.causal_layout import CausalLayout
from luthier.models.causal_model import CausalModel
from luthier.models.causal_stream import CausalStream, supports
from luthier.models.linear_cross_entropy import linear_cross_entropy
from luthier.models.trainable import frozen_boundary
from luthier.train.collate import Batch
from luthier.train.step import StepRunner

PAYS = 0.05
"""Share of the tokens that must be saved before common beginnings are computed apart."""


@dataclass(frozen=True, slots=True)
class Stream:
    """S tokens of a batch as the model reads them, and the N places where it is judged.

    `pick` int64 [N] are places in the stream; one place may be picked by several rows that go on
    differently.
    """

    ids_S: Tensor
    layout: CausalLayout
    pick: Tensor
    targets: Tensor
    weights: Tensor
    keep: Tensor
    saved: int


class LanguageForward:
    """From a batch to hidden states, by the fastest way that is exact for this model."""

    vocabulary: Any = None
    cached_per_token = True
    targets_per_token = True

    def __init__(self, model: CausalModel, *, share: bool | str = "auto", stream: bool = True) -> None:
        self.model = model
        self.share = share
        self.boundary = frozen_boundary(model)
        self.encoder = CausalStream(model) if stream and supports(model) else None
        self.device = next(model.parameters()).device

    @property
    def way(self) -> str:
        """stream (hand-derived) or stock."""
        return "stock" if self.encoder is None else "stream"

    def plan(self, batch: Batch) -> Stream:
        """Lay the rows out, common beginnings once where that pays."""
        ids = batch.ids_T.numpy().astype(np.int32)
        lengths = batch.lengths.numpy()
        plan = self._prefixes(ids, lengths)
        judged = np.flatnonzero(batch.weights.numpy() > 0)
        device = self.device
        return Stream(
            torch.from_numpy(ids[plan.keep].astype(np.int64)).to(device),
            CausalLayout.tree(plan.lengths, plan.parents),
            torch.from_numpy(plan.place[judged]).to(device),
            batch.targets[judged].long().to(device),
            batch.weights[judged].to(device),
            torch.from_numpy(plan.keep),
            plan.saved,
        )

    def _prefixes(self, ids: NDArray[np.int32], lengths: NDArray[np.int64]) -> PrefixPlan:
        if self.share is False or self.model.method.kind == "prefix" or len(lengths) == 1:
            return separate(lengths)
        plan = plan_prefixes(ids, lengths)
        return plan if plan.saved > (0 if self.share is True else PAYS * len(ids)) else separate(lengths)

    def hidden(self, stream: Stream, cached: Tensor | None = None) -> Tensor:
        """Final hidden states at the picked places, [N, D]."""
        if self.encoder is not None:
            start = 0 if cached is None else self.boundary
            below = self.encoder.embed(stream.ids_S) if cached is None else cached[stream.keep]
            return self.encoder.run_rows(below, stream.layout, stream.pick, start)
        if cached is None:
            return self.model.hidden(stream.ids_S, stream.layout)[stream.pick]
        below = cached[stream.keep].to(self.device)
        if self.boundary == len(self.model.layers):  # the final norm is below it
            return below[stream.pick]
        return self.model.run_stream(below, stream.layout, self.boundary)[stream.pick]

    def __call__(self, batch: Batch, cached: Tensor | None = None) -> Tensor:
        """Logits at the judged places [N, V]; for the gates, which ask for a few rows."""
        logits: Tensor = self.model.logits(self.hidden(self.plan(batch), cached)).float()
        return logits

    @torch.no_grad()
    def at_boundary(self, batch: Batch) -> Tensor:
        """Hidden states below the lowest trained layer [T, D], float32 on the CPU."""
        ids = batch.ids_T.to(self.device)
        layout = CausalLayout.of(tuple(batch.lengths.tolist()))
        if self.encoder is not None:
            return self.encoder.run(self.encoder.embed(ids), layout, 0, self.boundary)
        return self.model.run_stream(self.model.embed_stream(ids), layout, 0, self.boundary).float().cpu()


class LanguageRunner(StepRunner):
    """Steps of a generative model."""

    forward: Any

    def __init__(self, forward: LanguageForward, *, batch_size: int, max_tokens: int) -> None:
        super().__init__(forward, NextToken(), batch_size=batch_size, max_tokens=max_tokens)  # type: ignore[arg-type]
        self.tokens = self.saved = 0
        self.count_anew()

    def count_anew(self) -> None:
        """What `token_accuracy` and `facts` tell begins here."""
        self._correct = self._judged = 0.0
        self._tokens = self._saved = 0

    def backward(self, batches: Sequence[Batch], seed: int | None = None) -> float:
        """As for every task; what is counted, is counted from here: gates and evaluations are no steps."""
        self.count_anew()
        return super().backward(batches, seed)

    def cut(self, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Best-fit packing: nothing is padded, so only the sum of tokens counts."""
        return pack_step(rows, lengths, self.batch_size, self.max_tokens)

    def sums(self, batch: Batch, cached: Tensor | None, *, penalised: bool) -> tuple[Tensor, Tensor | None]:
        """Cross-entropy in nats, summed with the tokens' weights, and the distance from the base."""
        model: CausalModel = self.forward.model
        stream = self.forward.plan(batch)
        self._tokens += len(batch.ids_T)
        self._saved += stream.saved
        hidden = self.forward.hidden(stream, cached)
        loss, correct = linear_cross_entropy(
            hidden, model.output_weight, model.output_bias, stream.targets, stream.weights, softcap=model.softcap
        )
        self._correct += float(correct)
        self._judged += float(stream.weights.sum())
        apart = None
        if penalised and self.distance is not None:
            apart = self.distance(hidden, stream, cached, model)
        return loss, apart

    @property
    def token_accuracy(self) -> float:
        """Share of the learned tokens that the model finds most likely."""
        return self._correct / max(self._judged, 1e-9)

    def facts(self) -> dict[str, float]:
        """Mean token accuracy of the step that was just made; adds its tokens to those of the run."""
        self.tokens += self._tokens
        self.saved += self._saved
        return {"token_accuracy": self.token_accuracy, **super().facts()}


class NextToken:
    """Targets and weights belong to tokens; the loss is computed with the hidden states, by the runner."""

    per_token = True
