"""A sample as the model reads it: ids, and how much each of them is learned; and what makes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from luthier.core.conversation import Prompt
from luthier.core.text import ChatTokenizer
from luthier.data.samples import Sample


@dataclass(frozen=True, slots=True)
class TrainedTurn:
    """One answer that is learned.

    Attributes:
        turn: its place among the conversation's messages; 0 for a completion or a plain text.
        start, end: its characters in the rendered text, the end-of-turn token included.
        ended: whether its last learned token is one that stops generation.
    """

    turn: int
    start: int
    end: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """T tokens of one training row.

    Attributes:
        ids: [T], special tokens included.
        weights: [T], 0 = read but not learned. A weight belongs to the token that is to be predicted.
        text: what the ids spell, special tokens written out.
        offsets: [T] (start, end) characters of `text`.
        turns: the answers that are learned, in order.
    """

    ids: list[int]
    weights: list[float]
    text: str
    offsets: list[tuple[int, int]]
    turns: tuple[TrainedTurn, ...]

    @property
    def trained_tokens(self) -> int:
        """How many tokens carry weight."""
        return sum(weight > 0 for weight in self.weights)

    @property
    def trained_texts(self) -> list[str]:
        """What is learned, answer by answer."""
        return [self.text[turn.start : turn.end] for turn in self.turns]


class Renderer(Protocol):
    """Samples to ids and weights for training, prompts to ids for serving."""

    @property
    def tokenizer(self) -> ChatTokenizer: ...

    @property
    def fingerprint(self) -> str:
        """A hash of everything that the ids and weights of a sample depend on."""
        ...

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        ...

    def render(self, sample: Sample) -> list[Rendered]: ...

    def render_batch(self, samples: Sequence[Sample]) -> list[list[Rendered]]:
        """The same for many samples, tokenised together."""
        ...

    def prompt(self, prompt: Prompt) -> list[int]:
        """What the model is given to be continued."""
        ...

    def question(self, sample: Sample, turn: int) -> Prompt | None:
        """What is asked for learned answer `turn`; None where nothing is."""
        ...


def end_of_turn_share(rows: Iterable[Rendered]) -> float:
    """Share of the learned answers whose end carries weight (gate G1); 1 where there is no answer."""
    ended = [turn.ended for row in rows for turn in row.turns]
    return sum(ended) / len(ended) if ended else 1.0
