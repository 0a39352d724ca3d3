"""Answers learned by heart: the one-pass test is greedy decoding, controls decide, canaries are exposed."""

from __future__ import annotations

import json
import math

import pytest
from tiny_causal import tiny_causal

import luthier
from luthier.core.conversation import Completion, Conversation, Message
from luthier.core.errors import RecipeError
from luthier.core.generation import Likelihood, Sampling
from luthier.core.recipe import Recipe
from luthier.data.canaries import OTHERS, SOURCE, canaries, plant
from luthier.data.prepare import prepare
from luthier.data.samples import Sample
from luthier.evaluate.generation.memorisation import answers_only, memorisation, reproduced, share
from luthier.evaluate.generation.questions import question_of
from luthier.evaluate.report_page import render_page
from luthier.models.language_predictor import LanguageModel


class Knows:
    """Finds every token of the rows in `known` likeliest, and half of those of any other row."""

    def __init__(self, known=(), loss=lambda sample: 1.0):
        self.known, self.loss = set(known), loss

    def likelihood(self, samples):
        for sample in samples:
            yield Likelihood(self.loss(sample), 8.0, 8.0 if sample.text in self.known else 4.0)

    def generate(self, prompts, sampling=None):
        raise AssertionError("nothing is generated")


def asked(name, answer="an answer"):
    return Sample(name, target=Completion(name, answer), line=1)


TRAIN = [asked(f"train {i}", "an answer " * (i + 1)) for i in range(40)]
HELD = [asked(f"held {i}") for i in range(40)]


def test_training_rows_that_only_the_tuned_model_knows_are_memorised():
    tuned = Knows({f"train {i}" for i in range(20)} | {"held 0"})
    found = memorisation(tuned, Knows(), TRAIN, HELD)
    assert found["train"]["value"] == 0.5
    assert found["held_out"]["value"] == 1 / 40
    assert found["base"]["value"] == 0
    assert found["found"] is True
    assert "50 % (35 to 65 %) of 40 training answers" in found["sentence"]
    assert found["sentence"].endswith("it has learned training rows by heart.")
    assert [row["text"] for row in found["examples"]] == ["train 19", "train 18", "train 17"]


def test_short_common_answers_are_no_memorisation():
    found = memorisation(Knows({f"{kind} {i}" for kind in ("train", "held") for i in range(30)}), Knows(), TRAIN, HELD)
    assert found["found"] is False
    assert "no more than chance allows" in found["sentence"]


def test_what_the_base_knew_already_was_not_memorised():
    knows = Knows({f"train {i}" for i in range(40)})
    assert memorisation(knows, knows, TRAIN, HELD)["found"] is False
    assert memorisation(knows, None, TRAIN, [])["found"] is None


def test_nothing_to_look_at_is_nothing():
    assert memorisation(Knows(), None, [], []) is None
    assert share([]) is None


def test_wilsons_interval_by_hand():
    """(p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) for 8 of 10."""
    z, n, p = 1.959964, 10, 0.8
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = share([True] * 8 + [False] * 2)
    assert found.low == pytest.approx((p + z * z / (2 * n) - half) / (1 + z * z / n), abs=1e-6)
    assert found.high == pytest.approx((p + z * z / (2 * n) + half) / (1 + z * z / n), abs=1e-6)


def test_rows_are_spread_and_only_the_last_answer_counts():
    turns = tuple(Message(role, f"{role} {i}") for i in range(2) for role in ("user", "assistant"))
    rows = [Sample("x", target=Conversation(turns), line=i) for i in range(10)]
    found = answers_only(rows, 5, 10)
    assert [row.line for row in found] == [1, 3, 5, 7, 9]
    assert [turn.weight for turn in found[0].target.messages if turn.role == "assistant"] == [0.0, 1.0]
    plain = [Sample("text", target=Completion("", "text"))] * 4
    assert answers_only(plain, 4, 4) == []
    assert len(answers_only(rows, 100, 10)) == 10
    assert answers_only(rows, 0, 10) == []


def test_exposure_is_the_rank_among_secrets_of_the_same_form():
    planted = canaries("complete", 3, 0)
    secrets = {canary.secret for canary in planted}
    knows = Knows(loss=lambda sample: 0.1 if sample.target.completion.strip() in secrets else 1.0)
    found = memorisation(knows, Knows(loss=lambda sample: float(sample.target.completion)), [], [], planted)
    assert found["canaries"]["exposure"] == 8
    assert [row["rank"] for row in found["canaries"]["rows"]] == [1, 1, 1]
    for row, canary in zip(found["canaries"]["rows"], planted, strict=True):
        smaller = sum(float(other.target.completion) < float(canary.secret) for other in canary.others)
        assert row["base_exposure"] == pytest.approx(8 - math.log2(1 + smaller))
    assert "8.0 of 8 bits" in found["canaries"]["sentence"]


@pytest.mark.parametrize("task", ["chat", "complete"])
def test_canaries_differ_in_their_secret_only(task):
    first, second = canaries(task, 2, 7)
    assert canaries(task, 2, 7) == [first, second]
    assert canaries(task, 2, 8)[0].secret != first.secret
    assert len({question_of(row).reference for row in [first.planted, *first.others]}) == OTHERS + 1
    assert {question_of(row).text for row in [first.planted, *first.others]} == {first.planted.text}
    assert first.planted.text != second.planted.text


def write_chat(path, count, offset=0):
    words = ("red", "green", "blue", "one", "two", "three")
    with open(path, "w") as handle:
        for i in range(offset, offset + count):
            answer = f"{words[i % 6]} {words[i * i % 5]} {words[i // 2 % 6]}"
            turns = [{"role": "user", "content": f"row {i}"}, {"role": "assistant", "content": answer}]
            handle.write(json.dumps({"messages": turns}) + "\n")
    return str(path)


def test_planted_rows_are_seen_and_told(tmp_path):
    path = write_chat(tmp_path / "train.jsonl", 12)
    prepared = prepare(Recipe.build({"data": {"train": path, "validation": 0.25}}).data, "chat", 0)
    planted = plant(prepared, 2, 0)
    assert len(planted.train) == len(list(planted.train)) == len(prepared.train) + 2
    assert [row.source == SOURCE for row in planted.train][-3:] == [False, True, True]
    assert planted.description["canaries"] == 2
    assert "canaries" not in prepared.description
    labels = tmp_path / "labels.csv"
    labels.write_text("text,label\n" + "".join(f"text {i * 31},{'ab'[i % 2]}\n" for i in range(20)))
    with pytest.raises(RecipeError, match=r"models that write") as caught:
        plant(prepare(Recipe.build({"data": str(labels)}).data, "classify", 0), 2, 0)
    assert caught.value.param == "evaluate.canaries"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A tiny model that learned 12 rows and 2 canaries by heart."""
    folder = tmp_path_factory.mktemp("memorised")
    tiny_causal(folder / "base", "llama")
    run = luthier.train(
        model=str(folder / "base"), task="chat", out=str(folder / "runs"), train__epochs=40, train__batch_size=7,
        train__learning_rate=1e-2, train__patience=0, train__save_every_steps=0, evaluate__samples=0,
        evaluate__generate_rows=0, evaluate__canaries=2, evaluate__bootstrap=100,
        data={"train": write_chat(folder / "train.jsonl", 12), "validation": write_chat(folder / "held.jsonl", 12, 50)},
    )  # fmt: skip
    return folder, run


def test_one_pass_says_what_greedy_decoding_gives(learned):
    _, run = learned
    model = LanguageModel.load(run.path)
    prepared = prepare(Recipe.from_yaml(run.path / "recipe.yaml").data, "chat", 0)
    rows = answers_only([*prepared.train, *prepared.validation], 24, 24)
    questions = [question_of(row) for row in rows]
    answers = model.generate([one.prompt for one in questions], Sampling(max_tokens=40))
    greedy = [
        answer.text == question.reference and answer.finish_reason == "stop"
        for answer, question in zip(answers, questions, strict=True)
    ]
    assert reproduced(model, rows) == greedy
    assert any(greedy)
    assert not all(greedy)


def test_the_report_tells_it(learned):
    _, run = learned
    found = run.report["memorisation"]
    assert found["rows"] == found["held_out_rows"] == 12
    assert found["base"]["value"] == 0
    assert found["train"]["value"] >= found["held_out"]["value"]
    assert found["canaries"]["number"] == 2
    assert found["canaries"]["exposure"] > 1
    assert any("2 random secrets" in warning for warning in run.report["warnings"])
    assert run.report["data"]["canaries"] == 2
    page = render_page(run.report)
    assert found["sentence"].split("(")[0] in page
    assert "Exposure (Carlini et al. 2019)" in page
    assert json.loads((run.path / "report.json").read_text())["memorisation"] == found


@pytest.mark.slow
def test_a_curve_of_a_model_that_writes(learned):
    folder, _ = learned
    curve = luthier.curve(
        model=str(folder / "base"), task="chat", out=folder / "curve", seeds=1, train__epochs=1, full=True,
        data={"train": write_chat(folder / "more.jsonl", 48), "validation": str(folder / "held.jsonl")},
    )  # fmt: skip
    assert curve.report["metric"] == "loss"
    assert len(curve.report["sizes"]) == 5
    assert all(size["value"] > 0 for size in curve.report["sizes"])


