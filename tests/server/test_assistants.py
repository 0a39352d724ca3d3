"""Assistants over HTTP: listed as models, asked by the unmodified client, through the engine or an endpoint."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from scripted import Said, ScriptedEngine, fails, says
from wire import Wire, refused, strictly

from luthier.core.answering import EngineRequest
from luthier.core.errors import DataError, UsageError
from luthier.server.openai.assistants import read_folder

sys.path.append(str(Path(__file__).resolve().parent.parent / "approaches"))

from fake_endpoint import FakeEndpoint

HI = [{"role": "user", "content": "What does bread cost?"}]
LOCAL = "name: baker\ninstructions: Be kind.\nknowledge: [a.md]\nretrieval: {search: words}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.md").write_text("Bread costs two coins.")
    (tmp_path / "baker.yaml").write_text(LOCAL)
    (tmp_path / "api.yaml").write_text("openapi: 3.1.0\n")
    return tmp_path


@pytest.fixture
def wire(both: tuple[Wire, ScriptedEngine], folder: Path) -> Wire:
    both[0].state.assistants = read_folder(folder)
    return both[0]


def told(call: Any, kind: type[openai.APIStatusError] = openai.NotFoundError) -> str:
    """The code of the error that a call ends with."""
    return str(refused(call, kind)["code"])


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**({"model": "assistant:baker", "messages": HI} | fields))


def test_an_assistant_is_a_model_of_the_list(wire: Wire) -> None:
    client = wire.client()
    assert "assistant:baker" in [model.id for model in client.models.list()]
    assert client.models.retrieve("assistant:baker").owned_by == "operator"
    assert told(lambda: client.models.retrieve("assistant:nobody")) == "model_not_found"
    assert told(lambda: ask(client, model="assistant:nobody")) == "model_not_found"


def test_a_model_of_this_machine_is_asked_through_the_engine(wire: Wire, engine: ScriptedEngine) -> None:
    engine.script = says("Two coins [1].")
    answer = ask(wire.client(), temperature=0.5, max_tokens=40)
    strictly(ChatCompletion, answer)
    assert answer.choices[0].message.content == "Two coins [1].\n\n[1] a.md#1"
    asked = engine.asked[-1]
    assert asked.op == "generate"
    assert "[1] Bread costs two coins." in asked.body["messages"][0]["content"]
    assert asked.body["sampling"]["max_tokens"] == 40
    chunks = list(ask(wire.client(), stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).startswith(
        "Two coins [1]."
    )
    assert chunks[-1].usage.total_tokens > 0


def test_an_assistant_holds_none_of_the_threads_that_the_store_needs(wire: Wire, engine: ScriptedEngine) -> None:
    engine.script = says("Two coins.")

    async def only(pool: ThreadPoolExecutor) -> None:
        asyncio.get_running_loop().set_default_executor(pool)

    assert wire.http.portal is not None
    with ThreadPoolExecutor(1) as one:
        wire.http.portal.call(only, one)
        try:
            assert ask(wire.client()).choices[0].message.content == "Two coins."
        finally:
            wire.http.portal.call(only, ThreadPoolExecutor(4))


def test_passages_that_a_small_model_cannot_read_are_left_out(
    wire: Wire, engine: ScriptedEngine, folder: Path
) -> None:
    def small(request: EngineRequest) -> Iterator[Said]:
        if sum(len(turn["content"]) for turn in request.body["messages"]) > 700:
            yield from fails("context_length_exceeded")(request)
        else:
            yield from says("Two coins.")(request)

    engine.script = small
    (folder / "a.md").write_text("\n\n".join(f"Bread number {n} costs two coins. {'x' * 200}" for n in range(9)))
    (folder / "baker.yaml").write_text(LOCAL.replace("words}", "words, passages: 5, characters: 250}"))
    wire.state.assistants = read_folder(folder)
    assert ask(wire.client()).choices[0].message.content == "Two coins."
    assert 1 <= engine.asked[-1].body["messages"][0]["content"].count("Bread number") < 5
    long = [{"role": "user", "content": "bread " * 200}]
    before = len(engine.asked)
    assert told(lambda: ask(wire.client(), messages=long), openai.BadRequestError) == "context_length_exceeded"
    assert len(engine.asked) - before < 9


def test_knowledge_is_read_once_at_the_start(wire: Wire, engine: ScriptedEngine, folder: Path) -> None:
    engine.script = says("Two coins.")
    (folder / "a.md").unlink()
    assert ask(wire.client()).choices[0].message.content == "Two coins."
    with pytest.raises(DataError) as caught:
        read_folder(folder)
    assert caught.value.code == "knowledge_missing"


def test_an_endpoint_is_asked_and_only_allowed_actions_run(wire: Wire, folder: Path) -> None:
    (folder / "tools.py").write_text("def look():\n    return 'looked'\ndef change():\n    return 'changed'\n")
    calls = [
        {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in ("look", "change")
    ]

    def answer(body: dict[str, Any]) -> Any:
        if body["messages"][-1]["role"] == "tool":
            return json.dumps([turn["content"] for turn in body["messages"] if turn["role"] == "tool"])
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        return 200, {"choices": [{"message": message, "finish_reason": "tool_calls"}]}, {}

    with FakeEndpoint(answer) as server:
        (folder / "far.yaml").write_text(
            f"name: far\nendpoint: {{url: '{server.url}', name: big}}\nactions:\n"
            "  - {name: look, python: 'tools:look', confirm: false}\n  - {name: change, python: 'tools:change'}\n"
        )
        wire.state.assistants = read_folder(folder)
        said = ask(wire.client(), model="assistant:far").choices[0].message.content
    assert json.loads(said) == ["looked", "The user did not agree to this call."]


def test_what_an_assistant_cannot_do_is_refused(wire: Wire, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = wire.client()
    tool = {"type": "function", "function": {"name": "x"}}
    for fields in ({"n": 2}, {"tools": [tool]}, {"logprobs": True}, {"response_format": {"type": "json_object"}}):
        code = told(lambda fields=fields: ask(client, **fields), openai.BadRequestError)
        assert code == "unsupported_parameter"
    monkeypatch.setattr("luthier.approaches.endpoint.FIRST_WAIT", 0.0)
    monkeypatch.setattr("luthier.core.clock.sleep", lambda seconds: None)
    (folder / "far.yaml").write_text("name: far\nendpoint: {url: 'http://127.0.0.1:1/v1', name: big}\n")
    wire.state.assistants = read_folder(folder)
    assert told(lambda: ask(client, model="assistant:far"), openai.InternalServerError) == "assistant_failed"


def test_a_folder_with_a_wrong_file_is_told_at_the_start(folder: Path) -> None:
    assert list(read_folder(folder)) == ["baker"]
    (folder / "b.yaml").write_text(LOCAL)
    with pytest.raises(UsageError) as caught:
        read_folder(folder)
    assert caught.value.code == "duplicate_assistant"
    with pytest.raises(UsageError) as caught:
        read_folder(folder / "none")
    assert caught.value.code == "assistants_missing"
