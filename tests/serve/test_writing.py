"""What becomes of an answer: pieces, and at its end the calls that it makes."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.core.answering import EngineReply, EngineRequest
from luthier.core.generation import Generation, Piece, Sampling
from luthier.models.generation.running import Progress
from luthier.serve.bodies import Writing
from luthier.serve.replies import Asked, Busy, error_data
from luthier.serve.writing import Written

TEMPLATE = "{{ messages }}<tool_call>{{ tools }}</tool_call>"
CALL = '<tool_call>\n{"name": "look", "arguments": {"city": "Rome"}}\n</tool_call>'


def answer(text: str, tools: set[str], template: str = TEMPLATE) -> dict[str, Any]:
    said: list[EngineReply] = []
    asked = Asked(EngineRequest("r", "generate"), None, said.append)
    written = Written(asked, Writing("?", (Sampling(),), frozenset(tools)), template)
    written.take(Progress("r", Piece(0, text)))
    written.take(Progress("r", Piece(0, "", "stop"), Generation(text, "stop", 3, 5)))
    assert written.left == 0
    assert [reply.event for reply in said] == ["piece", "answer"]
    return said[-1].data


def test_calls_are_read_where_tools_were_given() -> None:
    found = answer(f"Let me see. {CALL}", {"look"})
    assert found["text"] == "Let me see."
    assert found["finish_reason"] == "stop"
    (call,) = found["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": '{"city": "Rome"}'}
    assert answer(CALL, {"look"})["text"] is None


@pytest.mark.parametrize(
    ("tools", "template"), [(set(), TEMPLATE), ({"other"}, TEMPLATE), ({"look"}, ""), ({"look"}, "no calls")]
)
def test_what_is_no_call_stays_a_text(tools: set[str], template: str) -> None:
    found = answer(CALL, tools, template)
    assert found["text"] == CALL
    assert "tool_calls" not in found


def test_nothing_is_said_after_the_end() -> None:
    said: list[EngineReply] = []
    asked = Asked(EngineRequest("r", "generate"), None, said.append)
    asked.say("end")
    asked.say("piece", {})
    asked.fail(RuntimeError("late"))
    assert [reply.event for reply in said] == ["end"]


def test_kinds_of_errors() -> None:
    assert error_data(Busy("full"))["kind"] == "busy"
    assert error_data(MemoryError())["kind"] == "busy"
    assert error_data(RuntimeError("CUDA out of memory"))["kind"] == "busy"
    internal = error_data(RuntimeError("row 7 says: my password"))
    assert internal["kind"] == "internal"
    assert "password" not in str(internal)
