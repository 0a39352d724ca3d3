"""Responses by the unmodified client: text in, text out, whole and as events."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel
from scripted import ScriptedEngine, fails, says
from wire import refused, strictly

NANO = "luthier-nano"
WEATHER = {
    "type": "function", "name": "weather", "description": "How it is", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}  # fmt: skip
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    return client.responses.create(**({"model": NANO, "input": "Hi"} | fields))


def test_a_response_is_openais(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    answer = ask(client, instructions="Be kind.", temperature=0.2, max_output_tokens=50, metadata={"a": "b"})
    strictly(Response, answer)
    assert answer.output_text == "Hello there."
    assert answer.status == "completed"
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 5, 12)
    assert (answer.instructions, answer.metadata, answer.temperature) == ("Be kind.", {"a": "b"}, 0.2)
    assert answer.model_dump()["store"] is False
    assert engine.body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
    ]
    assert engine.body["sampling"] == {"max_tokens": 50, "temperature": 0.2, "top_p": 1.0}


def test_the_turns_so_far_come_as_items(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    first = ask(client).output[0]
    items = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"role": "user", "content": "Weather?"},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}", "id": "fc_1"},
        {"type": "function_call", "call_id": "call_2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        {"type": "function_call_output", "call_id": "call_2", "output": "sun"},
        first,
        {"role": "user", "content": "And?"},
    ]
    ask(client, input=items)
    roles = [message["role"] for message in engine.body["messages"]]
    assert roles == ["developer", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert [call["id"] for call in engine.body["messages"][2]["tool_calls"]] == ["call_1", "call_2"]
    assert engine.body["messages"][5]["content"] == "Hello there."


def test_events_follow_each_other_as_openais(client: openai.OpenAI) -> None:
    events = list(ask(client, stream=True))
    for event in events:
        strictly(ResponseStreamEvent, event)
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 4,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Hello there."
    done = events[-1].response
    assert done.output_text == "Hello there."
    assert done.output[0].id == events[2].item.id
    assert {event.response.id for event in (events[0], events[1], events[-1])} == {done.id}
    assert events[0].response.status == "in_progress"


def test_the_streaming_helper_collects_the_answer(client: openai.OpenAI) -> None:
    with client.responses.stream(model=NANO, input="Hi") as stream:
        assert any(event.type == "response.output_text.delta" for event in stream)
        assert stream.get_final_response().output_text == "Hello there."


class Verdict(BaseModel):
    good: bool


def test_a_pydantic_format_is_parsed(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says('{"good": true}')
    answer = client.responses.parse(model=NANO, input="Hi", text_format=Verdict)
    assert answer.output_parsed == Verdict(good=True)
    assert engine.body["sampling"]["json_schema"]["required"] == ["good"]
    ask(client, text={"format": {"type": "json_object"}})
    assert engine.body["sampling"]["json_schema"] == {}


def test_a_cut_answer_is_incomplete(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says("Hel", finish_reason="length")
    answer = ask(client)
    strictly(Response, answer)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output[0].status == "incomplete"
    assert [event.type for event in ask(client, stream=True)][-1] == "response.incomplete"


def test_an_empty_answer_is_still_a_message(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says("")
    assert ask(client).output_text == ""
    assert [event.type for event in ask(client, stream=True)][-2:] == [
        "response.output_item.done",
        "response.completed",
    ]


@pytest.mark.parametrize("said", ["Let me see.", None])
def test_functions_are_called(client: openai.OpenAI, engine: ScriptedEngine, said: str | None) -> None:
    def script(request: Any) -> Any:
        for event, data in says(f"{said or ''}<tool_call>x</tool_call>")(request):
            yield event, data | ({"text": said, "tool_calls": [CALL]} if event == "answer" else {})

    engine.script = script
    answer = ask(client, tools=[WEATHER], tool_choice="auto")
    strictly(Response, answer)
    assert engine.body["tools"][0]["function"]["name"] == "weather"
    call = answer.output[-1]
    assert (call.type, call.name, call.call_id, call.arguments) == (
        "function_call",
        "weather",
        "call_1",
        '{"city": "Rome"}',
    )
    assert answer.output_text == (said or "")
    events = list(ask(client, tools=[WEATHER], stream=True))
    for event in events:
        strictly(ResponseStreamEvent, event)
    assert [item.type for item in events[-1].response.output] == [item.type for item in answer.output]
    places = [event.output_index for event in events if event.type == "response.output_item.done"]
    assert places == list(range(len(answer.output)))
    arguments = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert arguments == ['{"city": "Rome"}']


def test_a_function_that_must_be_called(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says('{"name": "weather", "arguments": {}}')
    answer = ask(client, tools=[WEATHER], tool_choice={"type": "function", "name": "weather"})
    strictly(Response, answer)
    assert [item.type for item in answer.output] == ["function_call"]


def test_log_probabilities(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = says("Hä?")
    answer = ask(client, top_logprobs=2, include=["message.output_text.logprobs"])
    strictly(Response, answer)
    assert [one.token for one in answer.output[0].content[0].logprobs] == ["Hä?"]
    for event in ask(client, include=["message.output_text.logprobs"], stream=True):
        strictly(ResponseStreamEvent, event)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "mcp", "server_label": "x", "server_url": "http://x"}]}, "tools[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
         "input[0].content[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "call_id": "x"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]}, "messages"),
        ({"input": []}, "input"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"truncation": "auto"}, "truncation"),
        ({"tool_choice": {"type": "function"}, "tools": [WEATHER]}, "tool_choice"),
        ({"extra_body": {"n": 2}}, "n"),
    ],
)  # fmt: skip
def test_what_is_refused_says_where(
    client: openai.OpenAI, engine: ScriptedEngine, fields: dict[str, Any], param: str
) -> None:
    told = refused(lambda: ask(client, **fields), openai.BadRequestError)
    assert told["param"] == param
    assert engine.asked == []


def test_an_error_before_and_in_the_middle(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = fails("context_length_exceeded")
    refused(lambda: ask(client, stream=True), openai.BadRequestError)
    engine.script = fails("boom", "internal", after=[("started", {"prompt_tokens": 1})])
    events = list(ask(client, stream=True))
    strictly(ResponseStreamEvent, events[-1])
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "server_error"


def test_many_items_are_counted_with_the_instructions(client: openai.OpenAI) -> None:
    items = [{"role": "user", "content": "Hi"}] * 2048
    told = refused(lambda: ask(client, input=items, instructions="Be kind."), openai.BadRequestError)
    assert told["code"] == "invalid_value"
