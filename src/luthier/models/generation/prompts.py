"""Whatever a user asks, as a `Request`: the renderer of training makes the ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import ModelError, UsageError
from luthier.core.generation import Sampling
from luthier.data.openai_chat import parse_openai, parse_tools
from luthier.data.targets import Wrong
from luthier.data.templates import ChatRenderer, TextRenderer
from luthier.models.chat_tokenizer import HuggingChatTokenizer
from luthier.models.generation.constrained import JsonGrammars
from luthier.models.generation.request import Request
from luthier.models.quiet import quiet

Asked = str | tuple[str, str] | Conversation | Completion | Sequence[Mapping[str, Any]]
"""A text, a conversation (as an object or as OpenAI's list of messages), or a prompt whose completion is
asked for. (A pair of texts is no question to a generative model; it is here because other models take it.)"""


class PromptReader:
    """Makes requests for one model; `vocabulary` is the number of its logits."""

    def __init__(
        self, tokenizer: HuggingChatTokenizer, renderer: ChatRenderer | TextRenderer, vocabulary: int
    ) -> None:
        self.tokenizer, self.renderer = tokenizer, renderer
        self._stop_ids = frozenset(renderer.stop_ids)
        self._grammars = JsonGrammars(tokenizer, vocabulary, renderer.stop_ids)

    def request(self, asked: Asked, sampling: Sampling, adapter: str | None = None) -> Request:
        """One request. Raises `UsageError` for what is no question to this model."""
        schema = sampling.json_schema
        return Request(
            ids=tuple(self._ids(asked)),
            sampling=sampling,
            tokenizer=self.tokenizer,
            stop_ids=self._stop_ids,
            constraint=None if schema is None else self._grammars.constraint(schema),
            adapter=adapter,
        )

    def requests(self, asked: Sequence[Asked], sampling: Sampling | Sequence[Sampling] | None) -> list[Request]:
        """One request each; `sampling` for all of them, or one each."""
        if isinstance(asked, str):
            raise UsageError("this takes a list of prompts, not one text.", remedy="Write [text].", code="not_a_list")
        each = [sampling or Sampling()] * len(asked) if isinstance(sampling, Sampling | None) else sampling
        if len(each) != len(asked):
            raise UsageError(
                f"there are {len(asked)} prompts and {len(each)} settings.", remedy="Give one for all, or one each."
            )
        return [self.request(one, settings) for one, settings in zip(asked, each, strict=True)]

    def _ids(self, asked: Asked) -> list[int]:
        if isinstance(asked, Completion):
            if isinstance(self.renderer, TextRenderer) and asked.suffix is not None:
                return self.renderer.fill_prompt(asked.prompt, asked.suffix)
            return self.renderer.prompt(asked.prompt)
        if isinstance(asked, str | Conversation):
            return self.renderer.prompt(asked)
        return self.renderer.prompt(conversation_of(asked))


def conversation_of(messages: Any, tools: Any = None) -> Conversation:
    """OpenAI's list of messages to be answered; `UsageError` where it is none."""
    try:
        if not isinstance(messages, list) or not messages:
            raise Wrong("not_a_prompt", "this is neither a text nor a list of messages.", "Give one of them.")
        conversation = Conversation(parse_openai(messages), parse_tools(tools))
    except Wrong as wrong:
        raise UsageError(wrong.message, remedy=wrong.remedy, code=wrong.code, param="messages") from None
    if conversation.messages[-1].role == "assistant":
        raise UsageError(
            "the conversation ends with the assistant's turn, so there is nothing to answer.",
            remedy="Leave that turn out, or add what the user says next.",
            code="nothing_to_answer",
            param="messages",
        )
    return conversation


def saved_tokenizer(folder: Path, config: Any) -> HuggingChatTokenizer:
    """The tokenizer in the folder of a tuned model. `config` is the model's: the folder of an adapter has none."""
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(
            "the tokenizer of this model is missing.",
            where=str(folder / "tokenizer.json"),
            remedy="Copy the run again from where it was trained.",
            code="tokenizer_missing",
        )
    with quiet():
        hugging = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return HuggingChatTokenizer(hugging, config)
