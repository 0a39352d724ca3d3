"""What a model writes for a chat, as it comes: the engine's replies without OpenAI's clothes.

`chat` and `responses` dress it; both read tool calls and log-probabilities from here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from luthier.core.answering import EngineRequest
from luthier.data.templates.tool_calls import CallHold
from luthier.server.openai.answering import replies
from luthier.server.openai.chat_requests import ChatRequest
from luthier.server.openai.tool_choice import read_call
from luthier.server.state import AppState

_BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Started:
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of choice `index`; `logprobs` are the engine's."""

    index: int
    text: str
    logprobs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer:
    """Choice `index` as a whole.

    Attributes:
        text: what it says besides its calls; None where it only calls.
        finish_reason: stop, length or tool_calls.
        logprobs: one for each token; None where none were asked for.
    """

    index: int
    text: str | None
    calls: list[dict[str, Any]]
    finish_reason: str
    completion_tokens: int
    logprobs: list[dict[str, Any]] | None = None


def read_answer(data: dict[str, Any], request: ChatRequest) -> Answer:
    """An engine's ``answer``."""
    text, calls = data.get("text"), list(data.get("tool_calls") or [])
    if request.forced and not calls:
        calls = read_call(text or "")
        text = None if calls else text
    if request.parallel_tool_calls is False:
        calls = calls[:1]
    reason = data["finish_reason"]
    if calls and reason == "stop":
        reason = "tool_calls"
    said = text if calls else text or ""
    return Answer(data["index"], said, calls, reason, data["completion_tokens"], data.get("logprobs"))


async def written(
    state: AppState, asked: EngineRequest, request: ChatRequest
) -> AsyncGenerator[Started | Delta | Answer]:
    """`Started`; `Delta`s, whose texts together are the answers' texts; an `Answer` for each choice at its end.

    Where tools may be called, text is held back from where a call may begin until it is known to be none.
    """
    choices = [_Choice(bool(request.shown_tools), request.forced) for _ in range(request.choices)]
    async with aclosing(replies(state, asked)) as said:
        async for reply in said:
            if reply.event == "started":
                yield Started(reply.data["prompt_tokens"])
            elif reply.event == "piece":
                choice = choices[reply.data["index"]]
                text = choice.push(reply.data["text"], reply.data.get("logprobs"))
                if text:
                    yield Delta(reply.data["index"], text, choice.take_logprobs())
            elif reply.event == "answer":
                answer = read_answer(reply.data, request)
                choice = choices[answer.index]
                rest = choice.rest(answer)
                waiting = choice.take_logprobs()
                if rest or waiting:
                    yield Delta(answer.index, rest, waiting)
                yield answer


class _Choice:
    """One answer of a stream: what was shown of it, and what waits."""

    def __init__(self, may_call: bool, forced: bool) -> None:
        self._hold = CallHold() if may_call else None
        self._forced = forced
        self._all = self._shown = ""
        self._logprobs: list[dict[str, Any]] = []

    def push(self, piece: str, logprobs: list[dict[str, Any]] | None) -> str:
        self._logprobs += logprobs or []
        if self._hold is None:
            return piece
        self._all += piece
        text = "" if self._forced else self._hold.push(piece)
        self._shown += text
        return text

    def rest(self, answer: Answer) -> str:
        """What was held back and turned out to be text."""
        whole = (answer.text or "") if answer.calls else self._all
        return whole.removeprefix(self._shown) if whole.startswith(self._shown) else ""

    def take_logprobs(self) -> list[dict[str, Any]]:
        found, self._logprobs = self._logprobs, []
        return found


def token_logprobs(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Log-probabilities as OpenAI writes them. A token that is no whole character has no known bytes."""
    return [
        {
            **_token(one["token"], one["logprob"]),
            "top_logprobs": [_token(token, logprob) for token, logprob in one.get("top") or []],
        }
        for one in found
    ]


def _token(token: str, logprob: float) -> dict[str, Any]:
    known = None if _BROKEN in token else list(token.encode("utf-8", "replace"))
    return {"token": token, "logprob": logprob, "bytes": known}
