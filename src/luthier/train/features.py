"""What a frozen base makes of texts: pooled vectors, computed once per data set and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.core.predictor import TextInput
from luthier.core.recipe import HeadMethod
from luthier.data.samples import Sample
from luthier.data.tokens import TargetCoder, TokenTable, encode_samples
from luthier.models import methods
from luthier.models.base_source import BaseSource
from luthier.models.build import build, choose_pooling
from luthier.models.tokenizer import Tokenizer
from luthier.train.collate import collate
from luthier.train.forward import Forward
from luthier.train.preflight import MAX_TOKENS
from luthier.train.trunk_cache import TrunkCache

CACHED_FROM = 1024
"""Texts above which their vectors are kept on the disk."""


class FrozenEncoder:
    """Texts to [n, D], by the base as it came: the pooling of a sentence encoder, else the mean."""

    def __init__(self, source: BaseSource, tokenizer: Tokenizer, max_length: int) -> None:
        pooling = choose_pooling(source, "classify")
        model = build(
            source, task="classify", labels=("a", "b"), pooling="mean" if pooling == "stock" else pooling,
            encoder_dropout=0.0,
        )  # fmt: skip
        methods.apply(model, HeadMethod())
        self._source, self._tokenizer, self._max_length = source, tokenizer, max_length
        model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self._forward = Forward(model, tokenizer.pad_id)

    def __call__(self, texts: Sequence[TextInput]) -> NDArray[np.float32]:
        """Embed `texts`, in order."""
        table = self._table(texts)
        everything = np.arange(len(table))
        cache = None
        if len(table) > CACHED_FROM:
            cache = TrunkCache.open(self._forward, table, **self._settings)
        if cache is not None:
            return cache.rows(everything).numpy()
        found = np.zeros((len(table), int(self._forward.model.config.hidden_size)), np.float32)
        order = np.argsort(-table.lengths, kind="stable")
        for begin in range(0, len(order), 64):
            rows = order[begin : begin + 64]
            found[rows] = self._forward.at_boundary(collate(table, rows, per_token=False)).numpy()
        return found

    def kept(self, texts: Sequence[TextInput]) -> bool:
        """Whether an earlier run has left the vectors of these very texts."""
        if len(texts) <= CACHED_FROM:
            return False
        return (TrunkCache.place(self._forward, self._table(texts), **self._settings) / "vectors.npy").is_file()

    @property
    def _settings(self) -> dict[str, Any]:
        base = {"sha256": self._source.sha256, "scratch_seed": None}
        return {"base": base, "batch_size": 64, "max_tokens": MAX_TOKENS}

    def _table(self, texts: Sequence[TextInput]) -> TokenTable:
        samples = (
            Sample(text, None, "a") if isinstance(text, str) else Sample(text[0], text[1], "a") for text in texts
        )
        return encode_samples(
            samples, self._tokenizer, TargetCoder("classify", ("a", "b")), max_length=self._max_length
        )
