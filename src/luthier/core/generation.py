"""How a generative model is asked to answer, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from luthier.core.conversation import Prompt


@dataclass(frozen=True, slots=True)
class Sampling:
    """The usual controls; the defaults take the likeliest token each time.

    Attributes:
        temperature: 0 = greedy. top_k 0, top_p 1 and min_p 0 switch those off.
        repetition_penalty: divides (positive) or multiplies (negative) logits of tokens seen (Keskar 2019).
        presence_penalty, frequency_penalty: subtracted once, or per occurrence, for generated tokens (OpenAI).
        stop: texts that end the answer and are not part of it.
        logprobs: how many alternatives are reported per token; None = no log-probabilities.
        json_schema: the answer must be JSON that this schema accepts ({} = any JSON object).
        seed: None draws one.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    json_schema: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token: its text, natural log-probability, and the likeliest alternatives."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer. `finish_reason`: stop (an end token or a stop text) or length."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of answer `index` while it is generated; the last one has a `finish_reason`."""

    index: int
    text: str
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What a model thinks of one sample: summed loss in nats over its weighted tokens, the sum of
    their weights, and how many of them the model would have chosen itself."""

    loss_sum: float
    weight: float
    correct: float = 0.0


@runtime_checkable
class Generator(Protocol):
    """Anything that writes."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> list[Generation]:
        """Answer `prompts`, in order."""
        ...

    def stream_pieces(self, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> Iterator[Piece]:
        """The same answers, piece by piece, as they come."""
        ...
