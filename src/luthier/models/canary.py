"""A canary: what a model answered to fixed questions when it was saved (PITFALLS A2).

Whoever loads the folder asks the same, and does not serve a model that answers otherwise: a lost adapter, another
base, broken weights. The questions are our own, so nothing of the training data is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from luthier.core import durable
from luthier.core.errors import ModelError
from luthier.core.predictor import TextInput
from luthier.models.base_source import read_json
from luthier.models.batching import pad
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import Tokenizer

CANARY_JSON = "canary.json"
FORMAT = 1
_TEXTS: tuple[TextInput, ...] = ("The parcel came two days late.", "Thank you so much, wonderful service!")
TOLERANCE = {"fp32": 0.01, "bf16": 0.3}
"""Nats between two log-probabilities, and the share of the largest output of an encoder."""


def write_encoder_canary(model: TaskModel, tokenizer: Tokenizer, folder: Path, *, max_length: int, cut: Any) -> None:
    """Ask `model`, and record its outputs in `folder`."""
    outputs = encoder_outputs(model, tokenizer, max_length=max_length, cut=cut)
    durable.write_json(folder / CANARY_JSON, {"format": FORMAT, "precision": model.precision, "outputs": outputs})


def read_canary(folder: Path) -> dict[str, Any] | None:
    """What was recorded; None for a model that was saved without."""
    if not (folder / CANARY_JSON).is_file():
        return None
    canary = read_json(folder / CANARY_JSON)
    if canary.get("format") != FORMAT:
        raise ModelError(
            f"its canary has format {canary.get('format')!r}, and this Luthier reads format {FORMAT}.",
            where=str(folder / CANARY_JSON),
            remedy="Update Luthier, or train again.",
            code="unknown_format",
        )
    return canary


def check_encoder(canary: dict[str, Any], outputs: Sequence[Sequence[float]], *, precision: str, name: str) -> None:
    """Raise `ModelError` where the outputs are not those that were recorded."""
    largest = max(1e-6, *(abs(value) for row in canary["outputs"] for value in row))
    pairs = list(zip(canary["outputs"], outputs, strict=True))
    same_shape = all(len(said) == len(now) for said, now in pairs)
    found = (
        max(abs(a - b) for said, now in pairs for a, b in zip(said, now, strict=True)) if same_shape else float("inf")
    )
    judge(found / largest, precision, canary["precision"], name)


@torch.inference_mode()
def encoder_outputs(model: TaskModel, tokenizer: Tokenizer, *, max_length: int, cut: Any) -> list[list[float]]:
    """The outputs for each of the fixed texts, as one list of numbers each."""
    device = next(model.parameters()).device
    training, found = model.training, []
    model.eval()
    for encoded in tokenizer.encode(_TEXTS, max_length=max_length, cut=cut):
        ids, mask, types = (part.to(device) for part in pad([encoded], tokenizer.pad_id))
        logits = model(ids, mask, types if tokenizer.uses_type_ids else None)
        found.append([float(value) for value in logits.flatten().cpu()])
    model.train(training)
    return found


def judge(found: float, precision: str, recorded: str, name: str) -> None:
    """Raise `ModelError` where a difference is too large for the precisions of both sides."""
    limit = TOLERANCE["bf16" if "bf16" in (precision, recorded) else "fp32"]
    if not found <= limit:
        raise ModelError(
            f"{name} does not answer as it did when it was trained (it is off by {found:.2g}, {limit:g} is allowed), "
            "so it is not served.",
            remedy="Its files or its base have changed: copy it again from where it was trained, or train again.",
            code="canary_mismatch",
            param="model",
        )
