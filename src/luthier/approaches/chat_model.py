"""A model that follows instructions, wherever it runs: what prompts, retrieval and assistants are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from luthier.core.conversation import Conversation
from luthier.core.generation import Generation, Sampling


class ChatModel(Protocol):
    """Answers conversations.

    Attributes:
        name: as people call it.
        local: whether it runs on this machine, which then is what it costs.
    """

    @property
    def name(self) -> str: ...

    @property
    def local(self) -> bool: ...

    def fits(self, conversation: Conversation, max_tokens: int) -> bool:
        """Whether the model can read it and still write `max_tokens`."""
        ...

    def generate(self, prompts: Sequence[Conversation], sampling: Sampling | None = None) -> list[Generation]:
        """Answer `prompts`, in order."""
        ...

    def likelihoods(self, prompt: Conversation, answers: Sequence[str]) -> list[float] | None:
        """Natural log-likelihood of each of `answers`, or None where the model does not tell it."""
        ...
