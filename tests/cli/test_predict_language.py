"""`luthier predict` with a model that writes."""

from __future__ import annotations

import io
import json
import sys

import pytest
from fake_writer import FakeWriter

from luthier.cli.predict import pairs
from luthier.core.generation import Sampling


@pytest.fixture
def writer(api):
    api.predictor = FakeWriter()
    return api.predictor


def rows_of(result):
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_texts_are_answered_in_order(writer, luthier, here):
    found = rows_of(luthier("predict", here, "one", "two\u2028lines"))
    assert found == [{"input": "one", "output": "ONE"}, {"input": "two\u2028lines", "output": "TWO\u2028LINES"}]
    assert writer.asked[0][1] == Sampling()


def test_the_last_learned_answer_of_each_row_is_asked_for(writer, luthier, here):
    talk = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]
    muted = [*talk[:3], {**talk[3], "weight": 0}]
    open_end = talk[:3]
    data = jsonl(here / "chats.jsonl", [{"messages": messages} for messages in (talk, muted, open_end)])
    found = rows_of(luthier("predict", here, "--file", data))
    assert [row["output"] for row in found] == ["U:A A:B U:C", "U:A", "U:A"]
    assert found[0]["input"] == talk[:3]


def test_questions_without_answers_are_answered(writer, luthier, here):
    data = jsonl(here / "asked.jsonl", [{"messages": [{"role": "user", "content": "a"}]}, {"messages": "x"}])
    result = luthier("predict", here, "--file", data)
    assert result.code == 1
    assert "asked.jsonl:2" in result.err
    data = jsonl(here / "asked.jsonl", [{"messages": [{"role": "user", "content": text}]} for text in "abcdefg"])
    assert [row["output"] for row in rows_of(luthier("predict", here, "--file", data))] == [
        f"U:{letter}" for letter in "ABCDEFG"
    ]


def test_prompts_are_completed(writer, luthier, here):
    writer.task = "complete"
    data = jsonl(here / "prompts.jsonl", [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}])
    assert rows_of(luthier("predict", here, "--file", data)) == [
        {"input": "a", "output": "A"},
        {"input": "c", "output": "C"},
    ]


def test_stdin_as_lines_and_as_json(writer, luthier, here, monkeypatch):
    def give(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))

    give("one\n\ntwo\n")
    assert [row["output"] for row in rows_of(luthier("predict", here, "--file", "-"))] == ["ONE", "TWO"]
    messages = [{"role": "user", "content": "x"}]
    give(json.dumps({"messages": messages}) + '\n{"prompt": "p"}\n')
    assert [row["input"] for row in rows_of(luthier("predict", here, "--file", "-"))] == [messages, "p"]
    give('{"prompt": "p"}\nplain\n')
    result = luthier("predict", here, "--file", "-")
    assert result.code == 1
    assert "stdin:2" in result.err


def test_settings_reach_the_model(writer, luthier, here):
    (here / "schema.json").write_text('{"type": "array"}', encoding="utf-8")
    words = ("--temperature", "0.5", "--max-tokens", "9", "--seed", "3", "--json-schema", "schema.json")
    assert luthier("predict", here, "x", *words).code == 0
    assert writer.asked[0][1] == Sampling(max_tokens=9, temperature=0.5, seed=3, json_schema={"type": "array"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--temperature", "-1"), "temperature"),
        (("--max-tokens", "0"), "max_tokens"),
        (("--json-schema", "none.json"), "No such file"),
        (("--json-schema", "list.json"), "no JSON object"),
        (("--json-schema", "broken.json"), "not JSON"),
    ],
)
def test_wrong_settings_are_named(writer, luthier, here, words, said):
    (here / "list.json").write_text("[]", encoding="utf-8")
    (here / "broken.json").write_text("{", encoding="utf-8")
    result = luthier("predict", here, "x", *words)
    assert result.code == 2
    assert said in result.err


def test_a_classifier_takes_no_such_settings(api, luthier, here):
    result = luthier("predict", here, "x", "--max-tokens", "5")
    assert result.code == 2
    assert "--max-tokens is for models that write" in result.err


def test_what_is_held_is_what_the_model_read_ahead(writer):
    answers = pairs(writer, (str(number) for number in range(10**9)), sampling=Sampling())
    for number in range(50):
        asked, answer = next(answers)
        assert (asked, answer.output) == (str(number), str(number))
    assert writer.furthest <= 50 + writer.window
