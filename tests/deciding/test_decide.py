"""Decisions end to end, with tiny models and an endpoint of this process."""

from __future__ import annotations

import csv
import json
import re

import pytest
from fake_endpoint import FakeEndpoint
from toy import BAD, FILL, GOOD

import luthier
from luthier.core.errors import DataError, RecipeError, UsageError
from luthier.deciding import rows as deciding_rows
from luthier.deciding.rows import open_rows, write_rows
from luthier.models.language_predictor import LanguageModel

QUICK = ("train.epochs=6", "train.learning_rate=0.003", "train.batch_size=8")


def review(number):
    """A text that says what it is by one word of several, and its label."""
    good = number % 2 == 0
    word = (GOOD if good else BAD)[number % len(GOOD if good else BAD)]
    return f"{FILL[number % len(FILL)]} {word} {FILL[(3 * number) % len(FILL)]} {FILL[(7 * number) % len(FILL)]}", (
        "good" if good else "bad"
    )


def write_csv(path, count, begin=0):
    with path.open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["text", "label"])
        table.writerows(review(number) for number in range(begin, begin + count))
    return path


def write_chat(path, count):
    names = ["ada", "bob", "cleo", "dora", "emil", "fritz"]
    lines = []
    for number in range(count):
        name = names[number % 6]
        lines.append({"messages": [{"role": "user", "content": f"who is number {number}?"},
                                   {"role": "assistant", "content": f"{name} is number {number}"}]})  # fmt: skip
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


@pytest.fixture
def reviews(tmp_path):
    return write_csv(tmp_path / "reviews.csv", 96)


def decide(data, here, **options):
    return luthier.decide(data, out=here / "decisions", overrides=QUICK, **{"budget": 300.0} | options)


def states(decided):
    return {arm.name: arm.state for arm in decided.arms}


def test_classification_with_every_arm(reviews, tmp_path, encoder, writer):
    decided = decide(reviews, tmp_path, model=str(encoder), generator=str(writer))
    assert set(states(decided)) == {
        "majority", "tfidf", "frozen", "nearest rows", "labels described", "head only", "LoRA", "full fine-tuning",
        "tuned with nearest rows", "zero-shot prompt", "few-shot prompt", "chosen instruction",
    }  # fmt: skip
    assert set(states(decided).values()) == {"measured"}
    scores = {arm.name: arm.score.interval.value for arm in decided.arms}
    assert scores["tfidf"] == 1.0  # one word decides
    assert scores["majority"] == pytest.approx(0.5, abs=0.1)
    assert decided.decision.arm.name in {name for name, value in scores.items() if value > 0.9}
    assert all(arm.latency_ms > 0 for arm in decided.arms)
    assert not [arm.detail for arm in decided.arms if str(encoder) in arm.detail]  # folders are called by their name
    nearest = next(arm for arm in decided.arms if arm.name == "nearest rows")
    assert nearest.following.share.value > 0.5
    assert nearest.following.seconds is not None
    tuned = next(arm for arm in decided.arms if arm.name == "full fine-tuning")
    assert tuned.following.seconds is None
    assert luthier.load(tuned.run).predict(["x"])

    told = json.loads((decided.path / "decision.json").read_text())
    assert told == json.loads(json.dumps(decided.to_dict()))
    for arm in told["arms"]:
        assert {"name", "metrics", "cost", "latency_ms"} <= arm.keys()
        assert {"value", "low", "high"} == arm["metrics"]["accuracy"].keys()
    assert {"arm", "text", "ties"} <= told["verdict"].keys()
    page = (decided.path / "decision.html").read_text()
    assert decided.decision.text.split(":")[0] in page
    assert "nearest rows" in page
    assert not re.search(r"(src|href)=\"https?:", page)


def test_a_model_that_knows_the_answer_wins_with_twenty_rows(tmp_path, encoder):
    """The label is the parity of a number's digits together: no word tells it, and the endpoint knows it."""

    def label_of(text):
        return "odd" if sum(map(int, text.split()[-1])) % 2 else "even"

    for name, numbers in (("few", range(100, 120)), ("test", range(2000, 2060))):
        lines = [f"code {number},{label_of(str(number))}" for number in numbers]
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    train, test = tmp_path / "few.csv", tmp_path / "test.csv"

    def answer(body):
        return json.dumps({"label": label_of(body["messages"][-1]["content"])})

    with FakeEndpoint(answer) as server:
        decided = decide(
            train, tmp_path, test=test, model=str(encoder), endpoint=server.url, name="big",
            arms=("tfidf", "labels described", "nearest rows", "prompt", "head only"),
            prices=luthier.approaches.arm.Prices(prompt=1.0, completion=2.0),
        )  # fmt: skip
    assert decided.decision.best.family == "prompt"
    prompt = next(arm for arm in decided.arms if arm.name == "zero-shot prompt")
    assert prompt.score.interval.value == 1.0
    assert (prompt.usage.requests, prompt.usage.prompt_tokens) == (60, 660)
    assert prompt.to_dict(decided.prices)["cost"]["per_1000"] == pytest.approx(
        1000 * (prompt.answer_seconds / 3600 * 0.1 + (660 + 2 * 180) / 1e6) / 60
    )
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"]["enum"] == ["even", "odd"]


@pytest.mark.parametrize("reply", [(500, b"down", {}), (200, b"<html>", {}), (401, {"error": "no"}, {})])
def test_an_endpoint_that_fails_is_one_failed_arm(reviews, tmp_path, encoder, monkeypatch, reply):
    monkeypatch.setattr("luthier.approaches.endpoint.FIRST_WAIT", 0.001)
    monkeypatch.setattr("luthier.core.clock.sleep", lambda seconds: None)
    with FakeEndpoint(lambda body: reply) as server:
        decided = decide(
            reviews, tmp_path, model=str(encoder), endpoint=server.url, name="big", arms=("tfidf", "zero-shot prompt")
        )
    assert states(decided) == {"tfidf": "measured", "zero-shot prompt": "failed"}
    assert "endpoint" in decided.arms[1].why
    assert decided.decision.arm.name == "tfidf"


def test_rubbish_answers_are_scored_as_what_they_are(reviews, tmp_path, encoder):
    with FakeEndpoint(lambda body: "I would rather talk about the weather.") as server:
        decided = decide(
            reviews, tmp_path, model=str(encoder), endpoint=server.url, name="big", arms=("tfidf", "zero-shot prompt")
        )
    assert decided.arms[-1].score.interval.value == 0.0


def test_what_does_not_fit_into_the_budget_is_not_run(reviews, tmp_path, encoder):
    decided = decide(reviews, tmp_path, model=str(encoder), budget=0.001)
    assert set(states(decided).values()) <= {"not run", "dropped", "measured"}
    assert states(decided)["full fine-tuning"] == "not run"
    assert "budget" in next(arm.why for arm in decided.arms if arm.name == "full fine-tuning")
    assert decided.decision.text


def test_a_training_that_is_too_long_is_stopped_early(reviews, tmp_path, encoder):
    decided = decide(
        reviews, tmp_path, model=str(encoder), budget=20.0, arms=("tfidf", "full fine-tuning"),
    )  # fmt: skip
    assert states(decided)["full fine-tuning"] == "measured"
    slow = luthier.decide(
        reviews, out=tmp_path / "slow", model=str(encoder), budget=15.0, arms=("full fine-tuning",),
        overrides=("train.epochs=100000", "train.patience=100000"),
    )  # fmt: skip
    assert slow.arms[0].state == "not run"
    assert "would need about" in slow.arms[0].why
    assert slow.seconds < 15.0


def test_texts(tmp_path, writer, monkeypatch):
    data = write_chat(tmp_path / "chat.jsonl", 48)
    (tmp_path / "handbook").mkdir()
    (tmp_path / "handbook" / "a.md").write_text("ada is number 0\n\nbob is number 1\n")
    (tmp_path / "handbook" / "b.bin").write_bytes(b"\0\0")
    decided = decide(
        data, tmp_path, model=str(writer), generator=str(writer), knowledge=[tmp_path / "handbook"],
        arms=("nearest answer", "nearest passage", "zero-shot prompt", "rag", "LoRA", "rag on tuned"),
    )  # fmt: skip
    assert set(states(decided).values()) == {"measured"}
    nearest = next(arm for arm in decided.arms if arm.name == "nearest answer")
    assert nearest.score.metric == decided.metric
    assert nearest.following.share.value > 0.8
    assert any("b.bin" in note for note in decided.notes)
    tuned = next(arm for arm in decided.arms if arm.name == "LoRA")
    assert luthier.load(tuned.run).task == "chat"


def test_an_assistant_of_ones_own_is_an_arm_and_does_only_what_is_allowed(reviews, tmp_path, writer):
    names = ["ada", "bob", "cleo", "dora", "emil", "fritz"]
    (tmp_path / "tools.py").write_text(
        f"def look(number):\n    return {names!r}[number % 6]\ndef change():\n    open('changed', 'w').close()\n"
    )

    def answer(body):
        number = int(re.search(r"\d+", next(turn["content"] for turn in body["messages"] if turn["role"] == "user"))[0])
        results = [turn["content"] for turn in body["messages"] if turn["role"] == "tool"]
        if results:
            assert results[1] == "The user did not agree to this call."
            return f"{results[0]} is number {number}"
        calls = [
            {"id": name, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for name, arguments in (("look", {"number": number}), ("change", {}))
        ]
        return 200, {"choices": [{"message": {"content": None, "tool_calls": calls}}]}, {}

    data = write_chat(tmp_path / "chat.jsonl", 48)
    own = tmp_path / "own.yaml"
    with FakeEndpoint(answer) as server:
        own.write_text(
            f"name: own\nendpoint: {{url: '{server.url}', name: big}}\nactions:\n"
            "  - {name: look, python: 'tools:look', confirm: false}\n  - {name: change, python: 'tools:change'}\n"
        )
        decided = decide(data, tmp_path, model=str(writer), generator=str(writer), assistant=own,
                         arms=("nearest answer", "assistant"))  # fmt: skip
    assert states(decided)["assistant"] == "measured"
    found = next(arm for arm in decided.arms if arm.name == "assistant")
    assert found.score.interval.value == 1.0
    assert found.detail.startswith("own: big at ")
    assert found.usage.requests == 2 * found.rows
    assert not (tmp_path / "changed").exists()
    with pytest.raises(UsageError) as caught:
        decide(reviews, tmp_path, model=str(writer), assistant=own)
    assert caught.value.code == "not_language_data"


def test_numbers_and_spans(tmp_path, encoder):
    stars = tmp_path / "stars.csv"
    with stars.open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["text", "score"])
        for number in range(64):
            text, label = review(number)
            table.writerow([text, (4.0 if label == "good" else 1.0) + 0.01 * (number % 7)])
    decided = decide(stars, tmp_path, model=str(encoder), arms=("tfidf", "nearest rows", "head only", "retrieval"))
    assert set(states(decided).values()) == {"measured"}
    assert decided.metric == "spearman"

    spans = tmp_path / "spans.jsonl"
    lines = []
    for number in range(64):
        text, _ = review(number)
        word = text.split()[1]
        begin = text.index(word)
        lines.append({"text": text, "spans": [{"start": begin, "end": begin + len(word), "label": "opinion"}]})
    spans.write_text("\n".join(map(json.dumps, lines)))
    decided = decide(spans, tmp_path, model=str(encoder), arms=("dictionary", "head only"))
    assert states(decided) == {"dictionary": "measured", "head only": "measured"}


def test_mistakes_are_told_before_anything_is_built(reviews, tmp_path):
    write_csv(tmp_path / "seven.csv", 7)
    with pytest.raises(DataError) as caught:
        decide(tmp_path / "seven.csv", tmp_path)
    assert caught.value.code == "too_few_rows"
    with pytest.raises(UsageError) as caught:
        decide(reviews, tmp_path, arms=("nothing such",))
    assert caught.value.code == "unknown_arm"
    assert "tfidf" in caught.value.remedy
    with pytest.raises(RecipeError):
        luthier.decide(reviews, out=tmp_path / "x", overrides=("train.epoch=3",))
    with pytest.raises(UsageError):
        decide(reviews, tmp_path, endpoint="nowhere", name="x")
    with pytest.raises(DataError) as caught:
        decide(reviews, tmp_path, test=reviews)
    assert caught.value.code == "leak"
    with pytest.raises(DataError) as caught:
        decide(reviews, tmp_path, knowledge=[tmp_path / "gone"])
    assert caught.value.code == "knowledge_missing"


def test_twelve_rows_are_judged_and_said_to_be_few(tmp_path, encoder):
    decided = decide(write_csv(tmp_path / "twelve.csv", 12), tmp_path, model=str(encoder), arms=("majority", "tfidf"))
    assert set(states(decided).values()) == {"measured"}
    assert any("held-out rows" in note and "wide" in note for note in decided.notes)


def test_a_second_set_confirms(reviews, tmp_path, encoder):
    more = write_csv(tmp_path / "more.csv", 40, begin=500)
    decided = decide(reviews, tmp_path, model=str(encoder), arms=("majority", "tfidf"), confirm=more)
    assert [arm.second_half for arm in decided.arms] == [pytest.approx(0.5), 1.0]


def test_the_parts_are_disjoint_and_written_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(deciding_rows, "MOST_HELD_OUT", 10)
    data = write_csv(tmp_path / "rows.csv", 96)
    rows = open_rows(str(data), seed=3)
    parts = [{sample.text for sample in part} for part in (rows.train, rows.validation, rows.held_out)]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert len(rows.held_out) == 10
    monkeypatch.undo()
    write_rows(tmp_path / "again.jsonl", rows.train, rows.form)
    again = open_rows(str(tmp_path / "again.jsonl"))
    assert sorted((s.text, s.target) for s in [*again.train, *again.validation, *again.held_out]) == sorted(
        (s.text, s.target) for s in rows.train
    )


def test_many_answers_to_one_question_are_as_likely_as_each_alone(writer):
    from luthier.core.conversation import Conversation, Message
    from luthier.data.samples import Sample

    model = LanguageModel.load_base(str(writer), task="chat")
    asked = (Message("system", "Sort."), Message("user", "Where is my parcel?"))
    samples = [
        Sample("", target=Conversation((*asked, Message("assistant", answer))))
        for answer in ("late", "late again", "lost", "l", "")
    ]
    alone = [found for sample in samples for found in model.likelihood([sample])]
    together = model.likelihood_of_each(samples)
    assert [found.loss_sum for found in together] == pytest.approx([found.loss_sum for found in alone], rel=1e-5)
    assert [found.weight for found in together] == [found.weight for found in alone]
    assert model.likelihood_of_each(samples[:1])[0].loss_sum == pytest.approx(alone[0].loss_sum, rel=1e-5)
    assert model.likelihood_of_each([]) == []


def test_a_model_that_continues_text_is_asked_in_text(tmp_path, writer):
    from luthier.core.conversation import Conversation, Message
    from luthier.core.generation import Sampling
    from luthier.deciding.local_model import LocalModel

    model = LocalModel(LanguageModel.load_base(str(writer), task="complete"), "it")
    asked = Conversation((Message("system", "Sort."), Message("user", "Where?")))
    assert model.fits(asked, 8)
    short = Sampling(max_tokens=3)
    assert model.generate([asked], short) == model.generate(["Sort.\n\nWhere?"], short)
