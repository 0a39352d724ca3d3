"""Seconds of each stage of a run, by formula: from the workload, the base's shape and what a machine does in a second.

The rates below are those of one core of a 2020s server processor. They are only where a forecast starts: what this
machine really does comes from the ledger (`search.ledger`) or from a probe (`forecasting.probe`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from luthier.search.workload import Base, Rows, Workload

STAGES = (
    "setup", "gates", "cache", "steps", "validation", "samples", "saving", "finish", "judging", "majority", "tfidf",
    "frozen", "base", "scratch", "memorisation", "forgetting", "report",
)  # fmt: skip
"""In the order of a run; what a run does not do takes no time."""
FORGETTING_TEXTS = 160
FORGETTING_TOKENS = 1_600
"""About what the general texts that come with Luthier hold."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a machine does. Seconds; *_flops are floating-point operations in a second; unfused_*: how many times longer
    an encoder takes where a method sits inside its layers, which then run as they are written in torch."""

    step_flops: float = 85e9
    step_seconds: float = 0.008
    stepped: float = 1.6e-9
    read_flops: float = 95e9
    unfused_step: float = 1.7
    unfused_read: float = 2.5
    judge_flops: float = 80e9
    stock_flops: float = 60e9
    start: float = 1.3
    row: float = 6e-5
    token: float = 3e-6
    write_byte: float = 2.5e-9
    score_row: float = 2.5e-4
    tfidf_row: float = 5e-4
    tfidf_class: float = 2.0e-5
    frozen_class: float = 2e-6
    answer_step: float = 0.004
    answer_token: float = 0.0012
    report: float = 0.5


@dataclass(frozen=True, slots=True)
class Judging:
    """What of a recipe decides how long it is judged.

    `answer_tokens`: tokens of the references on average, `longest_answer` of a long one (the slowest of 16).
    """

    baselines: Sequence[str] = ()
    bootstrap: int = 1000
    samples: int = 0
    generate_rows: int = 0
    max_tokens: int = 200
    memorisation: int = 0
    forgetting: bool = False
    answer_tokens: float = 40.0
    longest_answer: float = 80.0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Judging:
        """From JSON."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return {**asdict(self), "baselines": list(self.baselines)}


_INSIDE = ("adapter", "prefix", "ia3")


def seconds_of(work: Workload, base: Base, judging: Judging, rates: Rates) -> dict[str, float]:
    """Seconds by stage of the whole run, every epoch of it."""
    found = _training(work, base, judging, rates)
    if work.held_out_rows:
        found |= _language_proof(work, base, judging, rates) if work.writes else _proof(work, base, judging, rates)
    if judging.forgetting:
        found["forgetting"] = _forgetting(work, base, rates)
    found["report"] = rates.report
    if "scratch" in judging.baselines and work.held_out_rows:
        full = Workload(**{**_plain(work), "method": "full", "boundary": -1, "cached": False, "stepped": work.total})
        again = _training(full, base, judging, rates)
        found["scratch"] = sum(again[name] for name in ("setup", "steps", "validation", "saving", "finish"))
        found["scratch"] += found["judging"]
    return {name: found[name] for name in STAGES if found.get(name, 0.0) > 0.0}


def _training(work: Workload, base: Base, judging: Judging, rates: Rates) -> dict[str, float]:
    epochs = work.epochs
    probed = work.train.part(min(8, work.train.rows))
    longest = Rows(1, work.biggest_batch_tokens, work.train.longest * work.biggest_batch_tokens, 0, 0)
    inside = work.method in _INSIDE and not work.writes
    step, read = (rates.unfused_step, rates.unfused_read) if inside else (1.0, 1.0)
    gate_flops = 8 * base.forward_flops(probed) * 3 + 3 * base.forward_flops(longest)
    found = {
        "setup": rates.start + rates.row * (work.train.rows + work.held_out_rows) + rates.token * work.train.tokens,
        "gates": step * gate_flops / rates.step_flops + 20 * rates.step_seconds + 2 * rates.stepped * work.stepped,
        "steps": epochs * (
            step * work.epoch_flops(base) / rates.step_flops
            + work.batches_per_epoch * rates.step_seconds * (0.1 if work.cached and work.boundary >= base.layers else 1)
            + work.steps_per_epoch * rates.stepped * work.stepped
        ),
        "saving": epochs * (12 * work.trainable * rates.write_byte + 0.03),
        "finish": 0.5 * rates.start + (12 * work.trainable + 4 * work.total) * rates.write_byte,
    }  # fmt: skip
    if work.cached:
        below = Base(**{**asdict(base), "layers": min(base.layers, work.boundary), "vocabulary": 0})
        judged = work.validation.tokens if work.validation is not None else 0
        both = work.train.tokens + judged
        found["cache"] = below.forward_flops(work.train) / rates.read_flops * both / max(1, work.train.tokens)
        found["cache"] += both * base.hidden * 4 * rates.write_byte
    if work.validation is not None:
        start = work.boundary if work.cached else 0
        once = read * base.forward_flops(work.validation, start) / rates.read_flops + work.validation.rows * 2e-5
        found["validation"] = epochs * once
        found["finish"] += {"classify": 2, "regress": 1}.get(work.task, 0) * once
    if work.writes and judging.samples:
        found["samples"] = (epochs + 1) * _answers(judging.samples, judging, rates)
    return found


def _proof(work: Workload, base: Base, judging: Judging, rates: Rates) -> dict[str, float]:
    held_out = work.held_out()
    score = rates.score_row * work.held_out_rows * judging.bootstrap / 1000 + 0.05
    read = base.forward_flops(held_out) / rates.judge_flops + rates.token * held_out.tokens
    found = {"judging": read + score}
    if "majority" in judging.baselines:
        found["majority"] = score
    if "tfidf" in judging.baselines:
        rows = work.train.rows + work.held_out_rows
        words = rows * rates.tfidf_row * held_out.tokens / max(1, held_out.rows) / 16
        classes = 1 if work.task == "regress" else max(1, work.outputs) if work.outputs > 2 else 1
        fit = 0.0 if work.task in ("extract", "regress") else rates.tfidf_class * work.train.rows * classes
        found["tfidf"] = (words if work.task != "extract" else 0.1 * words) + fit + score
    if "frozen" in judging.baselines and work.task != "extract":
        every = base.forward_flops(work.train) + base.forward_flops(held_out)
        fit = rates.frozen_class * work.train.rows * max(1, work.outputs)
        found["frozen"] = 0.5 * rates.start + every / rates.read_flops + fit + score
    return found


def _language_proof(work: Workload, base: Base, judging: Judging, rates: Rates) -> dict[str, float]:
    held_out = work.held_out()
    score = rates.score_row * work.held_out_rows * judging.bootstrap / 1000
    read = base.forward_flops(held_out) / rates.stock_flops
    rows = min(work.held_out_rows, judging.generate_rows)
    found = {"judging": read + score + _answers(rows, judging, rates)}
    if "base" in judging.baselines:
        found["base"] = read + score + _answers(rows, judging, rates) + 0.2 * rates.start
    if judging.memorisation:
        few = min(judging.memorisation, work.train.rows) + min(judging.memorisation, work.held_out_rows)
        found["memorisation"] = 2 * base.forward_flops(work.train.part(few)) / rates.stock_flops
    return found


def _answers(rows: int, judging: Judging, rates: Rates) -> float:
    """Of `rows` answers, 16 at a time: a step for each token of the longest, and each token."""
    longest = min(judging.max_tokens, judging.longest_answer)
    mean = min(judging.max_tokens, judging.answer_tokens)
    return -(-rows // 16) * longest * rates.answer_step + rows * mean * rates.answer_token


def _forgetting(work: Workload, base: Base, rates: Rates) -> float:
    texts = Rows(FORGETTING_TEXTS, FORGETTING_TOKENS, FORGETTING_TOKENS * 12, 60, FORGETTING_TOKENS * work.writes)
    passes = 2 + 5 + work.epochs
    seconds = passes * base.forward_flops(texts) / rates.stock_flops + 0.5 * rates.start
    if work.validation is not None:
        seconds += (5 + min(3, work.epochs)) * base.forward_flops(work.validation) / rates.read_flops
    return seconds


def _plain(work: Workload) -> dict[str, Any]:
    return {name: getattr(work, name) for name in Workload.__dataclass_fields__}
