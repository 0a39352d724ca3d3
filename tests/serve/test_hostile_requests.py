"""No request ends the engine, and none spoils the answers of others."""

from __future__ import annotations

import random
from typing import Any

import pytest

from luthier.core.answering import EngineRequest, ModelRef
from luthier.models.generation.request import Answer
from luthier.serve.bodies import read_generate

GOOD = {"messages": [{"role": "user", "content": "ok"}], "sampling": {"max_tokens": 3}}
DEEP: Any = {}
for _ in range(200):
    DEEP = {"properties": {"a": DEEP}}
WRONG: list[dict[str, Any]] = [
    {},
    {"messages": []},
    {"messages": "hello"},
    {"messages": [{"role": "wizard", "content": "x"}]},
    {"messages": [{"role": "assistant", "content": "x"}]},
    {"messages": [None]},
    {**GOOD, "prompt": "both"},
    {"prompt": 7},
    {"prompt": "x" * 100_000},
    {"prompt": "x", "suffix": 3},
    {"prompt": "x", "suffix": "a model for chats fills no gaps"},
    {**GOOD, "n": 0},
    {**GOOD, "n": True},
    {**GOOD, "n": 10**9},
    {**GOOD, "tools": "none"},
    {**GOOD, "tools": [{"type": "function"}]},
    {**GOOD, "sampling": []},
    {**GOOD, "sampling": {"temperature": "hot"}},
    {**GOOD, "sampling": {"temperature": -1.0}},
    {**GOOD, "sampling": {"temperature": float("nan")}},
    {**GOOD, "sampling": {"seed": 2**70}},
    {**GOOD, "sampling": {"max_tokens": 0}},
    {**GOOD, "sampling": {"max_tokens": None}},
    {**GOOD, "sampling": {"stop": [""]}},
    {**GOOD, "sampling": {"stop": [3]}},
    {**GOOD, "sampling": {"logprobs": 10**6}},
    {**GOOD, "sampling": {"nonsense": 1}},
    {**GOOD, "sampling": {"json_schema": "x"}},
    {**GOOD, "sampling": {"json_schema": {"type": "wizard"}}},
    {**GOOD, "sampling": {"json_schema": {"$ref": "#/nowhere"}}},
    {**GOOD, "sampling": {"json_schema": {"pattern": "(a+)+$("}}},
    {**GOOD, "sampling": {"json_schema": DEEP}},
    {**GOOD, "sampling": {"json_schema": {"enum": ["x" * 500_000]}}},
]


def test_wrong_requests_are_the_users_own(llama: Any, engine: Any) -> None:
    asked = engine()
    expected = asked.write(llama.ref("one"), tokens=100).texts
    running = asked.write(llama.ref("one"), tokens=100)
    for body in WRONG:
        error = asked.ask("generate", llama.ref("one"), **body).error
        assert error["kind"] == "user", (body, error)
        assert error["message"]
        assert error["code"]
    for op, body in (("predict", {"texts": "x"}), ("embed", {"texts": [3]}), ("explode", {}), ("load", None)):
        said = asked.ask(op, llama.ref("one") if body is not None else None, **(body or {}))
        assert said.error["kind"] == "user", op
    assert running.texts == expected
    assert asked.status()["requests"] == 0


def test_schemas_that_explode_are_stopped(llama: Any, engine: Any) -> None:
    wide = {"anyOf": [{"type": "string", "pattern": f"^[a-z]{{{n},{n + 500}}}[0-9]+$"} for n in range(200)]}
    bomb: dict[str, Any] = {"$defs": {}, "$ref": "#/$defs/a0"}
    for level in range(12):
        bomb["$defs"][f"a{level}"] = {"anyOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 8}
    bomb["$defs"]["a12"] = {"type": "string"}
    asked = engine()
    asked.write(llama.ref("one")).wait()
    for schema in (wide, bomb):
        said = asked.write(llama.ref("one"), tokens=5, sampling={"json_schema": schema}).wait()
        assert said.replies[-1].event == "end" or said.error["kind"] == "user"
    assert len(asked.write(llama.ref("one")).texts) == 1


def test_random_requests(llama: Any, engine: Any) -> None:
    draw = random.Random(20261124)
    values: list[Any] = [None, True, -1, 0, 1.5, 2**64, "", "x", [], {}, [[]], {"a": None}, "\ud800", "\x00", [1, "2"]]
    names = ["messages", "prompt", "suffix", "n", "sampling", "tools", "tool_choice", "texts", "threshold", "target"]
    ops = ["generate", "embed", "predict", "load", "unload", "status", "x"]
    refs = [llama.ref("one"), llama.ref(None), None, ModelRef("a", "../..", "\x00"), ModelRef(7, None, [])]  # type: ignore[arg-type]
    asked = engine()
    every = []
    for _ in range(300):
        body = dict(GOOD) if draw.random() < 0.5 else {}
        for name in draw.sample(names, draw.randint(0, 3)):
            body[name] = draw.choice(values)
        every.append(asked.ask(draw.choice(ops), draw.choice(refs), **body))
    for said in every:
        said.wait()
        assert not [one for one in said.data("error") if one["kind"] == "internal"], said.replies
    assert len(asked.write(llama.ref("one")).texts) == 1
    assert asked.status()["requests"] == 0


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a secret of somebody"), KeyError("x")])
def test_a_batch_that_fails_is_given_up_and_the_next_runs(
    llama: Any, engine: Any, monkeypatch: Any, error: Exception
) -> None:
    asked = engine()
    expected = asked.write(llama.ref("one")).texts
    (host,) = asked.scheduler._registry.hosts
    real, left = host.forward.step, [3]

    def step(*args: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise error
        return real(*args)

    monkeypatch.setattr(host.forward, "step", step)
    failed = asked.write(llama.ref("one"), tokens=50).error
    assert failed["kind"] == ("busy" if isinstance(error, MemoryError) else "internal")
    assert "secret" not in failed["message"]
    assert asked.write(llama.ref("one")).texts == expected
    assert asked.status()["active"] == 0


def test_numbers_that_are_not_finite_are_an_error(llama: Any, engine: Any, monkeypatch: Any) -> None:
    asked = engine()
    asked.write(llama.ref("one")).wait()
    (host,) = asked.scheduler._registry.hosts
    real = host.forward.step
    monkeypatch.setattr(host.forward, "step", lambda *args: real(*args) * float("nan"))
    assert asked.write(llama.ref("one")).error["code"] == "nonfinite_output"


def test_mistakes_of_ours_do_not_end_the_engine(llama: Any, engine: Any, monkeypatch: Any) -> None:
    asked = engine()
    asked.write(llama.ref("one")).wait()
    real = Answer.take
    monkeypatch.setattr(Answer, "take", lambda self, *args: 1 / 0 if self.index else real(self, *args))
    assert asked.write(llama.ref("one"), n=2).error["kind"] == "internal"
    asked.scheduler._post(lambda: 1 / 0)
    assert len(asked.write(llama.ref("one")).texts) == 1


def test_a_request_of_the_same_id_is_refused(llama: Any, engine: Any) -> None:
    asked = engine()
    running = asked.write(llama.ref("one"), tokens=200)
    replies: list[Any] = []
    asked.scheduler.submit(EngineRequest(running.id, "load", llama.ref("one")), "here", replies.append)
    assert len(running.texts) == 1
    assert [reply.data["code"] for reply in replies] == ["invalid_request"]


def test_tools_are_those_that_were_given() -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    assert read_generate({**GOOD, "tools": [tool]}).tools == {"look"}
    assert read_generate({**GOOD, "tools": [tool], "tool_choice": "none"}).tools == frozenset()
    forced = {**GOOD, "tools": [tool], "sampling": {"json_schema": {}}}
    assert read_generate(forced).tools == frozenset()
