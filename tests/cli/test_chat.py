"""`luthier chat`: several turns, streamed; commands; Ctrl-C; through a pipe."""

from __future__ import annotations

import builtins
import io
import json
import os
import signal
import sys

import pytest
from fake_writer import FakeWriter

from luthier.core.conversation import Conversation
from luthier.core.generation import Sampling


@pytest.fixture
def writer(api, here):
    (here / "run" / "model").mkdir(parents=True)
    (here / "run" / "model" / "luthier.json").write_text("{}", encoding="utf-8")
    api.predictor = FakeWriter()
    return api.predictor


@pytest.fixture
def pipe(monkeypatch):
    def give(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))

    return give


@pytest.fixture
def type_in(monkeypatch):
    """Lines that a person types; an exception is what a key raises."""

    def give(*lines) -> None:
        waiting = iter(lines)

        def typed(prompt: str = "") -> str:
            line = next(waiting, EOFError())
            if isinstance(line, BaseException):
                raise line
            return line

        terminal = io.StringIO()
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(builtins, "input", typed)

    return give


def test_a_pipe_is_one_turn_per_line_of_one_conversation(writer, luthier, pipe):
    pipe("hello\n\nand then\n/quit\nnever\n")
    result = luthier("chat", "run", "--system", "be brief")
    assert (result.code, result.err) == (0, "")
    assert result.out == "S:BE BRIEF U:HELLO\nS:BE BRIEF U:HELLO A:S:BE BRIEF U:HELLO U:AND THEN\n"
    assert [sampling for _, sampling in writer.asked] == [Sampling(temperature=0.7)] * 2


def test_commands_work_in_a_pipe_too(writer, luthier, pipe):
    pipe("a\n/reset\nb\n/system new rules\nc\n/system\nd\n/sytem x\n/etc/hosts\n")
    result = luthier("chat", "run", "--system", "old")
    assert result.out.splitlines() == [
        "S:OLD U:A", "S:OLD U:B", "S:NEW RULES U:C", "U:D", "U:D A:U:D U:/ETC/HOSTS"
    ]  # fmt: skip
    assert "no command /sytem" in result.err


def test_json_lines(writer, luthier, pipe):
    pipe("a\nb\n")
    result = luthier("chat", "run", "--json", "--temperature", "0", "--max-tokens", "7", "--seed", "4")
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert rows[0] == {
        "input": "a", "output": "U:A", "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 4
    }  # fmt: skip
    assert rows[1]["output"] == "U:A A:U:A U:B"
    assert writer.asked[0][1] == Sampling(max_tokens=7, seed=4)


def test_an_error_in_a_pipe_names_its_line(writer, luthier, pipe):
    pipe("a\nb\nc\nd\n")
    result = luthier("chat", "run")
    assert result.code == 2
    assert "stdin:4" in result.err
    assert "Traceback" not in result.err


def test_in_a_terminal_answers_come_as_they_are_made(writer, luthier, type_in):
    type_in("hello\x1b there", "", "again", "/quit")
    result = luthier("chat", "run")
    assert result.code == 0, result.err
    assert "U:HELLO\N{REPLACEMENT CHARACTER} THERE\n" in result.out
    assert "U:AGAIN" in result.out
    assert "\x1b there" not in result.out
    assert len(writer.asked) == 2


def test_ctrl_c_stops_the_answer_and_not_the_program(writer, luthier, type_in):
    writer.interrupt_after = 1
    type_in("one two", KeyboardInterrupt(), "three", EOFError())
    result = luthier("chat", "run")
    assert result.code == 0, result.err
    assert "[stopped]" in result.out
    assert "/quit or Ctrl-D" in result.out
    second = writer.asked[1][0]
    assert isinstance(second, Conversation)
    assert [message.content for message in second.messages] == ["one two", "U:ONE ", "three"]


def test_a_turn_that_fails_is_forgotten(writer, luthier, type_in):
    type_in("a", "b", "c", "d", "/reset", "e", "/quit")
    result = luthier("chat", "run")
    assert result.code == 0, result.err
    assert "too long" in result.out
    assert result.out.endswith("you: U:E\nyou: ")


def test_sigterm_ends_it_and_the_handler_is_put_back(writer, luthier, type_in, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)

    def killed(prompts, sampling=None):
        os.kill(os.getpid(), signal.SIGTERM)
        yield from ()

    monkeypatch.setattr(writer, "stream_pieces", killed)
    type_in("a", "never")
    result = luthier("chat", "run")
    assert result.code == 1
    assert "stopped on request" in result.err
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_model_that_only_continues_text_has_no_memory(writer, luthier, pipe):
    writer.task = "complete"
    pipe("a\nb\n/system x\n")
    result = luthier("chat", "run")
    assert result.out == "A\nB\n"
    assert "takes no instructions" in result.err
    pipe("")
    assert luthier("chat", "run", "--system", "x").code == 2


def test_a_run_that_does_not_write_is_refused(api, luthier, here, pipe):
    (here / "luthier.json").write_text("{}", encoding="utf-8")
    pipe("a\n")
    result = luthier("chat", here)
    assert result.code == 1
    assert "trained for classify: it writes no text" in result.err


def test_bases_that_do_not_write_or_are_not_there(luthier, here, pipe):
    pipe("a\n")
    for name, said in (("minilm", "encoder"), ("no-such-model", "no-such-model"), (str(here), "no trained model")):
        result = luthier("chat", name)
        assert result.code == 1, result.err
        assert said in result.err


SHOP = """name: shop
instructions: Be kind.
actions:
  - {name: look, python: "tools:look", confirm: false}
  - {name: change, python: "tools:change"}
"""


@pytest.fixture
def shop(here, monkeypatch):
    """An assistant's file with two actions, and a model that asks for what `wanted` names."""
    from luthier.core.generation import Generation
    from luthier.deciding import assistants

    class Model:
        name, local, wanted = "fake", True, "look"

        def fits(self, conversation, max_tokens):
            return True

        def generate(self, prompts, sampling=None):
            last = prompts[-1].messages[-1].content
            asked = {"answer": last} if last.startswith("Result") else {"action": self.wanted, "arguments": {}}
            return [Generation(json.dumps(asked), "stop", 5, 2)]

    (here / "tools.py").write_text("def look():\n    return 'seen'\ndef change():\n    return 'changed'\n")
    (here / "shop.yaml").write_text(SHOP)
    model = Model()
    monkeypatch.setattr(assistants, "model_of", lambda file: model)
    return model


def test_an_assistant_does_what_needs_no_agreement(shop, luthier, pipe):
    pipe("look\n")
    result = luthier("chat", "shop.yaml")
    assert (result.code, result.out) == (0, "Result: seen\n")
    assert "look({})" in result.err


def test_through_a_pipe_nobody_agrees_unless_it_is_allowed(shop, luthier, pipe):
    shop.wanted = "change"
    pipe("change\n")
    assert luthier("chat", "shop.yaml").out == "Result: The user did not agree to this call.\n"
    pipe("change\n")
    assert luthier("chat", "shop.yaml", "--allow", "change").out == "Result: changed\n"
    pipe("x\n")
    refused = luthier("chat", "shop.yaml", "--allow", "nothing")
    assert refused.code == 2
    assert "change" in refused.err


@pytest.mark.parametrize(("said", "answer"), [("y", "changed"), ("n", "did not agree"), ("", "did not agree")])
def test_a_person_is_asked_before_each_call(shop, luthier, type_in, said, answer):
    shop.wanted = "change"
    type_in("change it", said, "/quit")
    assert answer in luthier("chat", "shop.yaml").out


def test_what_a_person_agrees_to_is_what_is_shown(monkeypatch):
    from luthier.cli.chat import _agreed

    asked = []
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or " Yes ")
    assert _agreed("pay", {"to": "a\u202eb\u200b\x1b[2K\n", "town": "Łódź"})
    assert asked == ['Run pay({"to": "a\\u202eb\\u200b\\u001b[2K\\n", "town": "Łódź"})? [y/N] ']


def test_only_an_assistant_has_actions_to_allow(writer, luthier, pipe):
    pipe("x\n")
    assert luthier("chat", "run", "--allow", "look").code == 2
