"""`luthier predict --server` and `luthier eval --server`: what is sent, and what is made of the answers."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import pytest
from fake_server import KEY, FakeServer, error, serving

from luthier.cli import remote_models


class Models:
    """Answers POST /luthier/v1/predict as the server does; `task` and `answer` are the test's."""

    def __init__(self, task, answer):
        self.task, self.answer, self.sizes = task, answer, []

    def __call__(self, asked):
        if asked.path != "/luthier/v1/predict":
            return None
        body = asked.json
        writes = self.task in ("chat", "complete")
        if "max_tokens" in body and not writes:
            return refused("max_tokens")
        rows = body.get("rows") or [{"text": text} for text in body["texts"]]
        self.sizes.append(len(rows))
        data = [{**({} if writes else row), **self.answer(row)} for row in rows]
        return 200, {"object": "list", "model": body["model"], "task": self.task, "data": data}, {}


def refused(param):
    status, body, headers = error(400, "This model does not write.", "invalid_value")
    body["error"]["param"] = param
    return status, body, headers


def by_length(row):
    score = min(0.9, len(row["text"]) / 20)
    return {"label": "long" if score > 0.5 else "short", "score": score, "scores": {"long": score, "short": 1 - score}}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setenv("LUTHIER_API_KEY", KEY)
    monkeypatch.delenv("LUTHIER_SERVER", raising=False)
    with serving(FakeServer()) as server:
        yield server


def printed(result):
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def test_texts_are_answered_in_order(fake, luthier):
    fake.before = Models("classify", by_length)
    rows = printed(luthier("predict", "ft:m", "a", "a much longer text", "--server", fake.url))
    assert [(row["text"], row["label"]) for row in rows] == [("a", "short"), ("a much longer text", "long")]


def test_a_file_is_sent_in_blocks_with_its_pairs(fake, luthier, here, monkeypatch):
    monkeypatch.setattr(remote_models, "ROWS_AT_ONCE", 4)
    models = fake.before = Models("classify", by_length)
    lines = [json.dumps({"text": f"text {n}", "text_pair": "other"}) for n in range(10)]
    (here / "new.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = printed(luthier("predict", "ft:m", "--file", "new.jsonl", "--server", fake.url, "--threshold", "0.6"))
    assert [row["text"] for row in rows] == [f"text {n}" for n in range(10)]
    assert models.sizes == [1, 4, 4, 2]  # the first asks what the model does
    assert fake.asked[-1].json["rows"][0] == {"text": "text 8", "text_pair": "other"}
    assert fake.asked[-1].json["threshold"] == 0.6


def test_conversations_of_a_file_are_asked_without_their_last_answer(fake, luthier, here):
    fake.before = Models("chat", lambda row: {"input": row.get("messages") or row["text"], "output": "Hello."})
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    (here / "chats.jsonl").write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    command = ("predict", "ft:m", "--file", "chats.jsonl", "--server", fake.url, "--max-tokens", "9")
    assert printed(luthier(*command)) == [{"input": turns[:1], "output": "Hello."}]
    assert fake.asked[-1].json == {"model": "ft:m", "rows": [{"messages": turns[:1]}], "max_tokens": 9}


def test_lines_of_a_pipe_are_sent(fake, luthier, monkeypatch):
    fake.before = Models("classify", by_length)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"one\n\ntwo\n")))
    rows = printed(luthier("predict", "ft:m", "--file", "-", "--server", fake.url))
    assert [row["text"] for row in rows] == ["one", "two"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--temperature", "0.5"], "--temperature does not go with --server"),
        (["--seed", "1"], "--seed does not go with --server"),
        (["--json-schema", "x.json"], "--json-schema does not go with --server"),
    ],
)
def test_what_the_server_cannot_do_is_told_before_anything_is_sent(fake, luthier, words, told):
    result = luthier("predict", "ft:m", "text", "--server", fake.url, *words)
    assert result.code == 2
    assert told in result.err
    assert fake.asked == []


def test_an_unknown_model_is_told(fake, luthier):
    fake.before = lambda asked: error(404, "The model 'ft:m' does not exist.", "model_not_found")
    result = luthier("predict", "ft:m", "text", "--server", fake.url)
    assert result.code == 1
    assert "The model 'ft:m' does not exist." in result.err


@pytest.mark.parametrize(
    ("task", "answer", "row", "metric", "value"),
    [
        ("classify", by_length, {"text": "a much longer text", "label": "long"}, "accuracy", 1.0),
        ("classify", by_length, {"text": "a much longer text", "label": "short"}, "accuracy", 0.0),
        ("regress", lambda row: {"score": 2.0}, {"text": "a", "score": 5.0}, "mae", 3.0),
        (
            "extract",
            lambda row: {"spans": [{"start": 0, "end": 3, "label": "NAME", "text": "Ada", "score": 0.9}]},
            {"text": "Ada sings", "spans": [{"start": 0, "end": 3, "label": "NAME"}]},
            "f1",
            1.0,
        ),
    ],
)
def test_answers_of_the_server_are_judged_here(fake, luthier, here, task, answer, row, metric, value):
    fake.before = Models(task, answer)
    (here / "test.jsonl").write_text((json.dumps(row) + "\n") * 12, encoding="utf-8")
    result = luthier("eval", "ft:m", "--data", "test.jsonl", "--server", fake.url, "--json")
    [found] = printed(result)
    assert found["rows"] == 12
    assert found["metrics"][metric]["value"] == pytest.approx(value)


def test_a_model_that_writes_is_judged_by_its_answers(fake, luthier, here):
    fake.before = Models("chat", lambda row: {"input": row, "output": "right"})
    answers = ({"role": "assistant", "content": text} for text in ["right", "wrong"] * 10)
    rows = [{"messages": [{"role": "user", "content": f"{n}?"}, answer]} for n, answer in enumerate(answers)]
    (here / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = ("eval", "ft:m", "--data", "test.jsonl", "--server", fake.url)
    [found] = printed(luthier(*command, "--json"))
    assert (found["rows"], found["answered"]) == (20, 20)
    assert found["metrics"]["exact_match"]["value"] == 0.5
    assert "loss" not in found["metrics"]
    [some] = printed(luthier(*command, "--json", "--generate-rows", "5"))
    assert some["answered"] == 5
    shown = luthier(*command)
    assert "20 rows, 20 of them answered" in shown.out
    assert "answered  right" in shown.out
    assert luthier(*command, "--generate-rows", "0").code == 1
    assert luthier(*command, "--task", "classify").code == 2
    assert luthier(*command, "--train", "x.csv").code == 2
