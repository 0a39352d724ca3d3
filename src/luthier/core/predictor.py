"""What every model, tuned or not, looks like to those who judge or serve it.

`evaluate` and `serve` know models only through these words, so they never import torch's world.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class SpanPrediction:
    """A labelled stretch of text: characters `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int
    label: str
    text: str = ""
    score: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.end, "label": self.label, "text": self.text, "score": self.score}


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer.

    Classification: `label` (None when the model abstains or, with several labels, none applies),
    `score` (its calibrated probability), `scores` (every class's probability), `labels` (the ones
    above the threshold, when several labels may hold).
    Regression: `score` (the value; `values` when there are several targets).
    Extraction: `spans`.
    Generation: `output`.
    """

    label: str | None = None
    score: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    values: tuple[float, ...] | None = None
    spans: tuple[SpanPrediction, ...] | None = None
    abstained: bool = False
    output: str | None = None


TextInput = str | tuple[str, str]
"""A text, or a pair of texts."""


@runtime_checkable
class Predictor(Protocol):
    """Anything that answers."""

    @property
    def task(self) -> str: ...

    @property
    def labels(self) -> Sequence[str]:
        """Class or span labels, or target names; in the order of the model's outputs."""
        ...

    def predict(self, texts: Sequence[TextInput]) -> list[Prediction]:
        """Answer `texts`, in order."""
        ...

    def stream(self, texts: Iterable[TextInput]) -> Iterator[Prediction]:
        """Answer one by one in bounded memory, in order."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Anything that turns texts into vectors."""

    def embed(self, texts: Sequence[TextInput]) -> npt.NDArray[np.float32]:
        """Vectors [n, D] of `texts`, in order."""
        ...


class Scorer(Protocol):
    """A streaming validation metric: sees predictions batch by batch and never keeps logits."""

    name: str
    higher_is_better: bool

    def reset(self) -> None: ...

    def update(self, predictions: Sequence[Prediction], references: Sequence[Any]) -> None:
        """`references` are the samples' targets: a label, a tuple of labels, numbers or spans."""
        ...

    def value(self) -> float: ...
