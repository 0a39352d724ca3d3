"""Peak memory of a run in bytes, by formula: weights, what the optimizer keeps, copies, activations, the proof."""

from __future__ import annotations

from luthier.search.stages import Judging
from luthier.search.workload import Base, Workload

PROCESS = 520 << 20
"""Python with torch, transformers and scikit-learn, without a model."""
_FLOAT = 4
_KEPT_PER_TOKEN = 13
_KEPT_WIDE = 4
"""Vectors of the width, and of the feed-forward width, that a trained layer keeps for each token."""


def memory_of(work: Workload, base: Base, judging: Judging) -> dict[str, float]:
    """Bytes by part; their sum is the peak. Everything but the probe's own measurement stands here."""
    weights = _FLOAT * work.total
    trained = max(0, base.layers - max(0, work.boundary))
    per_token = _FLOAT * trained * (_KEPT_PER_TOKEN * base.hidden + _KEPT_WIDE * base.intermediate)
    square = _FLOAT * base.heads * work.train.longest * min(work.biggest_batch_tokens, 16_384) * 2
    remembered = float(_FLOAT * work.trainable + 2 * _FLOAT * work.stepped)  # weights and both moments
    logits = 3 * _FLOAT * base.vocabulary * min(512, work.biggest_batch_tokens) if work.writes else 0
    return {
        "process": float(PROCESS),
        "weights": 1.5 * weights,
        "optimizer": 3.0 * _FLOAT * work.stepped,
        "copies": remembered,
        # a checkpoint is written when the activations are gone: the larger of both counts
        "activations": max(float(work.biggest_batch_tokens * per_token + square + logits), 2.0 * remembered),
        "proof": (2.0 if "base" in judging.baselines else 1.0) * weights + baseline_bytes(work, judging),
        "cache": mapped_bytes(work, base),
        "rows": 40.0 * (work.train.tokens + work.held_out_rows * 50),
    }


def mapped_bytes(work: Workload, base: Base) -> float:
    """Of the cache of the frozen layers, which is read through memory."""
    if not work.cached:
        return 0.0
    judged = work.validation
    if work.boundary >= base.layers and work.task != "extract" and not work.writes:
        items = work.train.rows + (judged.rows if judged is not None else 0)
    else:
        items = work.train.tokens + (judged.tokens if judged is not None else 0)
    return float(_FLOAT * base.hidden * items)


def baseline_bytes(work: Workload, judging: Judging, share: float = 1.0) -> float:
    """Of the baselines that learn from words, fitted on `share` of the rows: coefficients, of which L-BFGS keeps about
    twenty-five copies."""
    if "tfidf" not in judging.baselines or work.writes or work.task == "extract":
        return 0.0
    classes = work.outputs if work.task == "classify" and work.outputs > 2 else 1
    features = min(200_000.0, 60.0 * max(1.0, share * work.train.tokens) ** 0.6)
    return float(25 * 8 * classes * features)
