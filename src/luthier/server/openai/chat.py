"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response

from luthier.core.answering import EngineRequest
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.openai.answering import engine_request, fingerprint, model_to_ask, unless_gone
from luthier.server.openai.answers import json_response
from luthier.server.openai.assistants import PREFIX, answer_as_assistant
from luthier.server.openai.chat_requests import ChatRequest
from luthier.server.openai.chat_shapes import Chunks, completion
from luthier.server.openai.streams import DONE, MAY_STREAM, event, event_stream
from luthier.server.openai.writing import Answer, Delta, Started, written
from luthier.server.state import AppState, State

router = APIRouter(prefix="/v1", tags=["Chat"])


@router.post("/chat/completions", operation_id="createChatCompletion", responses=MAY_STREAM)
async def create_chat_completion(request: Request, body: ChatRequest, caller: Caller, state: State) -> Response:
    """Answer a conversation. With `stream`, the answer comes as server-sent events. Nothing is kept (`store`)."""
    if body.model.startswith(PREFIX):
        return await answer_as_assistant(request, body, caller, state)
    model = await model_to_ask(state, caller, body.model, does="write")
    asked = engine_request("generate", model.ref, caller, body.engine_body())
    mark = fingerprint(model)
    if body.stream:
        return await event_stream(request, _events(state, asked, body, mark))
    return json_response(await unless_gone(request, _whole(state, asked, body, mark)))


async def _whole(state: AppState, asked: EngineRequest, body: ChatRequest, mark: str) -> dict[str, object]:
    prompt_tokens, answers = await chat_answers(state, asked, body)
    return completion(body.model, mark, prompt_tokens, answers, bool(body.logprobs))


async def chat_answers(state: AppState, asked: EngineRequest, body: ChatRequest) -> tuple[int, list[Answer]]:
    """(tokens of the prompt, all answers)."""
    prompt_tokens, answers = 0, []
    async with aclosing(written(state, asked, body)) as parts:
        async for part in parts:
            if isinstance(part, Started):
                prompt_tokens = part.prompt_tokens
            elif isinstance(part, Answer):
                answers.append(part)
    if len(answers) != body.choices:
        raise ApiError(500, "The inference engine gave another number of answers than were asked for.")
    return prompt_tokens, answers


async def _events(state: AppState, asked: EngineRequest, body: ChatRequest, mark: str) -> AsyncGenerator[bytes]:
    """The roles once the engine has begun, pieces, calls and ends, usage where it is wanted, ``[DONE]``."""
    with_usage = bool(body.stream_options and body.stream_options.include_usage)
    chunks = Chunks(body.model, mark, with_usage=with_usage, wants_logprobs=bool(body.logprobs))
    prompt_tokens = completion_tokens = 0
    async with aclosing(written(state, asked, body)) as parts:
        async for part in parts:
            if isinstance(part, Started):
                prompt_tokens = part.prompt_tokens
                for index in range(body.choices):
                    yield event(chunks.role(index))
            elif isinstance(part, Delta):
                yield event(chunks.delta(part))
            else:
                completion_tokens += part.completion_tokens
                for chunk in chunks.finish(part):
                    yield event(chunk)
    if with_usage:
        yield event(chunks.usage(prompt_tokens, completion_tokens))
    yield DONE
