"""From a batch to logits, by the fastest way that is exact for this model.

stream: unpadded, hand-derived backward (`models.stream`). padded: the stock model. cached: either,
starting at the lowest layer that trains (`train.trunk_cache`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from luthier.data.tokens import TokenTable
from luthier.models.stream import StreamEncoder, supports
from luthier.models.stream_attention import StreamLayout
from luthier.models.task_model import TaskModel
from luthier.models.trainable import frozen_boundary
from luthier.train.collate import Batch
from luthier.train.vocabulary import UsedVocabulary


class Forward:
    """Runs a model on batches; logits are [B, C], for extract [T, C] without padding."""

    def __init__(self, model: TaskModel, pad_id: int, *, stream: bool = True) -> None:
        self.model = model
        self.pad_id = pad_id
        self.boundary = frozen_boundary(model)
        self.encoder = StreamEncoder(model) if stream and supports(model) else None
        self.device = next(model.parameters()).device
        self.vocabulary: UsedVocabulary | None = None

    @property
    def way(self) -> str:
        """stream or padded."""
        return "padded" if self.encoder is None else "stream"

    def train_used_words_only(self, table: TokenTable) -> None:
        """Replace the word embedding by its used rows, where that is exact."""
        if self.encoder is None:
            return
        embedding: Any = self.model.embeddings
        if embedding.word_embeddings.weight.requires_grad:
            self.vocabulary = UsedVocabulary(embedding.word_embeddings, table)

    def __call__(self, batch: Batch, cached: Tensor | None = None) -> Tensor:
        """Logits; `cached` is what `at_boundary` gave for these rows."""
        return self.read(batch, cached)[0]

    def read(self, batch: Batch, cached: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits, and the vectors that the head read: [B, D], for extract [T, D]."""
        if self.encoder is not None:
            return self._stream(batch, cached, self.encoder)
        return self._padded(batch, cached)

    def _stream(self, batch: Batch, cached: Tensor | None, encoder: StreamEncoder) -> tuple[Tensor, Tensor]:
        layers = len(encoder.layers)
        layout = StreamLayout.of(batch.lengths) if cached is None or self.boundary < layers else None
        if layout is None:
            assert cached is not None
            pooled = cached
        elif cached is None:
            words = None
            if self.vocabulary is not None and torch.is_grad_enabled():
                words = self.vocabulary.words(batch.ids_T)
            pooled = encoder.run_pooled(encoder.embed(batch.ids_T, batch.types_T, layout, words), layout)
        else:
            pooled = encoder.run_pooled(cached, layout, self.boundary)
        if self.model.task == "extract" and pooled.dim() == 2:
            pooled = pooled.unsqueeze(0)
        logits = self.model.classify(pooled)
        return (logits[0], pooled[0]) if self.model.task == "extract" else (logits, pooled)

    def _padded(self, batch: Batch, cached: Tensor | None) -> tuple[Tensor, Tensor]:
        model, layers = self.model, len(self.model.layers)
        extract = model.task == "extract"
        ids, mask, types = (part.to(self.device) for part in batch.padded(self.pad_id))
        if cached is not None and self.boundary == layers:
            cached = cached.to(self.device)
            logits = model.classify(cached.unsqueeze(0) if extract else cached)
            return (logits[0] if extract else logits), cached
        if cached is not None:
            grid = torch.zeros((*mask.shape, cached.shape[-1]), device=self.device)
            grid[mask.bool()] = cached.to(self.device)
            hidden = model.run_blocks(grid, mask, self.boundary)
        else:
            hidden = model.encode(ids, mask, types)
        pooled = model.pool(hidden, mask)
        logits = model.classify(pooled)
        return (logits[mask.bool()], pooled[mask.bool()]) if extract else (logits, pooled)

    @torch.no_grad()
    def at_boundary(self, batch: Batch) -> Tensor:
        """What never changes: pooled vectors [B, D] when only the head trains (extract: [T, D]),
        else the hidden states below the lowest trained layer [T, D]; float32 on the CPU."""
        model, whole = self.model, self.boundary == len(self.model.layers)
        if self.encoder is not None:
            layout = StreamLayout.of(batch.lengths)
            hidden = self.encoder.embed(batch.ids_T, batch.types_T, layout)
            if whole:
                pooled = self.encoder.run_pooled(hidden, layout)
                return pooled[0] if model.task == "extract" else pooled
            for layer in self.encoder.layers[: self.boundary]:
                hidden = self.encoder.run_one(hidden, layer, layout)
            return hidden
        ids, mask, types = (part.to(self.device) for part in batch.padded(self.pad_id))
        if whole:
            hidden = model.encode(ids, mask, types)
        else:
            hidden = model.run_blocks(model.embed(ids, mask, types), mask, 0, self.boundary)
        if whole and model.task != "extract":
            return model.pool(hidden, mask).float().cpu()
        return hidden[mask.bool()].float().cpu()

    @property
    def targets_per_token(self) -> bool:
        """Whether a batch's targets belong to tokens (else to rows)."""
        return self.model.task == "extract"

    @property
    def cached_per_token(self) -> bool:
        """Whether a cached row has one vector per token (else one per row)."""
        return self.boundary < len(self.model.layers) or self.model.task == "extract"
