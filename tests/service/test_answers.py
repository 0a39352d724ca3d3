"""Answers of the real engine over the wire: one server, luthier-nano and MiniLM, and OpenAI's unmodified client."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any, Literal

import numpy as np
import openai
import pytest
from live import PATIENCE, Live
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

NANO = "luthier-nano"
HI: Any = [{"role": "user", "content": "Name a colour."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"unit": {"$ref": "#/$defs/unit"}},
            "required": ["unit"],
            "additionalProperties": False,
            "$defs": {"unit": {"enum": ["celsius", "kelvin"]}},
        },
    },
}


@pytest.fixture(scope="module")
def client(shared_live: Live) -> openai.OpenAI:
    return shared_live.client(max_retries=0, timeout=PATIENCE)


def strictly(kind: Any, value: Any) -> None:
    TypeAdapter(kind).validate_python(json.loads(value.model_dump_json(warnings=False)), strict=True)


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(
        **({"model": NANO, "messages": HI, "temperature": 0, "max_tokens": 24} | fields)
    )


def post(live: Live, path: str, **body: Any) -> Any:
    request = urllib.request.Request(
        live.base_url + path,
        json.dumps(body).encode(),
        {"authorization": f"Bearer {live.key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_an_answer_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = ask(client, logprobs=True, top_logprobs=2)
    strictly(ChatCompletion, whole)
    text = whole.choices[0].message.content
    assert text
    tokens = whole.choices[0].logprobs.content
    assert all(one.logprob <= 0 and len(one.top_logprobs) == 2 for one in tokens)
    assert tokens[0].token == tokens[0].top_logprobs[0].token  # greedy
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    for chunk in chunks:
        strictly(ChatCompletionChunk, chunk)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == text
    assert chunks[-1].usage.model_dump() == whole.usage.model_dump()
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len(chunks) > 5


def test_a_seed_repeats_and_choices_differ(client: openai.OpenAI) -> None:
    first, second = (ask(client, temperature=1.5, seed=7, n=3) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices]
    assert len(set(texts)) > 1


def test_limits_and_stops(client: openai.OpenAI) -> None:
    short = ask(client, max_tokens=3)
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 3
    text = ask(client).choices[0].message.content
    stop = text[3:6]
    stopped = ask(client, stop=[stop]).choices[0]
    assert stopped.message.content == text[: text.index(stop)]
    assert stopped.finish_reason == "stop"


class Answer(BaseModel):
    colour: Literal["red", "green"]
    certain: bool


def test_a_schema_holds(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model=NANO, messages=HI, temperature=1, seed=1, response_format=Answer, max_tokens=60
    )
    assert isinstance(parsed.choices[0].message.parsed, Answer)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_call_that_must_be(client: openai.OpenAI, choice: Any) -> None:
    other = {"type": "function", "function": {"name": "time"}}
    answer = ask(client, tools=[WEATHER, other], tool_choice=choice, temperature=1, seed=3, max_tokens=80)
    strictly(ChatCompletion, answer)
    call = answer.choices[0].message.tool_calls[0].function
    arguments = json.loads(call.arguments)
    assert (call.name == "time" and not arguments) or arguments["unit"] in ("celsius", "kelvin")
    assert choice == "required" or call.name == "weather"


def test_a_prompt_that_is_too_long(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, messages=[{"role": "user", "content": "colour " * 3000}], stream=stream)
        assert caught.value.code == "context_length_exceeded"


def test_a_schema_that_cannot_be_followed(client: openai.OpenAI) -> None:
    schema = {"name": "x", "schema": {"type": "no-such-type"}}
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, response_format={"type": "json_schema", "json_schema": schema})
    assert (caught.value.code, caught.value.param) == ("invalid_json_schema", "response_format")


def test_prompts_go_on(client: openai.OpenAI) -> None:
    prompts = ["Once upon a time", "The engineer said"]
    fields: Any = {"model": NANO, "temperature": 0, "max_tokens": 8, "logprobs": 1}
    answer = client.completions.create(prompt=prompts, **fields)
    strictly(Completion, answer)
    single = [client.completions.create(prompt=prompt, **fields).choices[0].text for prompt in prompts]
    assert [choice.text for choice in answer.choices] == single
    echoed = client.completions.create(model=NANO, prompt=prompts[0], temperature=0, max_tokens=8, echo=True)
    assert echoed.choices[0].text == prompts[0] + single[0]
    texts = ["", ""]
    for chunk in client.completions.create(prompt=prompts, stream=True, **fields):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == single


def test_vectors(client: openai.OpenAI) -> None:
    texts = ["A cat sat on the mat.", "A kitten is on the carpet.", "Interest rates were raised."]
    plain = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
    strictly(CreateEmbeddingResponse, plain)
    packed = client.embeddings.create(model="minilm", input=texts)
    first, second = (np.array([one.embedding for one in answer.data]) for answer in (plain, packed))
    assert first.shape == (3, 384)
    assert np.allclose(first, second, atol=1e-6)
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-4)
    assert first[0] @ first[1] > first[0] @ first[2] + 0.2
    assert plain.usage.prompt_tokens > 15


def test_a_response_whole_and_streamed(client: openai.OpenAI) -> None:
    fields: Any = {"model": NANO, "input": "Name a colour.", "temperature": 0, "max_output_tokens": 24}
    whole = client.responses.create(**fields)
    strictly(Response, whole)
    assert whole.output_text == ask(client).choices[0].message.content
    events = list(client.responses.create(stream=True, **fields))
    for event in events:
        strictly(ResponseStreamEvent, event)
    assert events[-1].response.output_text == whole.output_text


def test_a_model_judges(client: openai.OpenAI) -> None:
    judge: Any = {
        "type": "score_model", "name": "judge", "model": NANO, "input": [{"role": "user", "content": "Rate it."}],
    }  # fmt: skip
    found = client.fine_tuning.alpha.graders.run(grader=judge, model_sample="red")
    assert 0 <= found.reward <= 1
    assert found.metadata.token_usage


def test_rows_are_written_to(shared_live: Live, client: openai.OpenAI) -> None:
    found = post(shared_live, "/luthier/v1/predict", model=NANO, texts=["Name a colour."], max_tokens=24)
    assert found["data"] == [{"input": "Name a colour.", "output": ask(client).choices[0].message.content}]


def test_an_endpoint_is_stopped_and_started(shared_live: Live, client: openai.OpenAI) -> None:
    made = post(shared_live, "/luthier/v1/endpoints", name="colours", model=NANO, idle_seconds=60)
    assert made["loaded"] is True
    assert ask(client, model="colours").model == "colours"
    stopped = post(shared_live, f"/luthier/v1/endpoints/{made['id']}/stop")
    assert (stopped["state"], stopped["loaded"]) == ("stopped", False)
    with pytest.raises(openai.ConflictError):
        ask(client, model="colours")
    assert post(shared_live, f"/luthier/v1/endpoints/{made['id']}/start")["loaded"] is True
    assert ask(client, model="colours").choices[0].message.content


def test_a_client_that_leaves_frees_the_engine(shared_live: Live, client: openai.OpenAI) -> None:
    def under_way() -> int:
        request = urllib.request.Request(
            shared_live.base_url + "/metrics", headers={"authorization": f"Bearer {shared_live.key}"}
        )
        text = urllib.request.urlopen(request, timeout=PATIENCE).read().decode()
        (line,) = [line for line in text.splitlines() if line.startswith("luthier_engine_requests ")]
        return int(float(line.split()[1]))

    ask(client)
    stream = ask(client, stream=True, n=8, temperature=2, max_tokens=900)
    next(iter(stream))
    stream.close()
    until = time.monotonic() + 10
    while under_way() and time.monotonic() < until:
        time.sleep(0.05)
    assert under_way() == 0
