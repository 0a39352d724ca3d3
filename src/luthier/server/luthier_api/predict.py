"""POST /luthier/v1/predict: labels with scores, numbers, spans, or what a model writes."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from luthier.jobs.records import Identity
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.names import Resolved
from luthier.server.openai.answering import all_replies, engine_request, merged_replies, model_to_ask, unless_gone
from luthier.server.openai.answers import json_response
from luthier.server.openai.body import MAX_CHARACTERS, Body, ModelName, Tokens
from luthier.server.openai.chat_messages import ChatMessage
from luthier.server.openai.chat_requests import check_messages, check_size, refused
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Predict"])
MAX_ROWS = 2048
MAX_WRITTEN = 64
_DEFAULT_MAX_TOKENS = 256
_Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]


def _given(*names: str) -> dict[str, Any]:
    """JSON Schema of an object where these fields are there and not null."""
    return {"required": list(names), "properties": {name: {"not": {"type": "null"}} for name in names}}


class Row(Body):
    """A text or a pair of texts; for models that write also messages or a prompt."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [_given("text"), _given("prompt"), _given("messages")],
            "dependentRequired": {"text_pair": ["text"]},
        }
    )

    text: _Text | None = None
    text_pair: _Text | None = None
    prompt: _Text | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_ROWS)] | None = None

    @model_validator(mode="after")
    def _one_question(self) -> Row:
        given = [name for name in ("text", "prompt", "messages") if getattr(self, name) is not None]
        if len(given) != 1 or (self.text_pair is not None and given != ["text"]):
            raise PydanticCustomError("row", "a row has a 'text' (and perhaps a 'text_pair'), a 'prompt' or 'messages'")
        return self


class PredictRequest(Body):
    """`texts` or `rows`. `threshold`: abstain below this probability; where several labels may hold, which do.
    `max_tokens` is for models that write, which take the likeliest token each time."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_given("texts"), _given("rows")]})

    model: ModelName
    texts: Annotated[list[_Text], Field(min_length=1, max_length=MAX_ROWS)] | None = None
    rows: Annotated[list[Row], Field(min_length=1, max_length=MAX_ROWS)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Tokens | None = None

    @model_validator(mode="after")
    def _one_list(self) -> PredictRequest:
        if (self.texts is None) == (self.rows is None):
            raise PydanticCustomError("texts", "give 'texts' or 'rows'")
        return self

    @property
    def asked(self) -> list[Row]:
        """The rows, however they were given."""
        return self.rows if self.rows is not None else [Row(text=text) for text in self.texts or []]


@router.post("/predict", operation_id="predict")
async def predict(request: Request, body: PredictRequest, caller: Caller, state: State) -> Response:
    """One answer for each text, in order."""
    model = await model_to_ask(state, caller, body.model, does="predict")
    answers = _written if model.kind == "generative" else _predicted
    data = await unless_gone(request, answers(state, caller, model, body))
    return json_response({"object": "list", "model": body.model, "task": model.task or "chat", "data": data})


async def _predicted(state: AppState, caller: Identity, model: Resolved, body: PredictRequest) -> list[dict[str, Any]]:
    texts: list[str | list[str]] = []
    for number, row in enumerate(body.asked):
        if row.text is None:
            raise refused("This model reads a text.", f"rows[{number}]", "Give 'text'.")
        texts.append(row.text if row.text_pair is None else [row.text, row.text_pair])
    if body.max_tokens is not None:
        raise refused("This model does not write.", "max_tokens", "Leave it out.")
    asked: dict[str, Any] = {"texts": texts}
    if body.threshold is not None:
        asked["threshold"] = body.threshold
    check_size(asked)
    replies = await all_replies(state, engine_request("predict", model.ref, caller, asked))
    found = {reply.data["index"]: reply.data for reply in replies if reply.event == "prediction"}
    _check_all(found, len(texts))
    return [_row(model.task, row, found[number]) for number, row in enumerate(body.asked)]


def _row(task: str, row: Row, answer: dict[str, Any]) -> dict[str, Any]:
    """The keys are those of `luthier predict --json`."""
    value: dict[str, Any] = {"text": row.text}
    if row.text_pair is not None:
        value["text_pair"] = row.text_pair
    if task == "extract":
        return {**value, "spans": answer.get("spans") or []}
    if task == "regress":
        value["score"] = answer.get("score")
        if len(answer.get("values") or ()) > 1:
            value["values"] = answer.get("scores") or answer["values"]
        return value
    value |= {"label": answer.get("label"), "score": answer.get("score"), "scores": answer.get("scores") or {}}
    if answer.get("labels") is not None:
        value["labels"] = answer["labels"]
    if answer.get("abstained"):
        value["abstained"] = True
    return value


async def _written(state: AppState, caller: Identity, model: Resolved, body: PredictRequest) -> list[dict[str, Any]]:
    rows = body.asked
    if body.threshold is not None:
        raise refused("A threshold is for models that classify.", "threshold", "Leave it out.")
    if len(rows) > MAX_WRITTEN:
        raise refused(f"A model that writes takes {MAX_WRITTEN} rows at once.", "rows", "Send several requests.")
    sampling = {"max_tokens": body.max_tokens or _DEFAULT_MAX_TOKENS, "temperature": 0.0}
    questions = [_question(model, row, number) for number, row in enumerate(rows)]
    asked = [{**question, "n": 1, "sampling": sampling} for question in questions]
    check_size({"rows": asked})
    requests = [engine_request("generate", model.ref, caller, one) for one in asked]
    found: dict[int, str] = {}
    async with aclosing(merged_replies(state, requests)) as said:
        async for place, reply in said:
            if reply.event == "answer":
                found[place] = reply.data["text"] or ""
    _check_all(found, len(rows))
    return [{"input": _input(row), "output": found[number]} for number, row in enumerate(rows)]


def _question(model: Resolved, row: Row, number: int) -> dict[str, Any]:
    """A text is what a user says, unless the model was tuned to complete texts."""
    if row.text_pair is not None:
        raise refused("This model writes, and reads one text.", f"rows[{number}].text_pair", "Leave it out.")
    if row.messages is not None:
        messages = [message.plain() for message in row.messages]
        check_messages(messages, f"rows[{number}].messages")
        return {"messages": messages}
    text = row.prompt if row.text is None else row.text
    if not (text or "").strip():
        raise refused("A row is empty.", f"rows[{number}]", "Give it a text.")
    if row.prompt is not None or model.task == "complete":
        return {"prompt": text}
    return {"messages": [{"role": "user", "content": text}]}


def _input(row: Row) -> Any:
    if row.messages is not None:
        return [message.plain() for message in row.messages]
    return row.prompt if row.text is None else row.text


def _check_all(found: dict[int, Any], rows: int) -> None:
    if sorted(found) != list(range(rows)):
        raise ApiError(500, "The inference engine gave another number of answers than there were rows.")
