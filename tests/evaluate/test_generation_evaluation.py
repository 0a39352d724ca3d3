"""Whole evaluations of writing models, and what they say about two of them on the same rows."""

from __future__ import annotations

import json
import os
import tracemalloc

import numpy as np
import pytest
from fake_writers import FakeWriter, chat, completion

from luthier.core.errors import DataError, RecipeError
from luthier.core.generation import Likelihood
from luthier.data.formats.base import Row
from luthier.data.samples import Finding
from luthier.evaluate.generation import RowColumns, Writer, compare_generation, evaluate_generation, parse_graders
from luthier.evaluate.generation.report import language_verdict

ANSWERS = ["red", "green", "blue", "yellow"]


def rows(number=60):
    return [chat(f"Question {i}: which colour?", ANSWERS[i % 4], i + 1) for i in range(number)]


def skilled(share, loss):
    """Right on the first `share` of each hundred questions."""

    def answer(question):
        number = int(question.split()[1].rstrip(":"))
        return ANSWERS[number % 4] if number % 100 < share else "no idea"

    return FakeWriter(answer, lambda sample: loss + 0.1 * (sample.line % 5))


def test_an_evaluation_of_short_answers():
    model = skilled(30, 1.0)
    assert isinstance(model, Writer)
    found = evaluate_generation(model, rows(), bootstrap=200)
    assert (found.task, found.rows, found.answered, found.kind, found.headline) == (
        "chat",
        60,
        60,
        "short",
        "exact_match",
    )
    assert found.metrics["loss"].value == pytest.approx(1.2)
    assert found.metrics["perplexity"].value == pytest.approx(np.exp(1.2))
    assert found.metrics["token_accuracy"].value == pytest.approx(0.5)
    assert found.metrics["exact_match"].value == 0.5
    for interval in found.metrics.values():
        assert interval.low <= interval.value <= interval.high
    assert found.metrics["exact_match"].low < 0.45
    assert found.worst_rows[0]["loss"] == pytest.approx(1.4)
    assert found.worst_errors[0]["predicted"] == "no idea"
    assert len(found.examples) == 20
    assert found.examples[0]["expected"] == "red"
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_same_twice_is_the_same():
    a, b = (evaluate_generation(skilled(30, 1.0), rows(), bootstrap=200) for _ in range(2))
    assert a.to_dict() == b.to_dict()


def test_some_rows_are_answered_spread_over_all_and_in_small_calls():
    model = skilled(100, 1.0)
    found = evaluate_generation(model, rows(), rows_to_generate=20, bootstrap=0)
    assert (found.rows, found.answered) == (60, 20)
    assert [int(asked.split()[1].rstrip(":")) for asked in model.asked] == list(range(2, 60, 3))
    assert model.largest_call <= 16
    streamed = skilled(100, 1.0)
    assert evaluate_generation(streamed, iter(rows()), rows_to_generate=20, bootstrap=0).answered == 20
    assert streamed.asked[-1].startswith("Question 19")
    assert evaluate_generation(skilled(1, 1), rows(), rows_to_generate=0, bootstrap=0).metrics.keys() == {
        "loss", "perplexity", "token_accuracy",
    }  # fmt: skip


def test_memory_does_not_grow_with_the_rows():
    class Steady:
        def generate(self, prompts, sampling=None):
            raise AssertionError("nothing was asked")

        def likelihood(self, samples):
            for _ in samples:
                yield Likelihood(1.0, 1.0, 1.0)

    def many(number):
        for i in range(number):
            yield chat("x" * 2000 + str(i), "y" * 2000, i)

    peaks = []
    for number in (500, 5000):
        tracemalloc.start()
        evaluate_generation(Steady(), many(number), rows_to_generate=0, bootstrap=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 5000 * 200  # three numbers a row, not its 4,000 characters


def test_plain_text_has_a_loss_and_no_answers():
    found = evaluate_generation(
        skilled(0, 2.0), [completion("", "some plain text", i) for i in range(1, 6)], bootstrap=100
    )
    assert (found.task, found.answered, found.headline) == ("complete", 0, None)
    assert found.metrics.keys() == {"loss", "perplexity", "token_accuracy"}
    assert found.examples == []


def test_rows_without_weight_are_counted_and_no_rows_are_an_error():
    class Half(FakeWriter):
        def _measure(self, sample):
            return Likelihood(1.0, 1.0, 0.0) if sample.line % 2 else Likelihood(0.0, 0.0)

    found = evaluate_generation(Half(str), rows(10), bootstrap=0)
    assert found.rows == 5
    assert any("passed over: 5" in note for note in found.notes)
    with pytest.raises(DataError) as caught:
        evaluate_generation(Half(str), [])
    assert caught.value.code == "no_rows"


def test_metrics_can_be_chosen_and_unknown_ones_are_refused():
    found = evaluate_generation(skilled(30, 1.0), rows(), metrics=["token_f1"], bootstrap=0)
    assert list(found.metrics) == ["loss", "token_f1"]
    with pytest.raises(RecipeError, match="rougeL"):
        evaluate_generation(skilled(30, 1.0), rows(), metrics=["rouge_l"], bootstrap=0)


def test_graders_are_metrics_with_the_rows_columns():
    graders = parse_graders([
        {"type": "string_check", "name": "colour", "input": "{{ sample.output_text }}", "operation": "eq",
         "reference": "{{ item.reference_answer }}"},
        {"type": "string_check", "name": "place", "input": "{{ item.shop }}", "reference": "Leeds", "operation": "eq"},
        {"type": "string_check", "name": "json", "input": "{{ sample.output_json.a }}", "operation": "eq",
         "reference": "1"},
    ])  # fmt: skip
    columns = {sample.place: {"shop": "Leeds" if sample.line % 2 else "York"} for sample in rows()}
    found = evaluate_generation(
        skilled(30, 1.0), rows(), graders=graders, columns=lambda sample: columns.get(sample.place, {}), bootstrap=100
    )
    assert found.metrics["grader:colour"].value == 0.5
    assert found.metrics["grader:place"].value == 0.5
    assert found.metrics["grader:json"].value == 0
    assert any("'json' failed on 60 of 60" in note for note in found.notes)


@pytest.mark.skipif(os.name != "posix", reason="the sandbox is POSIX")
def test_code_runs_only_when_asked_for():
    samples = [completion(f"def f{i}(x):\n", f"    return x + {i}\n", i) for i in (1, 2, 3)]
    columns = {sample.place: {"tests": f"assert f{sample.line}(1) == {sample.line + 1}"} for sample in samples[:2]}
    model = FakeWriter(lambda prompt: "    return x + 1\n")
    found = evaluate_generation(
        model, samples, columns=lambda sample: columns.get(sample.place, {}), run_code=True, bootstrap=100
    )
    assert found.headline == "tests_passed"
    assert found.metrics["tests_passed"].value == 0.5
    assert found.metrics["code_compiles"].value == 1
    assert (
        "code_compiles"
        not in evaluate_generation(
            model, samples, columns=lambda sample: columns.get(sample.place, {}), bootstrap=0
        ).metrics
    )


def test_columns_are_read_in_step_with_the_rows():
    rows_there = [Row({"shop": f"shop {i}"}, i, "test.jsonl") for i in range(1, 8)]
    broken = Finding("bad_json", "error", "x", "y", 3, "test.jsonl")
    columns = RowColumns([rows_there[0], broken, *rows_there[1:]])
    assert columns(rows()[1]) == {"shop": "shop 2"}
    assert columns(rows()[5]) == {"shop": "shop 6"}
    assert columns(rows()[50]) == {}


def test_a_better_model_is_better_and_an_equal_one_cannot_be_told_apart():
    ours = evaluate_generation(skilled(90, 1.0), rows(100), bootstrap=300)
    base = evaluate_generation(skilled(10, 2.5), rows(100), bootstrap=300)
    same = evaluate_generation(skilled(90, 1.0), rows(100), bootstrap=300)
    loss, exact = compare_generation(ours, base, resamples=300)
    assert (loss.name, loss.metric, loss.verdict) == ("base", "loss", "better")
    assert loss.difference.value == pytest.approx(1.5)
    assert loss.difference.low == pytest.approx(1.5)  # paired: each row is 1.5 better, so nothing is uncertain
    assert (exact.metric, exact.test, exact.verdict) == ("exact_match", "mcnemar", "better")
    assert "better than the untuned base by 80.0 points" in exact.sentence
    worse, _ = compare_generation(base, {"scratch": ours}, resamples=300)
    assert worse.verdict == "worse"
    for one in compare_generation(ours, same, resamples=300):
        assert one.verdict == "cannot tell them apart"


def test_the_verdict_is_one_sentence():
    ours = evaluate_generation(skilled(90, 1.0), rows(100), bootstrap=300)
    base = evaluate_generation(skilled(10, 2.5), rows(100), bootstrap=300)
    verdict = language_verdict(ours, compare_generation(ours, base, resamples=300))
    assert verdict.startswith("Loss on 100 test rows 1.2 (95 % interval ")
    assert ", against 2.7 of the untuned base: better by 1.5 (95 % interval 1.5 to 1.5)" in verdict
    assert "Exact match on 100 answers 90.0 %" in verdict
    assert verdict.endswith(".")
    assert verdict.count(". ") == 0
    tied = language_verdict(ours, compare_generation(ours, ours, resamples=300), "validation")
    assert "on 100 validation rows" in tied
    assert "they cannot be told apart" in tied
    assert language_verdict(ours, []).startswith("Loss on 100 test rows 1.2 (95 % interval")
