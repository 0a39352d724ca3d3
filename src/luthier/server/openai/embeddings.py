"""POST /v1/embeddings: texts become vectors, by MiniLM or by an encoder that was tuned."""

from __future__ import annotations

import base64
from array import array
from sys import byteorder
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator, Field, WithJsonSchema

from luthier.core.answering import EngineReply
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.openai.answering import all_replies, engine_request, model_to_ask, unless_gone
from luthier.server.openai.answers import json_response
from luthier.server.openai.body import MAX_CHARACTERS, Body, ModelName, texts_of
from luthier.server.openai.chat_requests import check_size, refused
from luthier.server.state import State

router = APIRouter(prefix="/v1", tags=["Embeddings"])
MAX_INPUTS = 2048
_MAX_DIMENSIONS = 100_000
_Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


class EmbeddingRequest(Body):
    """OpenAI's fields."""

    model: ModelName
    input: Annotated[
        list[_Text],
        Field(min_length=1, max_length=MAX_INPUTS),
        BeforeValidator(texts_of("inputs")),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS},
                    {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MAX_INPUTS,
                        "items": {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS},
                    },
                ]
            }
        ),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=_MAX_DIMENSIONS)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None


@router.post("/embeddings", operation_id="createEmbedding")
async def create_embedding(request: Request, body: EmbeddingRequest, caller: Caller, state: State) -> Response:
    """One vector for each text, in order."""
    model = await model_to_ask(state, caller, body.model, does="embed")
    asked_for: dict[str, Any] = {"texts": body.input}
    check_size(asked_for)
    asked = engine_request("embed", model.ref, caller, asked_for)
    found = await unless_gone(request, all_replies(state, asked))
    return json_response(_answer(found, body))


def _answer(found: list[EngineReply], body: EmbeddingRequest) -> dict[str, Any]:
    vectors = {reply.data["index"]: reply.data for reply in found if reply.event == "embedding"}
    if sorted(vectors) != list(range(len(body.input))):
        raise ApiError(500, "The inference engine gave another number of vectors than were asked for.")
    width = len(vectors[0]["values"])
    if body.dimensions not in (None, width):
        raise refused(
            f"The vectors of {body.model!r} have {width} dimensions, and are not shortened.",
            "dimensions",
            f"Leave it out, or give {width}.",
        )
    tokens = sum(vector["tokens"] for vector in vectors.values())
    return {
        "object": "list",
        "model": body.model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _written(vectors[index]["values"], body)}
            for index in range(len(body.input))
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _written(values: list[float], body: EmbeddingRequest) -> list[float] | str:
    """Numbers, or base64 of 32-bit floats with the lowest byte first, which the official client asks for."""
    if body.encoding_format != "base64":
        return values
    packed = array("f", values)
    if byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode("ascii")
