"""What has no word of OpenAI's: labels with scores, numbers, spans, and what a model writes to rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scripted import ScriptedEngine, add_model, fails, says, scripted_wire
from wire import Wire

NANO = "luthier-nano"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, ScriptedEngine]]:
    with scripted_wire(tmp_path_factory.mktemp("predict")) as it:
        for task in ("classify", "regress", "extract"):
            add_model(it[0], f"ft:minilm:local:{task}:abcdefgh", task)
        add_model(it[0], "ft:luthier-nano:local:complete:abcdefgh", "complete", NANO)
        yield it


class Predict:
    def __init__(self, wire: Wire) -> None:
        self.wire, self.key = wire, wire.key("write")

    def __call__(self, **body: Any) -> Any:
        return self.wire.http.post("/luthier/v1/predict", json=body, headers={"authorization": f"Bearer {self.key}"})


@pytest.fixture
def predict(both: tuple[Wire, ScriptedEngine], engine: ScriptedEngine) -> Predict:
    return Predict(both[0])


def answers(*rows: dict[str, Any]) -> Any:
    """The last row first, as batches by length come."""
    return lambda request: [
        *(("prediction", {"index": index, **row}) for index, row in reversed(list(enumerate(rows)))),
        ("end", {}),
    ]


def test_labels_with_scores(predict: Predict, engine: ScriptedEngine) -> None:
    first = {"label": "good", "score": 0.9, "scores": {"good": 0.9, "bad": 0.1}}
    second = {"label": None, "score": 0.5, "scores": {"good": 0.5, "bad": 0.5}, "abstained": True, "spans": None}
    engine.script = answers(first, second)
    name = "ft:minilm:local:classify:abcdefgh"
    answer = predict(model=name, texts=["fine", "so so"], threshold=0.6).json()
    assert (answer["object"], answer["model"], answer["task"]) == ("list", name, "classify")
    assert answer["data"] == [
        {"text": "fine", **first},
        {"text": "so so", "label": None, "score": 0.5, "scores": second["scores"], "abstained": True},
    ]
    assert engine.asked[-1].op == "predict"
    assert engine.body == {"texts": ["fine", "so so"], "threshold": 0.6}


def test_pairs_and_several_labels(predict: Predict, engine: ScriptedEngine) -> None:
    engine.script = answers({"label": "a", "score": 0.9, "scores": {"a": 0.9}, "labels": ["a"]})
    rows = [{"text": "one", "text_pair": "two"}]
    answer = predict(model="ft:minilm:local:classify:abcdefgh", rows=rows).json()
    assert answer["data"] == [
        {"text": "one", "text_pair": "two", "label": "a", "score": 0.9, "scores": {"a": 0.9}, "labels": ["a"]}
    ]
    assert engine.body["texts"] == [["one", "two"]]


def test_numbers_and_spans(predict: Predict, engine: ScriptedEngine) -> None:
    engine.script = answers({"score": 3.5, "values": [3.5]}, {"score": 1.0, "values": [1.0, 2.0]})
    answer = predict(model="ft:minilm:local:regress:abcdefgh", texts=["a", "b"]).json()
    assert answer["data"] == [{"text": "a", "score": 3.5}, {"text": "b", "score": 1.0, "values": [1.0, 2.0]}]
    span = {"start": 0, "end": 3, "label": "PER", "text": "Ada", "score": 0.9}
    engine.script = answers({"spans": [span]}, {"spans": []})
    answer = predict(model="ft:minilm:local:extract:abcdefgh", texts=["Ada", "b"]).json()
    assert answer["data"] == [{"text": "Ada", "spans": [span]}, {"text": "b", "spans": []}]


def test_what_is_written(predict: Predict, engine: ScriptedEngine) -> None:
    engine.script = lambda request: says(request.body.get("prompt") or request.body["messages"][-1]["content"])(request)
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "two"}]
    answer = predict(model=NANO, rows=[{"text": "one"}, {"messages": messages}, {"prompt": "three"}]).json()
    assert answer["task"] == "chat"
    assert answer["data"] == [
        {"input": "one", "output": "one"},
        {"input": messages, "output": "two"},
        {"input": "three", "output": "three"},
    ]
    assert all(one.body["sampling"] == {"max_tokens": 256, "temperature": 0.0} for one in engine.asked)
    predict(model="ft:luthier-nano:local:complete:abcdefgh", texts=["Once"], max_tokens=5)
    assert engine.body["prompt"] == "Once"
    assert engine.body["sampling"]["max_tokens"] == 5


CLASSIFY = "ft:minilm:local:classify:abcdefgh"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": CLASSIFY}, 400, None),
        ({"model": CLASSIFY, "texts": ["a"], "rows": [{"text": "a"}]}, 400, None),
        ({"model": CLASSIFY, "texts": []}, 400, "texts"),
        ({"model": CLASSIFY, "texts": ["a"] * 2049}, 400, "texts"),
        ({"model": CLASSIFY, "texts": ["a"], "threshold": 1.5}, 400, "threshold"),
        ({"model": CLASSIFY, "texts": ["a"], "max_tokens": 5}, 400, "max_tokens"),
        ({"model": CLASSIFY, "rows": [{"prompt": "a"}]}, 400, "rows[0]"),
        ({"model": CLASSIFY, "rows": [{"text": "a", "prompt": "a"}]}, 400, "rows[0]"),
        ({"model": CLASSIFY, "rows": [{"text": "a", "file": "/etc/passwd"}]}, 400, "rows[0].file"),
        ({"model": "minilm", "texts": ["a"]}, 400, "model"),
        ({"model": "/etc", "texts": ["a"]}, 404, "model"),
        ({"model": NANO, "texts": ["a"], "threshold": 0.5}, 400, "threshold"),
        ({"model": NANO, "texts": ["a"] * 65}, 400, "rows"),
        ({"model": NANO, "texts": [" "]}, 400, "rows[0]"),
        ({"model": NANO, "rows": [{"text": "a", "text_pair": "b"}]}, 400, "rows[0].text_pair"),
        ({"model": NANO, "rows": [{"messages": [{"role": "user", "content": ""}]}]}, 400, "rows[0].messages"),
    ],
)
def test_what_is_refused_says_where(
    predict: Predict, engine: ScriptedEngine, body: dict[str, Any], status: int, param: str | None
) -> None:
    answer = predict(**body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert engine.asked == []


def test_what_the_engine_refuses(predict: Predict, engine: ScriptedEngine) -> None:
    engine.script = fails("too_long")
    assert predict(model=CLASSIFY, texts=["a"]).status_code == 400
    engine.script = answers({"label": "a"})
    assert predict(model=CLASSIFY, texts=["a", "b"]).status_code == 500
