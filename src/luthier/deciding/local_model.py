"""A causal base model, or a run, on this machine as an `approaches.ChatModel`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec

from luthier.core.conversation import Conversation, Message, Prompt
from luthier.core.generation import Generation, Piece, Sampling
from luthier.data.samples import Sample
from luthier.models.language_predictor import LanguageModel


class LocalModel:
    """Asks `model`; what does not fit into its context is known before."""

    local = True

    def __init__(self, model: LanguageModel, name: str) -> None:
        self._model, self._name = model, name
        self._can_hold = find_spec("llguidance") is not None

    @classmethod
    def base(cls, name: str) -> LocalModel:
        """An untuned base. Raises `ModelError` where it is none that writes."""
        return cls(LanguageModel.load_base(name, task="chat"), name)

    @property
    def name(self) -> str:
        """The base's name, or the run's folder."""
        return self._name

    def fits(self, conversation: Conversation, max_tokens: int) -> bool:
        """Whether the rendered prompt leaves room for `max_tokens`."""
        asked = self._asked([conversation])[0]
        return len(self._model.renderer.prompt(asked)) + max_tokens <= self._model.context

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> list[Generation]:
        """Answer `prompts`, in order; held to a JSON schema where the package for it is installed."""
        return self._model.generate(self._asked(prompts), self._possible(sampling))

    def stream_pieces(self, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> Iterator[Piece]:
        """The same answers, piece by piece."""
        return self._model.stream_pieces(self._asked(prompts), self._possible(sampling))

    def likelihoods(self, prompt: Conversation, answers: Sequence[str]) -> list[float] | None:
        """Log-likelihood of each answer as the assistant's turn, its end included."""
        rows = []
        for answer in answers:
            said = Conversation((*prompt.messages, Message("assistant", answer)))
            silent = tuple(
                replace(message, weight=0.0) if message.role == "assistant" else message for message in prompt.messages
            )
            rows.append(Sample("", target=replace(said, messages=(*silent, said.messages[-1]))))
        return [-found.loss_sum for found in self._model.likelihood_of_each(rows)]

    def _asked(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """A model that continues text is given what the turns say, one after another."""
        if self._model.task == "chat":
            return list(prompts)
        return [
            prompt if isinstance(prompt, str) else "\n\n".join(message.content for message in prompt.messages)
            for prompt in prompts
        ]

    def _possible(self, sampling: Sampling | None) -> Sampling | None:
        if sampling is None or sampling.json_schema is None or self._can_hold:
            return sampling
        return replace(sampling, json_schema=None)
