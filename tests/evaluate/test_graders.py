"""OpenAI's graders: what each gives, what is refused, and what hostile answers cannot do."""

from __future__ import annotations

import math
import os

import pytest

from luthier.core.errors import DataError, RecipeError, UsageError
from luthier.evaluate.generation.formula import Formula
from luthier.evaluate.generation.graders import grade, parse_grader, parse_graders, sample_of
from luthier.evaluate.generation.similarity import gleu, similarity

ITEM = {"reference_answer": "Paris", "facts": {"country": "France", "rivers": ["Seine"]}, "points": 3}


CHECK = {"type": "string_check", "name": "x", "input": "a", "reference": "b", "operation": "eq"}


def check(operation, text="{{ sample.output_text }}", reference="{{item.reference_answer}}"):
    return parse_grader(
        {"type": "string_check", "name": "x", "input": text, "reference": reference, "operation": operation}
    )


def code(source):
    return parse_grader({"type": "python", "name": "p", "source": source})


@pytest.mark.parametrize(
    ("operation", "answer", "score"),
    [
        ("eq", "Paris", 1), ("eq", "paris", 0), ("eq", "Paris.", 0), ("ne", "Paris", 0), ("ne", "Rome", 1),
        ("like", "It is Paris.", 1), ("like", "it is paris", 0), ("ilike", "it is PARIS", 1), ("ilike", "Rome", 0),
    ],
)  # fmt: skip
def test_string_checks(operation, answer, score):
    assert grade(check(operation), sample_of(answer), ITEM).score == score


def test_placeholders_reach_into_rows_and_json_answers():
    same = check(
        "eq", "{{ sample.output_json.city }} {{sample.output_json['n']}}", "{{ item.reference_answer }} {{item.points}}"
    )
    assert grade(same, sample_of('{"city": "Paris", "n": 3}'), ITEM).score == 1
    assert grade(check("eq", "{{ item.facts.rivers[0] }}", "Seine"), sample_of(""), ITEM).score == 1
    assert grade(
        check("eq", "{{ item.facts }}", '{"country": "France", "rivers": ["Seine"]}'), sample_of(""), ITEM
    ).score
    no_json = grade(same, sample_of("not JSON"), ITEM)
    assert (no_json.score, "output_json.city" in no_json.error) == (0, True)


def test_an_answer_with_a_placeholder_is_not_filled_in_again():
    assert grade(check("eq"), sample_of("{{ item.reference_answer }}"), ITEM).score == 0


def test_a_column_that_no_row_has_is_told():
    with pytest.raises(DataError, match=r"item\.answer.*reference_answer") as caught:
        grade(check("eq", reference="{{ item.answer }}"), sample_of("x"), ITEM)
    assert caught.value.code == "grader_column_missing"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"type": "sting_check", "name": "x"}, "Did you mean 'string_check'"),
        ({"name": "x"}, "needs a type"),
        ({**CHECK, "operation": "equals"}, "operation"),
        ({**CHECK, "n": 1}, "at n"),
        ({**CHECK, "input": "{{ row.a }}"}, "item.COLUMN"),
        ({"type": "text_similarity", "name": "x", "input": "a", "reference": "b"}, "evaluation_metric"),
        ({"type": "score_model", "name": "x", "model": "m", "input": [], "range": [0, 1]}, "input"),
        ({"type": "score_model", "name": "x", "model": "m", "input": [{"role": "user", "content": "?"}],
          "range": [1, 0]}, "lowest, highest"),
        ({"type": "multi", "name": "x", "calculate_output": "a + c", "graders": {"a": CHECK}}, "asks for 'c'"),
        ({"type": "multi", "name": "x", "calculate_output": "__import__('os')", "graders": {"a": CHECK}}, "__import__"),
    ],
)  # fmt: skip
def test_wrong_graders_are_refused_with_the_place(value, words):
    with pytest.raises(RecipeError) as caught:
        parse_grader(value)
    assert words in str(caught.value)
    assert caught.value.code == "invalid_grader"


def test_two_graders_need_two_names():
    one = CHECK
    with pytest.raises(RecipeError, match="'x'"):
        parse_graders([one, one])
    assert [grader.name for grader in parse_graders([one, {**one, "name": "y"}])] == ["x", "y"]


@pytest.mark.parametrize(
    "metric", ["fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_5", "rouge_l"]
)
def test_similarities_go_from_0_to_1(metric):
    pytest.importorskip("rapidfuzz")
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    text = "the quick brown fox jumps over the lazy dog"
    assert similarity(metric, text, text) == pytest.approx(1, abs=0.01)
    assert similarity(metric, "xyz", text) < 0.2
    assert 0.1 < similarity(metric, "the quick brown fox jumps over one cat", text) < 0.95
    grader = parse_grader({"type": "text_similarity", "name": "s", "input": "{{sample.output_text}}",
                           "reference": text, "evaluation_metric": metric})  # fmt: skip
    assert grade(grader, sample_of(text), ITEM).score == pytest.approx(1, abs=0.01)


def test_gleu_equals_nltk_s():
    nltk = pytest.importorskip("nltk.translate.gleu_score")
    for a, b in (("the cat sat", "the cat sat down"), ("a b c d e", "e d c b a"), ("a a a", "a")):
        assert gleu(a.split(), b.split()) == pytest.approx(nltk.sentence_gleu([b.split()], a.split()))


def test_cosine_needs_an_embedder():
    with pytest.raises(UsageError, match="cosine"):
        similarity("cosine", "a", "b")
    assert similarity("cosine", "a", "b", lambda texts: [[1, 0], [1, 1]]) == pytest.approx(math.sqrt(0.5))


@pytest.mark.skipif(os.name != "posix", reason="the sandbox is POSIX")
def test_python_graders_run_in_the_sandbox(monkeypatch):
    monkeypatch.setenv("LUTHIER_TEST_SECRET", "sesame")
    both = code(
        "def grade(sample, item):\n    print()\n    return (sample['output_text'] == item['reference_answer']) / 2"
    )
    assert grade(both, sample_of("Paris"), ITEM).score == 0.5
    assert grade(both, sample_of("Rome'''; import os"), ITEM).score == 0
    raised = grade(code("def grade(sample, item):\n    return 1 / 0"), sample_of("x"), ITEM)
    assert (raised.score, raised.error) == (0, "ZeroDivisionError: division by zero")
    assert "finite" in grade(code("def grade(sample, item):\n    return float('nan')"), sample_of("x"), ITEM).error
    assert "NameError" in grade(code("x = 1"), sample_of("x"), ITEM).error
    assert "finite" in grade(code("import sys\nsys.exit(0)"), sample_of("x"), ITEM).error
    secret = code("import os\ndef grade(sample, item):\n    return float('LUTHIER_TEST_SECRET' in os.environ)")
    assert grade(secret, sample_of("x"), ITEM) == grade(secret, sample_of("y"), ITEM)
    assert grade(secret, sample_of("x"), ITEM).score == 0


def test_a_judging_model_is_asked_and_its_number_read():
    grader = parse_grader({"type": "score_model", "name": "j", "model": "any", "range": [0, 10], "input": [
        {"role": "system", "content": "Grade."},
        {"role": "user", "content": [{"type": "input_text", "text": "{{ sample.output_text }} against"},
                                     "{{ item.reference_answer }}"]}]})  # fmt: skip
    asked = []

    def ask(answer):
        return lambda messages: asked.append(messages) or answer

    assert grade(grader, sample_of("Rome"), ITEM, ask=ask('Well: {"result": 7.5, "why": "x"}')).score == 7.5
    assert asked[0][1] == {"role": "user", "content": "Rome against\nParis"}
    assert "0 to 10" in asked[0][2]["content"]
    assert grade(grader, sample_of("Rome"), ITEM, ask=ask("I would say 8 of 10, so 8")).score == 8
    assert grade(grader, sample_of("Rome"), ITEM, ask=ask("no idea")).error
    assert grade(grader, sample_of("Rome"), ITEM, ask=ask("11")).score == 0
    with pytest.raises(UsageError, match="'j'"):
        grade(grader, sample_of("x"), ITEM)


def test_multi_combines_named_scores():
    part = {"type": "string_check", "input": "{{ sample.output_text }}", "operation": "ilike"}
    graders = {
        "city": {**part, "name": "city", "reference": "Paris"},
        "river": {**part, "name": "r", "reference": "Seine"},
    }
    multi = parse_grader(
        {"type": "multi", "name": "m", "graders": graders, "calculate_output": "0.75 * city + min(river, 0.25)"}
    )
    found = grade(multi, sample_of("paris"), ITEM)
    assert (found.score, found.parts) == (0.75, {"city": 1, "river": 0})
    assert grade(multi, sample_of("paris on the seine"), ITEM).score == 1
    undefined = parse_grader({"type": "multi", "name": "m", "graders": graders, "calculate_output": "city / river"})
    assert "undefined" in grade(undefined, sample_of("paris"), ITEM).error
    one = parse_grader({"type": "multi", "name": "m", "graders": graders["city"], "calculate_output": "city"})
    assert grade(one, sample_of("paris"), ITEM).score == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [("1 + 2 * 3", 7), ("2 ^ 3 - 1", 7), ("-a / 4", -0.5), ("max(a, floor(2.7), exp(0))", 2),
     ("sqrt(abs(-4))", 2), ("1e3", 1000)],
)  # fmt: skip
def test_formulas_compute(text, value):
    assert Formula(text)({"a": 2}) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["a.b", "a[0]", "'x' * 9", "open('f')", "(lambda: 1)()", "a if a else b", "[x for x in a]", "a := 1", "a; b", "",
     "min(a, key=b)", "a and b", "True", "f'{a}'", "(" * 300, "9" * 2000],
)  # fmt: skip
def test_formulas_are_nothing_but_arithmetic(text):
    with pytest.raises(ValueError):  # noqa: PT011 - whatever its sentence
        Formula(text)


@pytest.mark.parametrize("text", ["1 / 0", "log(0)", "9 ^ 9 ^ 9 ^ 9", "sqrt(-1)", "exp(99999)", "min()"])
def test_undefined_formulas_are_told(text):
    with pytest.raises(ValueError, match="formula"):
        Formula(text)({})
