"""A model that writes in no time: what judging costs besides the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from luthier.core.conversation import Prompt
from luthier.core.generation import Generation, Likelihood, Sampling
from luthier.data.samples import Sample

_TEXT = "The answer is as long as a short sentence, so that the metrics have something to compare."


class References:
    """A `Writer`: every answer is the same sentence, every row as likely as the next."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> list[Generation]:
        """One answer per prompt."""
        return [Generation(_TEXT, "stop", 1, 20) for _ in prompts]

    def likelihood(self, samples: Iterable[Sample]) -> Iterator[Likelihood]:
        """One measure per sample."""
        for number, _ in enumerate(samples):
            yield Likelihood(20.0 + number % 7, 10.0, 5.0)
