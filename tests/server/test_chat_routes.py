"""Chat completions by the unmodified client: whole, streamed, with tools, with schemas, and what is refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel
from scripted import ScriptedEngine, add_model, fails, says
from wire import Wire, refused, strictly

from luthier.core.answering import EngineRequest

HI = [{"role": "user", "content": "Hi"}]
NANO = "luthier-nano"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/city"}},
    "required": ["city"],
    "$defs": {"city": {"type": "string"}},
}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "How it is", "parameters": PARAMETERS}}
TIME = {"type": "function", "function": {"name": "time"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}


@pytest.fixture
def wire(both: tuple[Wire, ScriptedEngine]) -> Wire:
    return both[0]


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**({"model": NANO, "messages": HI} | fields))


def chunks_of(client: openai.OpenAI, **fields: Any) -> list[ChatCompletionChunk]:
    found = list(ask(client, stream=True, **fields))
    for chunk in found:
        strictly(ChatCompletionChunk, chunk)
    return found


def test_an_answer_is_openais(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    answer = ask(client, temperature=0.5)
    strictly(ChatCompletion, answer)
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == NANO
    assert answer.system_fingerprint.startswith("fp_")
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.content, choice.message.tool_calls) == (
        "assistant",
        "Hello there.",
        None,
    )
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 5, 12)
    asked = engine.asked[-1]
    assert (asked.op, asked.model.name, asked.model.base, asked.model.folder) == ("generate", NANO, NANO, None)
    assert asked.body["messages"] == HI
    assert asked.body["n"] == 1
    assert engine.closed == [asked.id]


def test_the_project_goes_with_the_request(wire: Wire, client: openai.OpenAI, engine: ScriptedEngine) -> None:
    ask(client)
    assert engine.asked[-1].project == wire.project


def test_openais_defaults_and_every_setting_reach_the_engine(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    ask(client)
    assert engine.body["sampling"] == {"max_tokens": 1_000_000, "temperature": 1.0, "top_p": 1.0}
    ask(
        client, temperature=0, top_p=0.5, max_completion_tokens=9, presence_penalty=-1, frequency_penalty=2, stop="END",
        seed=-3, extra_body={"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2},
    )  # fmt: skip
    assert engine.body["sampling"] == {
        "max_tokens": 9, "temperature": 0, "top_p": 0.5, "presence_penalty": -1, "frequency_penalty": 2,
        "stop": ["END"], "seed": -3, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2,
    }  # fmt: skip
    ask(client, max_tokens=3, stop=["a", "b", "c", "d"])
    assert engine.body["sampling"]["stop"] == ["a", "b", "c", "d"]
    assert engine.body["sampling"]["max_tokens"] == 3


def test_what_openai_keeps_for_itself_changes_nothing(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    ask(
        client, user="u", metadata={"a": "b"}, store=True, service_tier="auto", safety_identifier="s",
        prompt_cache_key="k", logit_bias={}, modalities=["text"], response_format={"type": "text"},
    )  # fmt: skip
    assert set(engine.body) == {"messages", "n", "sampling"}


def test_messages_of_every_role(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    first = ask(client).choices[0].message
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
        {"role": "user", "content": "Weather?", "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        first,
        {"role": "user", "content": "And?"},
    ]
    ask(client, messages=messages)
    assert engine.body["messages"] == [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "Weather?", "name": "Ada"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "rain", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "Hello there."},
        {"role": "user", "content": "And?"},
    ]


def test_several_choices_come_in_order(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says("one", "number two", "three")
    answer = ask(client, n=3)
    assert [(c.index, c.message.content) for c in answer.choices] == [(0, "one"), (1, "number two"), (2, "three")]
    assert answer.usage.completion_tokens == sum((2, 5, 3))
    texts = ["", "", ""]
    found = chunks_of(client, n=3)
    assert [chunk.choices[0].delta.role for chunk in found[:3]] == ["assistant"] * 3
    for chunk in found:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == ["one", "number two", "three"]
    assert [chunk.choices[0].index for chunk in found if chunk.choices[0].finish_reason] == [0, 1, 2]


def test_a_stream_is_in_openais_order(client: openai.OpenAI) -> None:
    found = chunks_of(client, stream_options={"include_usage": True})
    assert found[0].choices[0].delta.role == "assistant"
    assert found[0].choices[0].delta.content == ""
    *pieces, finish, usage = found[1:]
    assert "".join(chunk.choices[0].delta.content for chunk in pieces) == "Hello there."
    assert len(pieces) == 4
    assert finish.choices[0].finish_reason == "stop"
    assert finish.choices[0].delta.model_dump(exclude_unset=True) == {}
    assert usage.choices == []
    assert (usage.usage.prompt_tokens, usage.usage.completion_tokens) == (7, 5)
    assert all(chunk.usage is None for chunk in found[:-1])
    assert "usage" in found[0].model_fields_set
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in found}) == 1
    plain = chunks_of(client)
    assert len(plain) == len(found) - 1
    assert "usage" not in plain[0].model_fields_set


def test_a_stream_is_events_that_end_with_done(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=NANO, messages=HI, stream=True)
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.headers["x-request-id"]
    lines = raw.http_response.read().decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(line.startswith("data: {") for line in lines[:-2])


def test_characters_that_end_lines_elsewhere_stay_inside_an_event(
    client: openai.OpenAI, engine: ScriptedEngine
) -> None:
    text = "a\u2028b\u0085c\nd\rüë🙂"
    engine.script = says(text)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks_of(client)) == text
    assert ask(client).choices[0].message.content == text


def test_the_streaming_helper_collects_the_answer(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=NANO, messages=HI) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_completion()
    assert kinds.count("content.delta") == 5  # the role's, which is empty, too
    assert kinds[-1] == "content.done"
    assert answer.choices[0].message.content == "Hello there."


def test_the_asynchronous_client(wire: Wire, engine: ScriptedEngine) -> None:
    import httpx2

    async def talk() -> tuple[str, str]:
        transport = httpx2.ASGITransport(wire.app)
        async with openai.AsyncOpenAI(
            api_key=wire.key(), base_url="http://localhost/v1", http_client=httpx2.AsyncClient(transport=transport)
        ) as client:
            whole = await client.chat.completions.create(model=NANO, messages=HI)  # type: ignore[arg-type]
            parts = await client.chat.completions.create(model=NANO, messages=HI, stream=True)  # type: ignore[call-overload]
            text = "".join([part.choices[0].delta.content or "" async for part in parts])
        return str(whole.choices[0].message.content), text

    assert asyncio.run(talk()) == ("Hello there.", "Hello there.")


def test_log_probabilities(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says("Hä?\N{REPLACEMENT CHARACTER}")
    answer = ask(client, logprobs=True, top_logprobs=2)
    strictly(ChatCompletion, answer)
    assert engine.body["sampling"]["logprobs"] == 2
    content = answer.choices[0].logprobs.content
    assert [one.token for one in content] == ["Hä?", "\N{REPLACEMENT CHARACTER}"]
    assert content[0].bytes == list("Hä?".encode())
    assert content[1].bytes is None
    assert [(one.token, one.logprob) for one in content[0].top_logprobs] == [("Hä?", -0.5), ("?", -1.5)]
    streamed = [one.choices[0].logprobs for one in chunks_of(client, logprobs=True) if one.choices[0].logprobs]
    assert [one.token for part in streamed for one in part.content] == ["Hä?", "\N{REPLACEMENT CHARACTER}"]
    assert engine.body["sampling"]["logprobs"] == 0
    assert ask(client, logprobs=False).choices[0].logprobs is None


class Step(BaseModel):
    explanation: str
    output: float


class Maths(BaseModel):
    steps: list[Step]
    answer: Literal["yes", "no"]


def test_a_pydantic_format_is_parsed(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    text = '{"steps": [{"explanation": "so", "output": 1.5}], "answer": "yes"}'
    engine.script = says(text)
    answer = client.chat.completions.parse(model=NANO, messages=HI, response_format=Maths)  # type: ignore[arg-type]
    assert answer.choices[0].message.parsed == Maths.model_validate_json(text)
    schema = engine.body["sampling"]["json_schema"]
    assert schema["properties"]["answer"]["enum"] == ["yes", "no"]
    with client.chat.completions.stream(model=NANO, messages=HI, response_format=Maths) as stream:  # type: ignore[arg-type]
        assert stream.get_final_completion().choices[0].message.parsed.answer == "yes"


def test_any_json_object(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    ask(client, response_format={"type": "json_object"})
    assert engine.body["sampling"]["json_schema"] == {}
    ask(client, response_format={"type": "json_schema", "json_schema": {"name": "any"}})
    assert engine.body["sampling"]["json_schema"] == {}


def test_tools_are_shown_and_calls_come_back(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says("Let me see.", tool_calls=[CALL])
    answer = ask(client, tools=[WEATHER, TIME])
    strictly(ChatCompletion, answer)
    assert engine.body["tools"] == [WEATHER, TIME]
    assert engine.body["tool_choice"] == "auto"
    assert "json_schema" not in engine.body["sampling"]
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    assert [one.model_dump() for one in choice.message.tool_calls] == [CALL]
    engine.script = says("It is warm.")
    assert ask(client, tools=[WEATHER]).choices[0].finish_reason == "stop"


def raw_call(text: str, said: str | None, calls: list[dict[str, Any]]) -> Any:
    """As an engine streams a call: its pieces are the text as the model wrote it, its answer is what was read."""

    def script(request: EngineRequest) -> Any:
        for event, data in says(text)(request):
            yield event, data | ({"text": said, "tool_calls": calls} if event == "answer" else {})

    return script


@pytest.mark.parametrize("said", ["Let me see.", None])
def test_a_streamed_call_hides_its_text(client: openai.OpenAI, engine: ScriptedEngine, said: str | None) -> None:
    other = CALL | {"id": "call_2", "function": {"name": "time", "arguments": "{}"}}
    engine.script = raw_call(f"{said or ''}\n<tool_call>\n{{}}\n</tool_call>", said, [CALL, other])
    found = chunks_of(client, tools=[WEATHER, TIME])
    assert "".join(one.choices[0].delta.content or "" for one in found) == (said or "")
    calls = [call for one in found for call in one.choices[0].delta.tool_calls or []]
    assert [(call.index, call.id, call.type) for call in calls if call.id] == [
        (0, "call_1", "function"),
        (1, "call_2", "function"),
    ]
    assert found[-1].choices[0].finish_reason == "tool_calls"
    with client.chat.completions.stream(model=NANO, messages=HI, tools=[WEATHER, TIME]) as stream:  # type: ignore[arg-type, list-item]
        message = stream.get_final_completion().choices[0].message
    assert [(one.function.name, one.function.arguments) for one in message.tool_calls or []] == [
        ("weather", '{"city": "Rome"}'),
        ("time", "{}"),
    ]
    assert [one.choices[0].finish_reason for one in chunks_of(client)][-1] == "tool_calls"


def test_what_looked_like_a_call_is_shown_in_the_end(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    for text in ("{not a call}", "a <tool_call> b", "  leading and trailing \n"):
        engine.script = says(text)
        found = chunks_of(client, tools=[WEATHER], logprobs=True)
        assert "".join(one.choices[0].delta.content or "" for one in found) == text
        told = [one.choices[0].logprobs for one in found if one.choices[0].logprobs]
        assert "".join(one.token for part in told for one in part.content) == text


def test_one_call_at_a_time(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says("", tool_calls=[CALL, CALL | {"id": "call_2"}])
    assert len(ask(client, tools=[WEATHER]).choices[0].message.tool_calls) == 2
    assert len(ask(client, tools=[WEATHER], parallel_tool_calls=False).choices[0].message.tool_calls) == 1


NAMED = {"type": "function", "function": {"name": "weather"}}
SOME = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}


@pytest.mark.parametrize("choice", ["required", NAMED, SOME])
def test_a_call_that_must_be(client: openai.OpenAI, engine: ScriptedEngine, choice: Any) -> None:
    engine.script = says('{"name": "weather", "arguments": {"city": "Rome"}}')
    fields = {"tools": [WEATHER, TIME], "tool_choice": choice}
    answer = ask(client, **fields)
    strictly(ChatCompletion, answer)
    message = answer.choices[0].message
    assert message.content is None
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Rome"})
    schema = engine.body["sampling"]["json_schema"]
    allowed = [one["properties"]["name"]["const"] for one in schema.get("anyOf", [schema])]
    assert allowed == (["weather", "time"] if choice == "required" else ["weather"])
    moved = schema["$defs"]["arguments_0"]
    assert moved["properties"]["city"]["$ref"] == "#/$defs/arguments_0/$defs/city"
    found = chunks_of(client, **fields)
    assert not any(one.choices[0].delta.content for one in found)
    calls = [one for part in found for one in part.choices[0].delta.tool_calls or []]
    assert "".join(one.function.arguments for one in calls) == '{"city": "Rome"}'


def test_a_call_that_was_cut_off(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    fields = {"tools": [WEATHER], "tool_choice": "required"}
    engine.script = says('{"name": "weather", "arguments": {"city": "Ro', finish_reason="length")
    choice = ask(client, **fields).choices[0]
    assert choice.finish_reason == "length"
    assert choice.message.tool_calls[0].function.arguments == '{"city": "Ro'
    engine.script = says('{"name": "wea', finish_reason="length")
    choice = ask(client, **fields).choices[0]
    assert (choice.finish_reason, choice.message.tool_calls) == ("length", None)


def test_no_tools_are_shown_where_none_may_be_called(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    ask(client, tools=[WEATHER], tool_choice="none", response_format={"type": "json_object"})
    assert "tools" not in engine.body


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages", "invalid_value"),
    ({"messages": IMAGE}, "messages[0].content[0]", "invalid_value"),
    ({"messages": [{"role": "user"}]}, "messages", "missing_content"),
    ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "user", "content": "Hi", "colour": 1}]}, "messages[0].colour", "unknown_parameter"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "messages", "tool_answer_without_call"),
    ({"messages": "Hi"}, "messages", "invalid_type"),
    ({"n": 0}, "n", "invalid_value"),
    ({"n": 17}, "n", "invalid_value"),
    ({"n": "2"}, "n", "invalid_type"),
    ({"temperature": 2.1}, "temperature", "invalid_value"),
    ({"top_p": -0.1}, "top_p", "invalid_value"),
    ({"presence_penalty": 3}, "presence_penalty", "invalid_value"),
    ({"stop": ["a"] * 5}, "stop", "invalid_value"),
    ({"stop": [""]}, "stop[0]", "invalid_value"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", "invalid_value"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
    ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
    ({"logit_bias": {"5": 1}}, "logit_bias", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ({"reasoning_effort": "low"}, "reasoning_effort", "invalid_value"),
    ({"functions": [{"name": "f"}]}, "functions", "invalid_value"),
    ({"modalities": ["audio"]}, "modalities[0]", "invalid_value"),
    ({"tools": []}, "tools", "invalid_value"),
    ({"tools": [WEATHER, WEATHER]}, "tools", "invalid_value"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "invalid_value"),
    ({"tool_choice": "auto"}, "tool_choice", "invalid_value"),
    ({"tool_choice": {"type": "function"}, "tools": [WEATHER]}, "tool_choice", "invalid_value"),
    ({"tool_choice": NAMED | {"function": {"name": "x"}}, "tools": [WEATHER]}, "tool_choice", "invalid_value"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "invalid_value"),
    ({"response_format": {"type": "json_object"}, "tools": [WEATHER]}, "response_format", "invalid_value"),
    ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
    ({"extra_body": {"chat_template": "{{ 1 }}"}}, "chat_template", "unknown_parameter"),
    ({"extra_body": {"guided_regex": "(a+)+"}}, "guided_regex", "unknown_parameter"),
    ({"model": "no-such-model"}, "model", "model_not_found"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param", "code"), REFUSED, ids=[f"{r[1]}-{i}" for i, r in enumerate(REFUSED)])
def test_what_is_refused_says_where(
    client: openai.OpenAI, engine: ScriptedEngine, fields: dict[str, Any], param: str, code: str
) -> None:
    kind = openai.NotFoundError if code == "model_not_found" else openai.BadRequestError
    told = refused(lambda: ask(client, **fields), kind)
    assert (told["param"], told["code"]) == (param, code), told
    assert told["type"] == "invalid_request_error"
    assert engine.asked == []


def test_long_requests_are_refused(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    long = [{"role": "user", "content": "x" * 1_500_000}] * 2
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, messages=long)
    assert caught.value.status_code == 413
    refused(lambda: ask(client, messages=HI * 2049), openai.BadRequestError)
    deep: dict[str, Any] = {}
    for _ in range(50):
        deep = {"properties": deep}
    schema = {"name": "x", "schema": {"description": "x" * 200_001} | deep}
    told = refused(
        lambda: ask(client, response_format={"type": "json_schema", "json_schema": schema}), openai.BadRequestError
    )
    assert told["param"] == "response_format.json_schema.schema"
    assert engine.asked == []


def test_a_model_that_does_not_write_says_what_does(wire: Wire, client: openai.OpenAI) -> None:
    told = refused(lambda: ask(client, model="minilm"), openai.BadRequestError)
    assert (told["code"], told["param"]) == ("model_does_not_write", "model")
    assert "/luthier/v1/predict" in told["message"]
    name = add_model(wire, "ft:minilm:local::abcdefgh", "classify").name
    assert refused(lambda: ask(client, model=name), openai.BadRequestError)["code"] == "model_does_not_write"


def test_a_tuned_model_answers_in_its_project_only(wire: Wire, client: openai.OpenAI, engine: ScriptedEngine) -> None:
    name = add_model(wire, "ft:luthier-nano:local:mine:abcdefgh", "chat", NANO).name
    assert ask(client, model=name).model == name
    asked = engine.asked[-1].model
    assert (asked.name, asked.base) == (name, NANO)
    assert Path(asked.folder).is_dir()
    told = refused(lambda: ask(wire.stranger(), model=name), openai.NotFoundError)
    assert told["code"] == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_an_engines_errors(client: openai.OpenAI, engine: ScriptedEngine, stream: bool) -> None:
    engine.script = fails("context_length_exceeded", message="the prompt has 9,999 tokens")
    told = refused(lambda: ask(client, stream=stream), openai.BadRequestError)
    assert (told["code"], told["param"]) == ("context_length_exceeded", "messages")
    assert "9,999" in told["message"]
    engine.script = fails("engine_full", "busy")
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, stream=stream)
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) > 0
    engine.script = fails("boom", "internal", "secret stack trace")
    with pytest.raises(openai.InternalServerError) as broken:
        ask(client, stream=stream)
    assert "secret" not in str(broken.value)
    engine.script = lambda request: []
    with pytest.raises(openai.APIStatusError) as gone:
        ask(client, stream=stream)
    assert gone.value.status_code == 503


def test_an_error_in_the_middle_of_a_stream_is_an_event(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    begun = list(says("Hello")(EngineRequest("x", "generate", body={"n": 1, "sampling": {}})))[:2]
    engine.script = fails("engine_full", "busy", "too much", after=begun)
    texts = []
    with pytest.raises(openai.APIError) as caught:
        texts += [chunk.choices[0].delta.content for chunk in ask(client, stream=True)]
    assert caught.value.code == "engine_full"
    raw = client.chat.completions.with_raw_response.create(model=NANO, messages=HI, stream=True)
    events = raw.http_response.read().decode().strip().split("\n\n")
    assert [list(json.loads(event.removeprefix("data: "))) for event in events[-1:]] == [["error"]]
    assert json.loads(events[1].removeprefix("data: "))["choices"][0]["delta"]["content"] == "Hel"


def test_a_silent_engine_is_not_waited_for(
    client: openai.OpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.server.openai.answering.replies.__defaults__", (0.05,))
    engine.script, engine.silent = (lambda request: [("started", {"prompt_tokens": 1})]), True
    told = refused(lambda: ask(client), openai.InternalServerError)
    assert told["code"] == "model_timeout"
    assert engine.closed == [engine.asked[-1].id]


def test_a_read_only_key_may_not_ask(wire: Wire, engine: ScriptedEngine) -> None:
    refused(lambda: ask(wire.client("read")), openai.PermissionDeniedError)
    assert engine.asked == []


class Hanging:
    """A client over raw ASGI that leaves after `leave_after` messages of the answer (0: before it begins)."""

    def __init__(self, wire: Wire, leave_after: int) -> None:
        self.wire, self.leave_after = wire, leave_after
        self.left = asyncio.Event()
        self.sent: list[dict[str, Any]] = []

    async def ask(self, engine: ScriptedEngine, stream: bool) -> None:
        body = json.dumps({"model": NANO, "messages": HI, "stream": stream}).encode()
        headers = {
            "host": "localhost", "authorization": f"Bearer {self.wire.key()}", "content-type": "application/json",
            "content-length": str(len(body)),
        }  # fmt: skip
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
            "scheme": "http", "path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions", "query_string": b"",
            "root_path": "", "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
            "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8321), "state": {},
        }  # fmt: skip
        first = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if first:
                return first.pop()
            if self.leave_after == 0:
                while not engine.asked:
                    await asyncio.sleep(0.001)
                return {"type": "http.disconnect"}
            await self.left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.sent.append(message)
            if len(self.sent) == self.leave_after:
                self.left.set()

        async with asyncio.timeout(10):
            await self.wire.app(scope, receive, send)  # type: ignore[arg-type]


@pytest.mark.parametrize(("stream", "leave_after"), [(False, 0), (True, 0), (True, 2), (True, 3)])
def test_a_client_that_leaves_stops_the_engine(
    wire: Wire, engine: ScriptedEngine, stream: bool, leave_after: int
) -> None:
    """The engine would never end by itself."""
    begun = list(says("Hello")(EngineRequest("x", "generate", body={"n": 1, "sampling": {}})))
    engine.script = lambda request: begun[: 0 if leave_after == 0 else 2]
    engine.silent = True
    asyncio.run(Hanging(wire, leave_after).ask(engine, stream))
    assert len(engine.asked) == 1
    assert engine.closed == [engine.asked[0].id]
