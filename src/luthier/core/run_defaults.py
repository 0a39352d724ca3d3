"""Batch and epochs where a recipe says `auto`: numbers that the run and its forecast must agree on."""

from __future__ import annotations

import math

# Enough steps to reach the best validation score on the data sets of docs/log.md.
_TARGET_STEPS = {"full": 300, "lora": 400, "adapter": 400, "bitfit": 500, "ia3": 600, "prefix": 600, "head": 1500}
_MOST_EPOCHS = {"full": 12, "lora": 15, "adapter": 15, "bitfit": 20, "ia3": 20, "prefix": 20, "head": 60}
_LEAST_EPOCHS = {"head": 10}
_LANGUAGE_STEPS = 200
_LANGUAGE_MOST_EPOCHS = 10


def batch_size(rows: int, *, writes: bool) -> int:
    """Rows of a micro-batch for so many training rows."""
    if writes:
        return 8 if rows < 1000 else 16
    return 8 if rows < 200 else 16 if rows < 2000 else 32


def epochs(kind: str, steps: int, *, writes: bool) -> int:
    """Epochs for a method, of so many steps each; patience stops earlier."""
    if writes:
        return min(_LANGUAGE_MOST_EPOCHS, max(2, math.ceil(_LANGUAGE_STEPS / steps)))
    return min(_MOST_EPOCHS[kind], max(_LEAST_EPOCHS.get(kind, 3), math.ceil(_TARGET_STEPS[kind] / steps)))
