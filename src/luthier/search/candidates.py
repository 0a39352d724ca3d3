"""What `luthier auto` tries, the promising and cheap first; no search space, but a list that people would try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.core.recipe import LANGUAGE_TASKS

LEAST_SECONDS = 20.0
"""Of a budget: below it not even starting and the first model would fit."""
FEW_PER_LABEL = 64
"""Rows of a label up to which pairs are worth trying; above it there is enough to learn labels from."""
MOST_ROWS_FOR_PAIRS = 4000
_MOST_PASSES, _ROWS_OF_AN_EPOCH = 4, 250
"""Passes over few rows in one epoch of pairs; more rows need fewer, as each pass has more steps."""
FEW_ROWS, FEW_OF_EACH = 512, 8
"""Rows, and rows of each label, that the very first model learns from where there are `MANY` times as many."""
MANY, FEW = 3, "few rows"
USUAL = "full"
"""The name of the candidate that `luthier train` would train."""
HURRIED = "full, rate x 2"
"""The name of what labels better than `USUAL` after few epochs (docs/log.md)."""
HURRY = 0.25
"""Of the epochs that are wanted: with this share of them or less the usual rate does not get far enough."""


@dataclass(frozen=True)
class Facts:
    """What is known of the data and the base before anything is trained.

    Attributes:
        rows: that are learned. labels: classes; 0 where there are none.
        layers: of the base.
    """

    task: str
    rows: int
    labels: int = 0
    several_labels: bool = False
    layers: int = 6

    @property
    def writes(self) -> bool:
        """Whether answers are texts."""
        return self.task in LANGUAGE_TASKS

    @property
    def suits_pairs(self) -> bool:
        """Whether rows are so few for each label that learning from pairs may pay."""
        if self.task != "classify" or self.several_labels or self.labels < 2:
            return False
        return self.rows <= MOST_ROWS_FOR_PAIRS and self.rows / self.labels <= FEW_PER_LABEL


@dataclass(frozen=True)
class Candidate:
    """One recipe to try.

    Attributes:
        name: for people; no two are alike.
        changes: of the common recipe, by dotted key.
        kind: candidates of one kind take alike long for `cost`.
        cost: of one epoch, in passes over the rows without a gradient, about.
        is_closed: whether it is done in one go, without epochs.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "full"
    cost: float = 3.5
    is_closed: bool = False


def linear(strength: float = 0.1) -> Candidate:
    """The frozen base with a linear head: what is ready first."""
    name = "linear head" if strength == 0.1 else f"linear head, strength {strength:g}"
    changes = {"method": {"kind": "head"}, "head.fit": "closed", "head.strength": strength}
    return Candidate(name, changes, "linear", 1.0, is_closed=True)


def candidates(facts: Facts) -> list[Candidate]:
    """The list for these data, in the order in which they are begun."""
    return _writing(facts) if facts.writes else _labelling(facts)


def first_of(facts: Facts) -> Candidate:
    """What is begun before all: the first of the list, or of many rows a linear head on a few, so that there is a model
    soon however many there are."""
    few = max(FEW_ROWS, FEW_OF_EACH * facts.labels)
    return candidates(facts)[0] if facts.writes or facts.rows < MANY * few else linear_on(few, facts)


def next_of(facts: Facts, first: Candidate, fit: int) -> Candidate | None:
    """What follows a first model of few rows where `fit` rows can be learned in the time: a linear head on all or most
    of them; None where that is not worth while."""
    if first.kind != FEW:
        return None
    if fit >= facts.rows:
        return linear()
    return linear_on(fit, facts) if fit >= MANY * first.cost * facts.rows else None


def linear_on(rows: int, facts: Facts) -> Candidate:
    """A linear head that learns only so many rows."""
    share, whole = float(f"{rows / facts.rows:.3g}"), linear()
    changes = {**whole.changes, "data.share": share}
    return replace(whole, name=f"linear head, {rows:,} rows", changes=changes, kind=FEW, cost=share)


def _full(name: str, **more: Any) -> Candidate:
    return Candidate(name, {"method": {"kind": "full"}, **{key.replace("__", "."): v for key, v in more.items()}})


def _lora(rank: int, times: float = 1.0) -> Candidate:
    changes: dict[str, Any] = {"method": {"kind": "lora", "rank": rank, "alpha": 2 * rank}}
    if times != 1:
        changes["train.learning_rate_multiplier"] = times
    return Candidate(f"lora, rank {rank}{_rate(times)}", changes, "lora", 3.0)


def _rate(times: float) -> str:
    return "" if times == 1 else f", rate x {times:g}"


def _pairs(kind: str, rows: int, times: float = 1.0) -> Candidate:
    passes = max(1, min(_MOST_PASSES, round(_ROWS_OF_AN_EPOCH / rows)))
    changes: dict[str, Any] = {"method": {"kind": kind}, "train.contrastive": {"passes": passes}}
    if times != 1:
        changes["train.learning_rate_multiplier"] = times
    return Candidate(f"pairs, {kind}{_rate(times)}", changes, f"pairs {kind}", 3.5 * passes + 1)


def _labelling(facts: Facts) -> list[Candidate]:
    half = facts.layers // 2
    pairs = []
    if facts.suits_pairs:
        pairs = [_pairs("full", facts.rows), _pairs("lora", facts.rows), _pairs("full", facts.rows, 0.5)]
    found = [
        linear(),
        linear(0.01),
        linear(1.0),
        *pairs[:1],
        _full(USUAL),
        _full(HURRIED, train__learning_rate_multiplier=2.0),
        *pairs[1:2],
        _lora(16),
        *pairs[2:],
        Candidate("adapter", {"method": {"kind": "adapter"}}, "adapter", 3.0),
        Candidate(f"full, {half} of {facts.layers} layers frozen",
                  {"method": {"kind": "full"}, "freeze.layers": half}, "frozen", 2.0),
        _lora(4),
        Candidate("bitfit", {"method": {"kind": "bitfit"}}, "bitfit", 2.8),
        _lora(64),
        _full("full, rate x 0.5", train__learning_rate_multiplier=0.5),
        _full("full, slower below", train__layer_decay=0.8, train__learning_rate_multiplier=2.0),
        _lora(16, 2.0),
        _lora(16, 0.5),
        _full("full, rate x 4", train__learning_rate_multiplier=4.0),
    ]  # fmt: skip
    return found


def _writing(facts: Facts) -> list[Candidate]:
    half = facts.layers // 2
    frozen = Candidate(f"full, {half} of {facts.layers} layers frozen",
                       {"method": {"kind": "full"}, "freeze.layers": half}, "frozen", 2.0)  # fmt: skip
    return [
        _lora(16), _full(USUAL), _full("full, rate x 2", train__learning_rate_multiplier=2.0), _lora(64), frozen,
        _lora(16, 2.0), _lora(4), _full("full, rate x 0.5", train__learning_rate_multiplier=0.5), _lora(16, 0.5),
        _lora(64, 2.0), _full("full, rate x 4", train__learning_rate_multiplier=4.0),
    ]  # fmt: skip


def neighbours(best: Candidate, tried: Sequence[str]) -> Iterator[Candidate]:
    """More to try when the list is done and there is time: the best with other rates."""
    if best.is_closed:
        return
    known = float(best.changes.get("train.learning_rate_multiplier", 1.0))
    base = best.name.partition(", rate x ")[0]
    for times in (known * 1.5, known / 1.5, known * 3, known / 3):
        name = f"{base}, rate x {times:.3g}"
        if name not in tried:
            changes = {**best.changes, "train.learning_rate_multiplier": float(f"{times:.3g}")}
            yield Candidate(name, changes, best.kind, best.cost)
