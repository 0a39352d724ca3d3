"""Finished runs beside each other, by what they answered: the same as when their models were compared at once."""

from __future__ import annotations

import json
import random
import sys

import numpy as np
import pytest
from fake_writers import FakeWriter, chat

from luthier.core.predictor import Prediction, SpanPrediction
from luthier.data.samples import Sample, Span
from luthier.evaluate.answered_runs import AnsweredRun, compare_answered
from luthier.evaluate.answers_file import MOST_ROWS, AnswersFile, answer_row, read_answers
from luthier.evaluate.comparison import compare_evaluations
from luthier.evaluate.evaluation import evaluate
from luthier.evaluate.generation import compare_generation, evaluate_generation


class Answering:
    """A predictor of fixed answers."""

    def __init__(self, task, labels, answers):
        self.task, self.labels, self._answers = task, labels, answers

    def predict(self, texts):
        return [self._answers[text] for text in texts]


def kept(path, task, samples, answers, *, labels=("a", "b"), several=False):
    """(the evaluation, the run that its answers file gives)."""
    model = Answering(task, labels, dict(zip([sample.text for sample in samples], answers, strict=True)))
    with AnswersFile(path) as file:
        found = evaluate(
            model, samples, several_labels=several, bootstrap=100,
            keep=lambda *row: file.add(answer_row(task, several, *row)),
        )  # fmt: skip
    report = {"task": task, "labels": list(labels), "several_labels": several}
    return found, AnsweredRun(path.stem, report, list(read_answers(path)))


def labelled(number, share, seed):
    """Rows, and answers of which so many are right."""
    drawn = random.Random(seed)
    samples = [Sample(f"row {i}", target="ab"[i % 2], line=i + 1, source="/secret/x/test.csv") for i in range(number)]
    answers = []
    for sample in samples:
        label = sample.target if drawn.random() < share else "ab"[sample.target == "a"]
        answers.append(Prediction(label, 0.9, {label: 0.9, "ab"[label == "a"]: 0.1}))
    return samples, answers


@pytest.mark.parametrize(("shares", "verdict"), [((0.95, 0.6), "better"), ((0.8, 0.8), "cannot tell them apart")])
def test_labels_are_compared_as_their_models_were(tmp_path, shares, verdict):
    samples, first = labelled(200, shares[0], 1)
    _, second = labelled(200, shares[1], 2)
    ours, one = kept(tmp_path / "one.jsonl", "classify", samples, first)
    theirs, two = kept(tmp_path / "two.jsonl", "classify", samples, second)
    [wanted] = compare_evaluations(ours, {"two": theirs})
    found = compare_answered([one, two])
    [pair] = found.pairs
    assert (pair["a"], pair["b"], pair["metric"]) == ("one", "two", "accuracy")
    assert pair["verdict"] == wanted.verdict == verdict
    assert pair["p_value"] == pytest.approx(wanted.p_value)
    assert pair["difference"] == wanted.difference.to_dict()
    assert pair["sentence"].startswith("one is better than two by" if verdict == "better" else "one cannot be told")
    assert found.metrics["one"]["accuracy"].value == ours.metrics["accuracy"].value
    assert found.metrics["two"]["macro_f1"].value == pytest.approx(theirs.metrics["macro_f1"].value)
    assert found.shared == 200
    assert not found.notes
    differ = [i for i in range(200) if first[i].label != second[i].label]
    assert sorted(row["line"] for row in found.disagreements) == [i + 1 for i in differ]
    assert found.disagreements[0]["answers"][0]["predicted"] in ("a", "b")
    assert "/secret" not in json.dumps(found.disagreements)


def test_p_values_of_three_runs_are_corrected_together(tmp_path):
    samples, _ = labelled(120, 1.0, 0)
    runs = [kept(tmp_path / f"{n}.jsonl", "classify", samples, labelled(120, s, n)[1])[1]
            for n, s in ((1, 0.9), (2, 0.8), (3, 0.7))]  # fmt: skip
    found = compare_answered(runs)
    assert [(pair["a"], pair["b"]) for pair in found.pairs] == [("1", "2"), ("1", "3"), ("2", "3")]
    alone = compare_answered(runs[:2]).pairs[0]["p_value"]
    assert found.pairs[0]["p_value"] >= alone
    assert all(len(row["answers"]) == 3 for row in found.disagreements)


def test_rows_are_found_by_their_content_and_twins_by_their_number(tmp_path):
    samples, answers = labelled(60, 0.9, 1)
    _, one = kept(tmp_path / "one.jsonl", "classify", samples, answers)
    _, two = kept(tmp_path / "two.jsonl", "classify", samples[::-1], answers[::-1])
    found = compare_answered([one, two])
    assert (found.shared, found.disagreements) == (60, [])
    half = AnsweredRun("half", one.report, one.rows[:30])
    found = compare_answered([one, half])
    assert found.shared == 30
    assert "30 rows in common, of up to 60" in found.notes[0]
    twice = [AnsweredRun(name, one.report, [*one.rows[:30], *one.rows[:30]]) for name in ("x", "y")]
    assert compare_answered(twice).shared == 60


def test_what_cannot_be_compared_is_told(tmp_path):
    samples, answers = labelled(40, 0.9, 1)
    _, one = kept(tmp_path / "one.jsonl", "classify", samples, answers)
    others = [Sample(f"other {i}", target="a") for i in range(40)]
    _, two = kept(tmp_path / "two.jsonl", "classify", others, [Prediction("a", 1.0, {"a": 1.0, "b": 0.0})] * 40)
    for runs, words in (
        ([one, two], "different rows"),
        ([one, AnsweredRun("old", one.report, [])], "no answers of old"),
        ([one, AnsweredRun("numbers", {"task": "regress"}, one.rows)], "different tasks (classify, regress)"),
    ):
        found = compare_answered(runs)
        assert words in found.notes[0]
        assert (found.pairs, found.disagreements) == ([], [])


def test_numbers_spans_and_sets_of_labels_are_compared_too(tmp_path):
    drawn = np.random.default_rng(0)
    values = drawn.normal(size=80)
    rows = [Sample(f"row {i}", target=(float(value),)) for i, value in enumerate(values)]

    def guesses(spread):
        return [Prediction(score=float(value + drawn.normal() * spread)) for value in values]

    ours, near = kept(tmp_path / "near.jsonl", "regress", rows, guesses(0.1), labels=("score",))
    theirs, far = kept(tmp_path / "far.jsonl", "regress", rows, guesses(5.0), labels=("score",))
    [wanted] = compare_evaluations(ours, {"far": theirs})
    found = compare_answered([near, far])
    assert (found.pairs[0]["verdict"], found.pairs[0]["metric"]) == ("better", "spearman")
    assert found.pairs[0]["difference"] == wanted.difference.to_dict()
    gaps = [abs(row["answers"][0]["predicted"] - row["answers"][1]["predicted"]) for row in found.disagreements]
    assert gaps == sorted(gaps, reverse=True)

    texts = [Sample(f"Anna and Bo {i}", target=(Span(0, 4, "PER"), Span(9, 11, "PER"))) for i in range(40)]
    both = [Prediction(spans=(SpanPrediction(9, 11, "PER"), SpanPrediction(0, 4, "PER")))] * 40
    half = [Prediction(spans=(SpanPrediction(0, 4, "PER", score=0.5),))] * 20 + both[20:]
    swapped = [Prediction(spans=one.spans[::-1]) for one in both]
    _, all_ = kept(tmp_path / "all.jsonl", "extract", texts, both, labels=("PER",))
    _, some = kept(tmp_path / "some.jsonl", "extract", texts, half, labels=("PER",))
    _, same = kept(tmp_path / "same.jsonl", "extract", texts, swapped, labels=("PER",))
    found = compare_answered([all_, some])
    assert found.pairs[0]["verdict"] == "better"
    assert len(found.disagreements) == 20
    assert compare_answered([all_, same]).disagreements == []

    sets = [Sample(f"row {i}", target=("a", "b")) for i in range(40)]
    right = [Prediction(labels=("b", "a"), scores={"a": 0.9, "b": 0.9})] * 40
    wrong = [Prediction(labels=("a",), scores={"a": 0.9, "b": 0.1})] * 40
    _, good = kept(tmp_path / "good.jsonl", "classify", sets, right, several=True)
    _, bad = kept(tmp_path / "bad.jsonl", "classify", sets, wrong, several=True)
    assert compare_answered([good, bad]).pairs[0]["metric"] == "micro_f1"
    assert len(compare_answered([good, bad]).disagreements) == 40


def test_what_writes_is_compared_by_loss_and_by_its_answers(tmp_path):
    samples = [chat(f"Question {i}", "yes" if i % 2 else "no", i + 1) for i in range(40)]
    runs, judged = [], []
    for name, right, loss in (("good", True, 0.5), ("bad", False, 2.0)):
        path = tmp_path / f"{name}.jsonl"

        def answer(question, right=right):
            return ("yes" if int(question.split()[1]) % 2 else "no") if right else "perhaps"

        model = FakeWriter(answer, lambda sample, loss=loss: loss + 0.01 * (sample.line % 7))
        with AnswersFile(path) as file:
            judged.append(evaluate_generation(model, samples, rows_to_generate=20, bootstrap=100, keep=file.add))
        runs.append(AnsweredRun(name, {"task": "chat"}, list(read_answers(path))))
    assert [len(run.rows) for run in runs] == [40, 40]
    assert sum("predicted" in row for row in runs[0].rows) == 20
    found = compare_answered(runs)
    wanted = {one.metric: one for one in compare_generation(judged[0], {"bad": judged[1]})}
    assert {pair["metric"] for pair in found.pairs} == set(wanted) == {"loss", "exact_match"}
    for pair in found.pairs:
        assert pair["verdict"] == "better"
        assert pair["difference"] == pytest.approx(wanted[pair["metric"]].difference.to_dict())
    assert found.metrics["good"]["loss"].value == pytest.approx(judged[0].metrics["loss"].value)
    assert len(found.disagreements) == 20
    assert found.disagreements[0]["answers"][1]["predicted"] == "perhaps"


def test_an_answers_file_is_whole_or_not_there_and_holds_what_json_can(tmp_path, monkeypatch):
    path = tmp_path / "answers.jsonl"
    with pytest.raises(TypeError), AnswersFile(path) as file:
        file.add({"key": object()})
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys.modules[AnswersFile.__module__], "MOST_ROWS", 2)
    with AnswersFile(path) as file:
        for value in (float("nan"), "half \ud800", "too many"):
            file.add({"key": value})
    assert [row["key"] for row in read_answers(path)] == [None, "half \ud800"]
    assert MOST_ROWS == 100_000
