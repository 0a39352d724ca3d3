"""Tool calls are read from an answer's text as the templates write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.templates import DEFAULT_TEMPLATE, ChatTemplate
from luthier.data.templates.tool_calls import CallHold, call_form, new_call, parse_tool_calls

TEMPLATES = Path(__file__).parent / "chat_templates"
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("add", "look")]
WRITERS = {"default": "hermes", "qwen25": "hermes", "qwen3": "hermes", "mistral03": "mistral", "llama31": "llama"}
ENDS = ("<|im_end|>", "</s>", "<|eot_id|>")
SPECIAL = ("[TOOL_CALLS]", "<|python_tag|>")


def source(name: str) -> str:
    return DEFAULT_TEMPLATE if name == "default" else (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """As templates read it."""
    return {"id": "abcdef123", "type": "function", "function": {"name": name, "arguments": arguments}}


def written(name: str, content: str, *calls: dict[str, Any]) -> str:
    """What the template writes for an assistant's turn, without its end."""
    template = ChatTemplate(source(name), {"bos_token": "<s>", "eos_token": "</s>"})
    question = [{"role": "user", "content": "How much?"}]
    answer = {"role": "assistant", "content": content, "tool_calls": list(calls)}
    asked = template.render(question, TOOLS, add_generation_prompt=True)
    text = template.render([*question, answer], TOOLS)
    begin = len(asked) if text.startswith(asked) else text.index("[TOOL_CALLS]")
    text = text[begin:].rstrip()
    for end in ENDS:
        text = text.removesuffix(end)
    return text


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_template_writes_is_read_back(name: str) -> None:
    arguments = {"city": 'Köln "süd"', "days": [1, 2.5, None, {"a": True}], "text": "line\nline </tool_call>?"}
    text = written(name, "", call("look", **arguments))
    assert call_form(source(name)) == WRITERS[name]
    said, calls = parse_tool_calls(text, source(name))
    assert said == ("<think>\n\n</think>" if name == "qwen3" else None)  # Qwen 3 writes empty thoughts
    assert [one["function"]["name"] for one in calls] == ["look"]
    assert json.loads(calls[0]["function"]["arguments"]) == arguments
    assert parse_tool_calls(text, WRITERS[name])[1][0]["function"] == calls[0]["function"]


@pytest.mark.parametrize("name", ["default", "qwen25", "qwen3", "mistral03"])
def test_several_calls_have_ids_of_their_own(name: str) -> None:
    text = written(name, "", call("add", left=1), call("look"))
    _, calls = parse_tool_calls(text, source(name))
    assert [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in calls] == [
        ("add", {"left": 1}),
        ("look", {}),
    ]
    assert WRITERS[name] == "mistral" or len({one["id"] for one in calls}) == 2


def test_text_before_a_call_is_the_content() -> None:
    text = written("qwen25", "Let me see.", call("add", left=1))
    assert parse_tool_calls(text, "hermes")[0] == "Let me see."


@pytest.mark.parametrize("mark", SPECIAL)
def test_marks_that_the_tokenizer_leaves_out_are_not_missed(mark: str) -> None:
    form = "mistral" if mark == "[TOOL_CALLS]" else "llama"
    value = '{"name": "add", "arguments": {"left": 1}}'
    text = f"{mark} [{value}]" if form == "mistral" else mark + value
    for one in (text, text.replace(mark, "")):
        assert [found["function"] for found in parse_tool_calls(one, form)[1]] == [
            {"name": "add", "arguments": '{"left": 1}'}
        ]


def test_llama_writes_several_with_a_semicolon() -> None:
    text = '{"name": "add", "parameters": {}}; {"name": "look", "parameters": {"a": "; "}}'
    assert [one["function"]["name"] for one in parse_tool_calls(text, "llama")[1]] == ["add", "look"]


def test_mistral_gets_ids_that_its_template_takes() -> None:
    kept = parse_tool_calls('[TOOL_CALLS] [{"name": "add", "arguments": {}, "id": "ABCdef123"}]', "mistral")[1]
    made = parse_tool_calls('[{"name": "add", "arguments": {}}]', "mistral")[1]
    assert kept[0]["id"] == "ABCdef123"
    assert made[0]["id"].isalnum()
    assert len(made[0]["id"]) == 9
    back = {**made[0], "function": {"name": "add", "arguments": {}}}
    assert made[0]["id"] in written("mistral03", "", back)
    assert new_call("add", "{}")["id"].startswith("call_")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Just a text.", "hermes"),
        ("<tool_call>\n{\"name\": \"add\"", "hermes"),
        ("<tool_call>\n{\"name\": \"add\", \"arguments\": {}} and more\n</tool_call>", "hermes"),
        ("<tool_call>\n{\"name\": 3, \"arguments\": {}}\n</tool_call>", "hermes"),
        ("<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": NaN}}\n</tool_call>", "hermes"),
        ("<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1e400}}\n</tool_call>", "hermes"),
        ("<think>\n<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call></think>No.", "hermes"),
        ("<tool_call>\n{\"name\": \"unknown\", \"arguments\": {}}\n</tool_call>", "hermes"),
        ("<tool_call>" * 2000 + "[" * 100_000, "hermes"),
        ("[1, 2]", "mistral"),
        ("[]", "mistral"),
        ("{\"name\": \"Ada\", \"age\": 36}", "llama"),
        ("{\"name\": \"add\", \"parameters\": {}} and more", "llama"),
        ("<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>", "{{ messages }}"),
    ],
)  # fmt: skip
def test_what_is_no_call_stays_a_text(text: str, form: str) -> None:
    assert parse_tool_calls(text, form, {"add", "look"}) == (text, [])


def test_arguments_can_always_be_sent() -> None:
    text = '<tool_call>{"name": "add", "arguments": {"a": "\\ud83d", "b": "\\u00fc"}}</tool_call>'
    arguments = parse_tool_calls(text, "hermes")[1][0]["function"]["arguments"]
    assert arguments.encode()
    assert json.loads(arguments) == {"a": "\ud83d", "b": "ü"}


def test_arguments_as_a_text_are_taken() -> None:
    text = '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}'
    assert parse_tool_calls(text, "hermes")[1][0]["function"]["arguments"] == '{"a": 1}'


def held(text: str, size: int) -> list[str]:
    hold = CallHold()
    return [hold.push(text[place : place + size]) for place in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("name", WRITERS)
def test_nothing_of_a_call_is_shown_while_it_comes(name: str, size: int) -> None:
    content = "" if name in ("mistral03", "llama31") else "A list <of> things [x]."
    text = written(name, content, call("add", left=1)).removeprefix("<think>\n\n</think>\n\n")
    assert "".join(held(text, size)) == content
    for mark in SPECIAL:
        assert "".join(held(text.replace(mark, ""), size)) == content


@given(st.text(alphabet="<tool_call>[TOOL_CALLS]{} \nab"), st.integers(1, 9))
def test_what_is_shown_begins_the_text_and_holds_no_mark(text: str, size: int) -> None:
    shown = "".join(held(text, size))
    assert text.startswith(shown)
    assert "<tool_call>" not in shown
    assert "[TOOL_CALLS]" not in shown
    assert shown == shown.rstrip()


def test_plain_text_comes_at_once() -> None:
    assert held("Hello you all", 3) == ["Hel", "lo", " you", " al", "l"]
