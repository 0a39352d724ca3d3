"""Models that read, in memory: texts of several requests are answered together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from luthier.core.errors import UsageError
from luthier.core.predictor import Prediction, TextInput
from luthier.models.batching import pad
from luthier.models.predictor import TunedModel
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import Tokenizer
from luthier.serve.bodies import Reading
from luthier.serve.job import Job, Resident
from luthier.serve.replies import Asked

_TOGETHER = 32
"""Texts of one forward pass."""


@dataclass(eq=False)
class Texts:
    """One ``embed`` or ``predict``; `place` is that of the first text that is not answered."""

    asked: Asked
    reading: Reading
    place: int = 0

    @property
    def ended(self) -> bool:
        return self.asked.ended or self.place == len(self.reading.texts)


@dataclass(eq=False)
class Encoder(Resident):
    """`tuned` is None for an untuned base, which can only embed."""

    model: TaskModel = field(kw_only=True)
    tokenizer: Tokenizer = field(kw_only=True)
    max_length: int = field(kw_only=True)
    pooling: str = field(kw_only=True)
    tuned: TunedModel | None = None
    queue: deque[Texts] = field(default_factory=deque)

    def forget(self, job: Job) -> None:
        """Take it out of the queue."""
        if job.texts in self.queue:
            self.queue.remove(job.texts)

    def check(self, operation: str) -> None:
        """Raise `UsageError` where it cannot do this."""
        if operation == "generate":
            raise UsageError(
                f"The model {self.ref.name!r} reads; it does not write.", code="model_does_not_write", param="model"
            )
        if operation == "predict" and self.tuned is None:
            raise UsageError(
                f"The model {self.ref.name!r} is a base without a task.",
                remedy="Fine-tune it first, or ask for vectors.",
                code="model_does_not_predict",
                param="model",
            )

    def step(self) -> list[tuple[Texts, BaseException | None]]:
        """One forward pass over texts of all that wait; those that are over now, and their errors."""
        chosen = self._choose()
        errors: dict[Texts, BaseException] = {}
        try:
            self._answer(chosen)
        except Exception as error:
            if len(chosen) == 1:
                errors[chosen[0][0]] = error
            else:  # one of them is at fault: each by itself
                errors = self._answer_singly(chosen)
        over = [one for one in self.queue if one.ended or one in errors]
        self.queue = deque(one for one in self.queue if one not in over)
        return [(one, errors.get(one)) for one in over]

    def _choose(self) -> list[tuple[Texts, int]]:
        """(request, how many of its next texts): of the first and all that are of its kind, a fair share each."""
        first = self.queue[0]
        self.queue.rotate(-1)
        same = [one for one in (first, *self.queue) if self._kind(one) == self._kind(first)]
        same = list(dict.fromkeys(same))[:_TOGETHER]
        share = _TOGETHER // len(same)
        return [(one, min(share, len(one.reading.texts) - one.place)) for one in same]

    def _answer_singly(self, chosen: Sequence[tuple[Texts, int]]) -> dict[Texts, BaseException]:
        errors: dict[Texts, BaseException] = {}
        for one in chosen:
            try:
                self._answer([one])
            except Exception as error:
                errors[one[0]] = error
        return errors

    def _kind(self, texts: Texts) -> tuple[str, float | None]:
        return texts.asked.request.op, texts.reading.threshold

    def _answer(self, chosen: Sequence[tuple[Texts, int]]) -> None:
        texts = [text for one, count in chosen for text in one.reading.texts[one.place : one.place + count]]
        first = chosen[0][0]
        if first.asked.request.op == "embed":
            found = self._embed(texts)
        else:
            assert self.tuned is not None
            answers = self.tuned.predict(texts, batch=_TOGETHER, threshold=first.reading.threshold)
            found = [_prediction(answer, self.tuned.labels) for answer in answers]
        said = iter(found)
        event = "embedding" if first.asked.request.op == "embed" else "prediction"
        for one, count in chosen:
            for index in range(one.place, one.place + count):
                one.asked.say(event, {"index": index, **next(said)})  # type: ignore[arg-type]
            one.place += count

    @torch.inference_mode()
    def _embed(self, texts: Sequence[TextInput]) -> list[dict[str, Any]]:
        """Pooled last hidden states of length 1, as sentence-transformers makes them of MiniLM."""
        encoded = self.tokenizer.encode(texts, max_length=self.max_length)
        device = next(self.model.parameters()).device
        ids, mask, types = (part.to(device) for part in pad(encoded, self.tokenizer.pad_id))
        hidden = self.model.encode(ids, mask, types if self.tokenizer.uses_type_ids else None)
        vectors = normalize(_pool(hidden.float(), mask, self.pooling), dim=-1).cpu()
        if not bool(vectors.isfinite().all()):
            raise ValueError("the vectors are not finite")
        return [
            {"values": vector.tolist(), "tokens": len(row.ids)} for vector, row in zip(vectors, encoded, strict=True)
        ]


def _pool(hidden_BLD: Tensor, mask_BL: Tensor, pooling: str) -> Tensor:
    if pooling == "first":
        return hidden_BLD[:, 0]
    mask = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
    return (hidden_BLD * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)


def _prediction(answer: Prediction, labels: Sequence[str]) -> dict[str, Any]:
    """The keys of `luthier predict --json`; `scores` of several numbers by the names of the targets."""
    found: dict[str, Any] = {"label": answer.label, "score": answer.score, "scores": answer.scores}
    if answer.labels is not None:
        found["labels"] = list(answer.labels)
    if answer.values is not None:
        found["values"] = list(answer.values)
        if len(answer.values) == len(labels):
            found["scores"] = dict(zip(labels, answer.values, strict=True))
    if answer.spans is not None:
        found["spans"] = [span.to_dict() for span in answer.spans]
    if answer.abstained:
        found["abstained"] = True
    return found
