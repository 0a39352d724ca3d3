"""Metrics of generated text, compared with sacrebleu and rouge-score, and code in the sandbox."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
from fake_writers import chat, completion

from luthier.core.errors import UsageError
from luthier.evaluate.generation import packages, scoring
from luthier.evaluate.generation.judges import AnswerJudge, LikelihoodJudge
from luthier.evaluate.generation.overlap import bleu_counts, chrf_counts, corpus_bleu, corpus_chrf
from luthier.evaluate.generation.programs import checks_of, compiles, passes, program_of
from luthier.evaluate.generation.questions import question_of
from luthier.evaluate.generation.scoring import AnswerScores
from luthier.evaluate.generation.words import exact_match, json_reference, json_scores, parse_json, token_f1

WORDS = ["the", "cat", "sat", "on", "a", "mat,", "while", "3", "dogs", "(and", "one", "fox)", "ran", "over", "barn."]


def texts(seed, rows=40):
    generator = random.Random(seed)
    references = [" ".join(generator.choices(WORDS, k=generator.randint(1, 14))) for _ in range(rows)]
    answers = [" ".join(word for word in text.split() if generator.random() < 0.8) for text in references]
    return answers, references


@pytest.mark.parametrize("seed", range(4))
def test_corpus_bleu_and_chrf_equal_sacrebleu(seed):
    sacrebleu = pytest.importorskip("sacrebleu")
    answers, references = texts(seed)
    for rows in (1, 3, 40):
        some, expected = answers[:rows], [references[:rows]]
        bleu = np.array([bleu_counts(*pair) for pair in zip(answers[:rows], references, strict=False)]).sum(axis=0)
        chrf = np.array([chrf_counts(*pair) for pair in zip(answers[:rows], references, strict=False)]).sum(axis=0)
        assert corpus_bleu(bleu[:, None])[0] == pytest.approx(sacrebleu.corpus_bleu(some, expected).score, abs=1e-9)
        assert corpus_chrf(chrf[:, None])[0] == pytest.approx(sacrebleu.corpus_chrf(some, expected).score, abs=1e-9)


def test_resamples_of_bleu_are_those_of_the_rows_drawn():
    sacrebleu = pytest.importorskip("sacrebleu")
    answers, references = texts(9)
    counts = {"bleu": np.array([bleu_counts(*pair) for pair in zip(answers, references, strict=True)], dtype=float)}
    judge = AnswerJudge(40, {}, counts)
    drawn = np.random.default_rng(0).integers(0, 40, 40)
    weights = np.bincount(drawn, minlength=40).astype(float)[:, None]
    expected = sacrebleu.corpus_bleu([answers[i] for i in drawn], [[references[i] for i in drawn]]).score
    assert judge.resampled(["bleu"], weights)["bleu"][0] == pytest.approx(expected, abs=1e-9)


def test_rouge_equals_rouge_score():
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    answers, references = texts(5, 8)
    scores = AnswerScores()
    for answer, reference in zip(answers, references, strict=True):
        scores.add(question_of(chat("?", reference)), answer, {})
    reference_scorer = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for name in ("rouge1", "rouge2", "rougeL"):
        expected = [reference_scorer.score(b, a)[name].fmeasure for a, b in zip(answers, references, strict=True)]
        assert scores.judge().point([name])[name] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "f1"),
    [
        ("Paris", "Paris", 1, 1), (" Paris\n", "Paris", 1, 1), ("the Paris.", "paris", 0, 1), ("Rome", "Paris", 0, 0),
        ("Paris in France", "Paris", 0, 0.5), ("", "Paris", 0, 0), ("the", "a", 0, 1), ("", "", 1, 1),
    ],
)  # fmt: skip
def test_exact_match_and_squad_f1(answer, reference, exact, f1):
    assert exact_match(answer, reference) == exact
    assert token_f1(answer, reference) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answer", "valid", "exact", "fields"),
    [
        ('{"b": [1, {"c": null}], "a": 2}', 1, 1, 1),
        ('{"a": 2.0, "b": [1, {"c": null}]}', 1, 1, 1),
        ('{"a": true, "b": [1, {"c": null}]}', 1, 0, 2 / 3),
        ('{"a": 2}', 1, 0, 0.5),
        ('{"a": 2, "b": []}', 1, 0, 0.4),
        ('{"a": 2, "b": [1, {"c": null}]} I hope this helps', 0, 0, 0),
        ('```json\n{"a": 2}\n```', 0, 0, 0),
        ('{"a": NaN}', 0, 0, 0),
        ("[" * 200_000, 0, 0, 0),
        ("2", 1, 0, 0),
    ],
)  # fmt: skip
def test_json_is_compared_field_by_field(answer, valid, exact, fields):
    found = json_scores(answer, {"a": 2, "b": [1, {"c": None}]})
    assert found == {"json_valid": valid, "json_exact": exact, "json_fields": pytest.approx(fields)}


def test_only_objects_and_lists_make_a_json_reference():
    assert json_reference(' {"a": 1}') == {"a": 1}
    assert json_reference("42") is None
    assert json_reference("[see page 2]") is None
    with pytest.raises(ValueError, match="Infinity"):
        parse_json("Infinity")


def test_the_loss_weighs_tokens_not_rows():
    judge = LikelihoodJudge(np.array([10.0, 1.0]), np.array([10.0, 0.5]), np.array([5.0, 0.5]))
    found = judge.point(["loss", "perplexity", "token_accuracy"])
    assert found["loss"] == pytest.approx(11 / 10.5)
    assert found["perplexity"] == pytest.approx(np.exp(11 / 10.5))
    assert found["token_accuracy"] == pytest.approx(5.5 / 10.5)
    second = judge.resampled(["loss"], np.array([[0.0], [2.0]]))["loss"]
    assert second[0] == pytest.approx(2.0)


def test_a_metric_that_few_rows_have_is_a_mean_of_those():
    judge = AnswerJudge(3, {"tests_passed": np.array([1.0, np.nan, 0.0]), "none": np.full(3, np.nan)}, {})
    assert judge.names() == ("tests_passed",)
    assert judge.point(["tests_passed"])["tests_passed"] == 0.5
    assert judge.row_values("tests_passed") is None
    weights = np.array([[0.0, 3.0], [3.0, 0.0], [0.0, 0.0]])
    assert judge.resampled(["tests_passed"], weights)["tests_passed"].tolist() == pytest.approx(
        [np.nan, 1.0], nan_ok=True
    )


@pytest.mark.parametrize(
    ("references", "kind"),
    [(['{"a": 1}'] * 9 + ["none"], "json"), (["yes", "no", "not at all"], "short"),
     (["a longer answer of many words"] * 3, "long")],
)  # fmt: skip
def test_the_references_choose_the_metrics(references, kind):
    scores = AnswerScores()
    for reference in references:
        scores.add(question_of(chat("?", reference)), "an answer", {})
    assert scores.kind == kind
    assert scores.chosen()[0] == {"json": "json_exact", "short": "exact_match", "long": "chrf"}[kind]
    if kind != "json":
        assert "json_exact" not in scores.chosen()


def test_what_cannot_be_measured_is_said(monkeypatch):
    monkeypatch.setattr(packages, "there", lambda package: False)
    scores = scoring.AnswerScores()
    scores.add(question_of(chat("?", "a longer answer of many words")), "an answer", {})
    assert not {"bleu", "rougeL"} & set(scores.judge().names())
    notes = " ".join(scores.notes(scores.chosen()))
    assert "pip install sacrebleu" in notes
    assert "rouge-score" in notes
    with pytest.raises(UsageError, match="rapidfuzz"):
        packages.need("rapidfuzz", "fuzzy_match")


def test_what_a_row_asks():
    assert question_of(chat("Hello?", "Hi.")).reference == "Hi."
    assert question_of(chat("Hello?", "Hi.")).prompt.messages[-1].role == "user"
    assert question_of(completion("def f(x):", " return x")).prompt == "def f(x):"
    assert question_of(completion("", "plain text")) is None
    assert question_of(completion("a", "b", suffix="c")) is None


@pytest.mark.skipif(os.name != "posix", reason="the sandbox is POSIX")
def test_code_compiles_and_passes_its_tests():
    asked = question_of(completion("def add(a, b):\n", "    return a + b\n"))
    good, wrong, broken = (
        program_of(asked, body) for body in ("    return a + b\n", "    return a - b\n", "    return a +\n")
    )
    tests = "assert add(2, 3) == 5"
    assert compiles(good)
    assert compiles(wrong)
    assert not compiles(broken)
    assert passes(good, tests)
    assert not passes(wrong, tests)
    assert not passes(good, "raise SystemExit")
    assert not passes("import os\nos._exit(0)", tests)


def test_programs_are_taken_out_of_answers():
    asked = question_of(chat("Write f.", "def f(): pass"))
    assert program_of(asked, "Here:\n```python\nx = 1\n```\nand\n```\ny = 2\n```") == "x = 1\n\ny = 2\n"
    assert program_of(asked, "x = 1") == "x = 1"
    assert checks_of({"tests": ["assert a", "assert b"]}) == "assert a\nassert b"
    assert checks_of({"test": "def check(f): assert f()", "entry_point": "f"}).endswith("check(f)")
    assert checks_of({"tests": "  "}) is None
    assert checks_of({"test": "x", "entry_point": "f(); import os"}) is None
