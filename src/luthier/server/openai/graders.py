"""POST /v1/fine_tuning/alpha/graders/run and /validate."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field, ValidationError

from luthier.jobs.records import Identity
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.openai.answering import engine_request, model_to_ask, unless_gone
from luthier.server.openai.answers import json_response
from luthier.server.openai.body import MAX_CHARACTERS, Body, JsonObject
from luthier.server.openai.chat import chat_answers
from luthier.server.openai.chat_requests import ChatRequest
from luthier.server.openai.grading import Ask, grading_of
from luthier.server.state import AppState, State

router = APIRouter(prefix="/v1/fine_tuning/alpha/graders", tags=["Graders"])
_FLAGS = (
    "formula_parse_error", "invalid_variable_error", "model_grader_parse_error", "model_grader_refusal_error",
    "model_grader_server_error", "other_error", "python_grader_runtime_error", "python_grader_server_error",
    "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
)  # fmt: skip


class ValidateRequest(Body):
    grader: JsonObject


class RunRequest(Body):
    """`item` is the row, whose columns are ``{{ item.* }}``; `model_sample` is the answer to be graded."""

    grader: JsonObject
    model_sample: Annotated[str, Field(max_length=MAX_CHARACTERS // 2)]
    item: JsonObject | None = None


@router.post("/validate", operation_id="validateGrader")
async def validate_grader(request: Request, body: ValidateRequest, caller: Caller, state: State) -> Response:
    """Check a grader, and give it back as it is understood."""
    found = await unless_gone(request, grading_of(state.extras).run({"grader": body.grader}, _nobody))
    return json_response({"grader": found["grader"]})


@router.post("/run", operation_id="runGrader")
async def run_grader(request: Request, body: RunRequest, caller: Caller, state: State) -> Response:
    """Grade one answer. A score_model grader asks a model of this server, never one elsewhere."""
    tokens: Counter[str] = Counter()
    asked = {
        "grader": body.grader,
        "sample": body.model_sample,
        "item": body.item,
        "python": state.settings.allow_python_graders,
    }
    found = await unless_gone(request, grading_of(state.extras).run(asked, _asker(state, caller, tokens)))
    return json_response(_answer(found["grade"], tokens))


def _asker(state: AppState, caller: Identity, tokens: Counter[str]) -> Ask:
    async def ask(question: dict[str, Any]) -> str:
        model = await model_to_ask(state, caller, question["model"], does="write")
        wanted = question["sampling"]
        try:
            chat = ChatRequest.model_validate(
                {
                    "model": question["model"],
                    "messages": question["messages"],
                    "temperature": wanted.get("temperature", 0.0),
                    "top_p": wanted.get("top_p"),
                    "seed": wanted.get("seed"),
                    "max_completion_tokens": wanted.get("max_completions_tokens", 256),
                }
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ApiError(
                400, f"The grader's model cannot be asked: {first['msg']}.", param="grader", code="invalid_grader"
            ) from None
        request = engine_request("generate", model.ref, caller, chat.engine_body())
        prompt_tokens, answers = await chat_answers(state, request, chat)
        tokens[question["model"]] += prompt_tokens + answers[0].completion_tokens
        return answers[0].text or ""

    return ask


async def _nobody(question: dict[str, Any]) -> str:
    raise AssertionError("a grader that is only checked asks nobody")


def _answer(grade: dict[str, Any], tokens: Counter[str]) -> dict[str, Any]:
    flags = grade["flags"]
    scores = grade["parts"] or {grade["name"]: grade["score"]}
    return {
        "reward": grade["score"],
        "sub_rewards": grade["parts"],
        "model_grader_token_usage_per_model": dict(tokens),
        "metadata": {
            "name": grade["name"],
            "type": grade["type"],
            "scores": scores,
            "execution_time": grade["seconds"],
            "token_usage": sum(tokens.values()) or None,
            "sampled_model_name": next(iter(tokens)) if len(tokens) == 1 else None,
            "errors": {
                **{name: bool(flags.get(name)) for name in _FLAGS},
                "python_grader_runtime_error_details": flags.get("python_grader_runtime_error_details"),
                "python_grader_server_error_type": None,
                "model_grader_server_error_details": None,
            },
        },
    }
