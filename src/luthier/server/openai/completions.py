"""POST /v1/completions: a text goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response

from luthier.core.answering import EngineReply, EngineRequest
from luthier.jobs.ids import random_characters
from luthier.server.auth import Caller
from luthier.server.openai.answering import engine_request, fingerprint, merged_replies, model_to_ask, unless_gone
from luthier.server.openai.answers import json_response, now
from luthier.server.openai.chat_shapes import usage
from luthier.server.openai.completion_requests import CompletionRequest
from luthier.server.openai.streams import DONE, MAY_STREAM, event, event_stream
from luthier.server.state import AppState, State

router = APIRouter(prefix="/v1", tags=["Completions"])


@router.post("/completions", operation_id="createCompletion", responses=MAY_STREAM)
async def create_completion(request: Request, body: CompletionRequest, caller: Caller, state: State) -> Response:
    """Go on from one or several prompts; with `suffix`, fill the gap before it (bases that were trained to)."""
    model = await model_to_ask(state, caller, body.model, does="write")
    asked = [engine_request("generate", model.ref, caller, one) for one in body.engine_bodies()]
    writer = _Writer(body, fingerprint(model))
    if body.stream:
        return await event_stream(request, _events(state, asked, body, writer))
    return json_response(await unless_gone(request, _whole(state, asked, writer)))


async def _whole(state: AppState, asked: Sequence[EngineRequest], writer: _Writer) -> dict[str, Any]:
    async with aclosing(merged_replies(state, asked)) as said:
        async for place, reply in said:
            writer.take(place, reply)
    return writer.whole()


async def _events(
    state: AppState, asked: Sequence[EngineRequest], body: CompletionRequest, writer: _Writer
) -> AsyncGenerator[bytes]:
    async with aclosing(merged_replies(state, asked)) as said:
        async for place, reply in said:
            for chunk in writer.take(place, reply):
                yield event(chunk)
    if body.stream_options and body.stream_options.include_usage:
        yield event(writer.usage_chunk())
    yield DONE


class _Writer:
    """Makes OpenAI's ``text_completion`` of the engine's replies; the choices count on through the prompts."""

    def __init__(self, body: CompletionRequest, mark: str) -> None:
        self._body = body
        self._common = {
            "id": "cmpl-" + random_characters(24),
            "object": "text_completion",
            "created": now(),
            "model": body.model,
            "system_fingerprint": mark,
        }
        self._choices: dict[int, dict[str, Any]] = {}
        self._offsets: dict[int, int] = {}
        self._prompt_tokens = self._completion_tokens = 0

    def take(self, place: int, reply: EngineReply) -> list[dict[str, Any]]:
        """Count and keep what the reply says; the chunks that a stream gets for it."""
        data, body = reply.data, self._body
        prompt = body.prompt[place] if body.echo else ""
        if reply.event == "started":
            self._prompt_tokens += data["prompt_tokens"]
            indexes = range(place * body.choices, (place + 1) * body.choices)
            return [self._chunk(index, prompt) for index in indexes] if prompt else []
        index = place * body.choices + data["index"]
        if reply.event == "piece":
            logprobs = self._logprobs(data.get("logprobs"), self._offsets.get(index, 0))
            self._offsets[index] = self._offsets.get(index, 0) + len(data["text"])
            return [self._chunk(index, data["text"], logprobs)]
        if reply.event != "answer":
            return []
        self._completion_tokens += data["completion_tokens"]
        self._choices[index] = {
            "index": index,
            "text": prompt + data["text"],
            "logprobs": self._logprobs(data.get("logprobs"), 0),
            "finish_reason": data["finish_reason"],
        }
        return [self._chunk(index, "", None, data["finish_reason"])]

    def whole(self) -> dict[str, Any]:
        """The answer to a request that is not a stream."""
        choices = [choice for _, choice in sorted(self._choices.items())]
        return {**self._common, "choices": choices, "usage": usage(self._prompt_tokens, self._completion_tokens)}

    def usage_chunk(self) -> dict[str, Any]:
        """A stream's last chunk."""
        return {**self._common, "choices": [], "usage": usage(self._prompt_tokens, self._completion_tokens)}

    def _chunk(
        self, index: int, text: str, logprobs: dict[str, Any] | None = None, finish_reason: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
        return {**self._common, "choices": [choice]}

    def _logprobs(self, found: list[dict[str, Any]] | None, offset: int) -> dict[str, Any] | None:
        """Lists side by side, one entry for each token; offsets count characters of the answer."""
        if self._body.logprobs is None:
            return None
        offsets = []
        for one in found or []:
            offsets.append(offset)
            offset += len(one["token"])
        return {
            "tokens": [one["token"] for one in found or []],
            "token_logprobs": [one["logprob"] for one in found or []],
            "top_logprobs": [dict(one.get("top") or []) for one in found or []],
            "text_offset": offsets,
        }
