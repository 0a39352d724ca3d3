"""A trained model that answers: `core.predictor.Predictor` over a run's model folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from luthier.core.errors import UsageError
from luthier.core.predictor import Prediction, TextInput
from luthier.core.text import Encoded
from luthier.models.batching import pad
from luthier.models.decode import Threshold, decode
from luthier.models.run_model import load_run_model, model_folder
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import Tokenizer

_WINDOW_BATCHES = 16
"""Batches that are sorted by length together: padding falls, memory stays bounded."""


class TunedModel:
    """Answers texts in order; batches are made of texts of like length.

    `threshold`: a classifier abstains below it; with several labels it decides which hold (one
    number, or one per label). None: never abstain; 0.5 with several labels.
    `settings` is the model's luthier.json.
    """

    def __init__(self, model: TaskModel, tokenizer: Tokenizer, settings: dict[str, Any]) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.settings = settings
        self.threshold: Threshold = settings.get("thresholds")

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", precision: str = "fp32") -> TunedModel:
        """The model of a run folder or a model folder; device auto takes a GPU where there is one."""
        model, tokenizer, settings = load_run_model(model_folder(path), precision=precision)
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        return cls(model.to(chosen), tokenizer, settings)

    @property
    def task(self) -> str:
        """classify, regress or extract."""
        return self.model.task

    @property
    def labels(self) -> Sequence[str]:
        """Classes, targets or span labels."""
        return self.model.labels

    def predict(
        self, texts: Sequence[TextInput], *, batch: int = 32, threshold: Threshold = None
    ) -> list[Prediction]:
        """One answer per text, in order; `threshold` instead of the model's own."""
        if isinstance(texts, str):
            raise UsageError(
                "predict takes a list of texts, not one text.",
                remedy="Write predict([text]).",
                code="not_a_list",
            )
        return list(self.stream(texts, batch=batch, threshold=threshold))

    def stream(
        self, texts: Iterable[TextInput], *, batch: int = 32, threshold: Threshold = None
    ) -> Iterator[Prediction]:
        """Answers in order, reading ahead at most 16 batches."""
        for window in self._windows(texts, batch):
            encoded = self._encode(window)
            yield from decode(
                self.task,
                self._rows(encoded, batch) if self.task == "extract" else np.stack(self._rows(encoded, batch)),
                self.labels,
                several_labels=self.model.several_labels,
                temperature=self.settings["temperature"],
                threshold=self.threshold if threshold is None else threshold,
                target_mean=self.settings["target_mean"],
                target_std=self.settings["target_std"],
                texts=window,
                encoded=encoded,
            )

    def logits(self, texts: Sequence[TextInput], *, batch: int = 32) -> npt.NDArray[np.float32]:
        """The raw outputs [N, C]; for extract [N, L, C] with NaN after a text's end."""
        rows = [row for window in self._windows(texts, batch) for row in self._rows(self._encode(window), batch)]
        outputs = len(self.model.outputs)
        if self.task != "extract":
            return np.stack(rows) if rows else np.zeros((0, outputs), dtype=np.float32)
        padded = np.full((len(rows), max((len(row) for row in rows), default=0), outputs), np.nan, dtype=np.float32)
        for index, row in enumerate(rows):
            padded[index, : len(row)] = row
        return padded

    def embed(self, texts: Sequence[TextInput], *, batch: int = 32) -> npt.NDArray[np.float32]:
        """The vectors that the head reads [n, D]; for extract, whose head reads tokens, the mean over them."""
        found = [row for window in self._windows(texts, batch) for row in self._vectors(self._encode(window), batch)]
        return np.stack(found) if found else np.zeros((0, int(self.model.config.hidden_size)), dtype=np.float32)

    @torch.inference_mode()
    def _vectors(self, encoded: Sequence[Encoded], batch: int) -> list[npt.NDArray[np.float32]]:
        rows: dict[int, npt.NDArray[np.float32]] = {}
        for chosen, ids, mask, types in self._batches(encoded, batch):
            hidden = self.model.encode(ids, mask, types)
            if self.task == "extract":
                wide = mask.unsqueeze(-1).to(hidden.dtype)
                pooled = (hidden * wide).sum(1) / wide.sum(1)
            else:
                pooled = self.model.pool(hidden, mask)
            rows.update(zip(chosen, pooled.float().cpu().numpy(), strict=True))
        return [rows[index] for index in range(len(encoded))]

    def _batches(
        self, encoded: Sequence[Encoded], batch: int
    ) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor | None]]:
        """(places, ids, mask, type ids where the base reads them) of batches, the longest texts first."""
        device = next(self.model.parameters()).device
        order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index].ids))
        for begin in range(0, len(order), batch):
            chosen = order[begin : begin + batch]
            ids, mask, types = (part.to(device) for part in pad([encoded[i] for i in chosen], self.tokenizer.pad_id))
            yield chosen, ids, mask, types if self.tokenizer.uses_type_ids else None

    def _windows(self, texts: Iterable[TextInput], batch: int) -> Iterator[list[TextInput]]:
        iterator = iter(texts)
        while window := list(islice(iterator, batch * _WINDOW_BATCHES)):
            yield window

    def _encode(self, texts: Sequence[TextInput]) -> list[Encoded]:
        for text in texts:
            pair = isinstance(text, tuple | list) and [type(part) for part in text] == [str, str]
            if not (isinstance(text, str) or pair):
                raise UsageError(
                    f"this is neither a text nor a pair of texts: {text!r}.",
                    remedy="Give strings, or (text, text_pair) tuples.",
                    code="not_a_text",
                )
        return self.tokenizer.encode(texts, max_length=self.settings["max_length"], cut=self.settings["cut"])

    @torch.inference_mode()
    def _rows(self, encoded: Sequence[Encoded], batch: int) -> list[npt.NDArray[np.float32]]:
        """Logits per text, in order: [C], or [L, C] without padding for extract."""
        rows: dict[int, npt.NDArray[np.float32]] = {}
        for chosen, ids, mask, types in self._batches(encoded, batch):
            logits = self.model(ids, mask, types).cpu().numpy()
            for index, row in zip(chosen, logits, strict=True):
                rows[index] = row[: len(encoded[index].ids)] if self.task == "extract" else row
        return [rows[index] for index in range(len(encoded))]
