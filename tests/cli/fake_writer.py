"""A model that writes, without a model: it answers with what it was asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import UsageError
from luthier.core.generation import Generation, Piece, Sampling
from luthier.core.predictor import Prediction


@dataclass
class FakeWriter:
    """`interrupt_after`: Ctrl-C comes after so many pieces."""

    task: str = "chat"
    labels: Sequence[str] = ()
    threshold: float | None = None
    interrupt_after: int | None = None
    window: int = 3
    furthest: int = 0
    asked: list[tuple[Any, Sampling | None]] = field(default_factory=list)

    def answer(self, prompt: Any, sampling: Sampling | None) -> str:
        self.asked.append((prompt, sampling))
        if isinstance(prompt, Conversation):
            turns = [f"{message.role[0]}:{message.content}" for message in prompt.messages]
            if len(prompt.messages) > 6:
                raise UsageError("the prompt is too long.", remedy="Shorten it.", code="context_length_exceeded")
            return " ".join(turns).upper()
        return str(prompt.prompt if isinstance(prompt, Completion) else prompt).upper()

    def generate(self, prompts: Sequence[Any], sampling: Sampling | None = None) -> list[Generation]:
        return [Generation(self.answer(prompt, sampling), "stop", 3, 4) for prompt in prompts]

    def stream_pieces(self, prompts: Sequence[Any], sampling: Sampling | None = None) -> Iterator[Piece]:
        for index, prompt in enumerate(prompts):
            words = self.answer(prompt, sampling).split(" ")
            for number, word in enumerate(words):
                if number == self.interrupt_after:
                    raise KeyboardInterrupt
                last = number == len(words) - 1
                yield Piece(index, word + " " * (not last), "stop" if last else None)

    def stream(self, texts: Iterable[Any], *, sampling: Sampling | None = None) -> Iterator[Prediction]:
        window: list[Any] = []
        for number, text in enumerate(texts, start=1):
            self.furthest = number
            window.append(text)
            if len(window) == self.window:
                yield from (Prediction(output=self.answer(text, sampling)) for text in window)
                window = []
        yield from (Prediction(output=self.answer(text, sampling)) for text in window)
