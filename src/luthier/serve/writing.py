"""One ``generate``: a prompt becomes requests of the batch, and what comes of them becomes replies."""

from __future__ import annotations

from typing import Any

from luthier.core.conversation import Completion
from luthier.core.errors import UsageError
from luthier.core.generation import Generation, TokenLogprob
from luthier.data.templates import ChatRenderer, TextRenderer
from luthier.data.templates.tool_calls import parse_tool_calls
from luthier.models.generation import PromptReader, Request
from luthier.models.generation.running import Progress
from luthier.serve.bodies import Writing, read_generate
from luthier.serve.replies import Asked


def prepare(body: dict[str, Any], reader: PromptReader, adapter: str | None) -> tuple[Writing, list[Request]]:
    """The requests of a body, one for each choice. Raises `LuthierError`.

    The chat template is rendered here. It comes from an installed base or with a model that was trained here, never
    from a client; there is no limit of time on it, since a thread cannot be stopped.
    """
    writing = read_generate(body)
    gap = isinstance(writing.asked, Completion) and writing.asked.suffix is not None
    if gap and not isinstance(reader.renderer, TextRenderer):
        raise UsageError(
            "This model is for chats: it fills no gaps.",
            remedy="Leave 'suffix' out.",
            code="unsupported_parameter",
            param="suffix",
        )
    return writing, [reader.request(writing.asked, sampling, adapter) for sampling in writing.samplings]


def template_of(reader: PromptReader) -> str:
    """The Jinja source of the model's chat template; empty where it continues texts."""
    renderer = reader.renderer
    return renderer.template.source if isinstance(renderer, ChatRenderer) else ""


class Written:
    """Says what comes of a request; `left` choices are not whole yet."""

    def __init__(self, asked: Asked, writing: Writing, template: str) -> None:
        self._asked, self._writing, self._template = asked, writing, template
        self.left = len(writing.samplings)

    def take(self, progress: Progress) -> None:
        """A piece, and at the end of a choice its whole answer."""
        piece = progress.piece
        if piece.text or progress.logprobs:
            data: dict[str, Any] = {"index": piece.index, "text": piece.text}
            if progress.logprobs:
                data["logprobs"] = _logprobs(progress.logprobs)
            self._asked.say("piece", data)
        if progress.generation is not None:
            self.left -= 1
            self._asked.say("answer", {"index": piece.index, **self._answer(progress.generation)})

    def _answer(self, generation: Generation) -> dict[str, Any]:
        text: str | None = generation.text
        found: dict[str, Any] = {
            "finish_reason": generation.finish_reason,
            "completion_tokens": generation.completion_tokens,
        }
        if self._writing.tools and self._template:
            text, calls = parse_tool_calls(generation.text, self._template, self._writing.tools)
            if calls:
                found["tool_calls"] = calls
        if self._writing.samplings[0].logprobs is not None:
            found["logprobs"] = _logprobs(generation.logprobs)
        return {"text": text, **found}


def _logprobs(found: tuple[TokenLogprob, ...]) -> list[dict[str, Any]]:
    return [{"token": one.token, "logprob": one.logprob, "top": [list(pair) for pair in one.top]} for one in found]
