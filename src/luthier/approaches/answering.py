"""What every approach is to those who compare them: something that answers rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from luthier.core.predictor import Prediction, Predictor
from luthier.data.samples import Sample


@dataclass
class Usage:
    """Tokens that a model behind an endpoint has read and written for an approach; zero for what runs here."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.requests - other.requests,
        )

    def copy(self) -> Usage:
        """As it is now."""
        return Usage(self.prompt_tokens, self.completion_tokens, self.requests)


class Approach(Protocol):
    """Answers rows without looking at their targets."""

    @property
    def usage(self) -> Usage: ...

    def answer(self, samples: Sequence[Sample]) -> list[Prediction]:
        """One answer per row, in order; a text is `Prediction.output`."""
        ...


class Answered:
    """A Predictor of labels, numbers or spans, as an approach."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.usage = Usage()

    def answer(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Its predictions."""
        return self._predictor.predict([sample.input for sample in samples])
