"""POST /v1/responses: text in, text out, whole or as events. Nothing is kept, whatever `store` says."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response

from luthier.core.answering import EngineRequest
from luthier.server.auth import Caller
from luthier.server.openai.answering import engine_request, model_to_ask, unless_gone
from luthier.server.openai.answers import json_response
from luthier.server.openai.chat import chat_answers
from luthier.server.openai.chat_requests import ChatRequest
from luthier.server.openai.response_requests import ResponseRequest
from luthier.server.openai.response_shapes import ResponseWriter
from luthier.server.openai.streams import MAY_STREAM, event, event_stream
from luthier.server.openai.writing import Delta, Started, written
from luthier.server.state import AppState, State

router = APIRouter(prefix="/v1", tags=["Responses"])


@router.post("/responses", operation_id="createResponse", responses=MAY_STREAM)
async def create_response(request: Request, body: ResponseRequest, caller: Caller, state: State) -> Response:
    """Answer, as chat completions do, in the newer shape. The response cannot be fetched again (`store` is false)."""
    model = await model_to_ask(state, caller, body.model, does="write")
    chat = body.chat()
    asked = engine_request("generate", model.ref, caller, chat.engine_body())
    if body.stream:
        writer = ResponseWriter(body)

        def failed(error: dict[str, Any]) -> bytes:
            kind, data = writer.failed(error)
            return event(data, kind)

        return await event_stream(request, _events(state, asked, writer, chat), failed)
    return json_response(await unless_gone(request, _whole(state, asked, body, chat)))


async def _whole(state: AppState, asked: EngineRequest, body: ResponseRequest, chat: ChatRequest) -> dict[str, Any]:
    prompt_tokens, answers = await chat_answers(state, asked, chat)
    return ResponseWriter(body).whole(answers[0], prompt_tokens)


async def _events(
    state: AppState, asked: EngineRequest, writer: ResponseWriter, chat: ChatRequest
) -> AsyncGenerator[bytes]:
    prompt_tokens = 0
    async with aclosing(written(state, asked, chat)) as parts:
        async for part in parts:
            if isinstance(part, Started):
                prompt_tokens = part.prompt_tokens
                events = writer.begin()
            elif isinstance(part, Delta):
                events = writer.delta(part)
            else:
                events = writer.finish(part, prompt_tokens)
            for kind, data in events:
                yield event(data, kind)
