"""Words for who a text is about are swapped, whole and in their case; and the answers before and after compared."""

import csv
import re
from pathlib import Path

import pytest
from fake_writers import FakeWriter, chat, completion

from luthier.core.errors import RecipeError
from luthier.core.predictor import Prediction, SpanPrediction
from luthier.data.samples import Sample
from luthier.evaluate.fairness import WriterAnswers, predictor_answers, swap_lists
from luthier.evaluate.fairness.counterfactual import MOST_ROWS, counterfactual, find_cases
from luthier.evaluate.fairness.swapping import Swapper

LISTS = {words.name: words for words in swap_lists()}
CROWS = Path(__file__).resolve().parents[3] / "shared" / "data" / "crows_pairs" / "crows_pairs_anonymized.csv"


def swapped(text, name="gender", a="male", b="female"):
    return Swapper(LISTS[name]).swap(text, a, b).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He told her that his dog bit her.", "She told him that her dog bit him."),
        ("HER bag is hers, not his.", "HIS bag is his, not hers."),
        ("She gave him a book; he's kind.", "He gave her a book; she's kind."),
        ("I saw her yesterday with her mother.", "I saw him yesterday with his father."),
        ("Mrs Smith hurt herself.", "Mr Smith hurt himself."),
        ("The theme of the heritage is shear history.", "The theme of the heritage is shear history."),
        ("Mary met John's sister", "James met Jane's brother"),
        ("they and their dog", "they and their dog"),
    ],
)
def test_pronouns_and_words_of_gender(text, expected):
    assert swapped(text) == expected


def test_words_with_a_capital_need_one_and_articles_follow():
    assert swapped("an American, a German, AMERICANS", "nationalities", "american", "german") == (
        "a German, an American, GERMANS"
    )
    assert swapped("polish the table", "nationalities", "polish", "german") == "polish the table"


def test_ages_in_words_and_numbers():
    text = "A 25-year-old woman, 70 years old, aged 50 years old, and a young man with 30 years of work."
    assert swapped(text, "ages", "young", "old") == (
        "A 65-year-old woman, 30 years old, aged 50 years old, and an old man with 30 years of work."
    )


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_whole(name):
    """Sides are of one length, and swapping first spellings twice gives the same word again."""
    words = LISTS[name]
    sides = list(words.sides)
    assert len({len(entries) for entries in words.sides.values()}) == 1
    swapper = Swapper(words)
    for other in sides[1:]:
        for entry in words.sides[other]:
            once = swapper.swap(entry[0], sides[0], other).text
            assert once != entry[0]


def test_spans_are_found_again_after_a_swap():
    text = "He saw Ann, and his dad saw Bob."
    found = Swapper(LISTS["gender"]).swap(text, "male", "female")
    for name in ("Ann", "Bob", "his"):
        new = {"his": "her"}.get(name, name)
        start = found.text.index(new)
        assert text[slice(*found.back(start, start + len(new)))] == name


@pytest.mark.skipif(not CROWS.is_file(), reason="CrowS-Pairs is not on this machine (set LUTHIER_SHARED_DATA)")
def test_pronouns_are_swapped_as_the_writers_of_crows_pairs_did():
    """Nangia et al. 2020: people wrote each sentence twice. Where a pronoun differs, ours is theirs in 407 of 410."""
    pronouns = {"he", "she", "him", "her", "his", "hers", "himself", "herself"}
    same = total = 0
    with open(CROWS, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for one, other in ((row["sent_more"], row["sent_less"]), (row["sent_less"], row["sent_more"])):
                parts = [re.findall(r"\w+|\W", text) for text in (one, other, swapped(one))]
                if len({len(part) for part in parts}) > 1:
                    continue
                for old, theirs, ours in zip(*parts, strict=True):
                    if old.lower() != theirs.lower() and {old.lower(), theirs.lower()} <= pronouns:
                        total += 1
                        same += ours == theirs
    assert total > 300
    assert same / total > 0.98


def test_lists_of_the_user_stand_beside_ours(tmp_path):
    file = tmp_path / "swaps.yaml"
    file.write_text("dialect: [[colour, color], ['lorry', truck]]\nnames: null\n")
    names = {words.name: words for words in swap_lists(str(file))}
    assert "gender" in names
    assert "names" not in names
    assert Swapper(names["dialect"]).swap("A Lorry of that colour", "colour", "color").text == "A Truck of that color"
    file.write_text("ours: false\ndialect: {title: spelling, sides: {uk: [colour], us: [color]}}\n")
    assert [words.title for words in swap_lists(str(file))] == ["spelling"]
    assert swap_lists("none") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 3", "neither a mapping nor a list"),
        ("a: [[x, y, z]]", "does not hold pairs"),
        ("a: [[yes, no]]", "put words like yes and no in quotes"),
        ("a: {sides: {x: [b]}}", "two sides or more"),
        ("a: {sides: {x: [b, c], y: [d]}}", "different numbers of words (x 2, y 1)"),
        ("a: {sides: {x: [b], y: []}}", "not a list of words"),
        ("a: {side: {x: [b], y: [c]}}", "unknown key 'side'"),
        ("a: {sides: {x: [b], y: ['|']}}", "an empty word"),
        ("ours: maybe", "'ours' is true or false"),
        ("a: {sides: {x: [b], y: [c]}, years: 3}", "'years' of 'a'"),
    ],
)
def test_a_list_that_is_none_says_what_is_wrong(tmp_path, text, words):
    file = tmp_path / "swaps.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=re.escape(words)) as caught:
        swap_lists(str(file))
    assert (caught.value.code, caught.value.param) == ("invalid_swaps", "evaluate.fairness.swaps")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RecipeError, match="nowhere"):
        swap_lists(str(tmp_path / "nowhere.yaml"))


class Prejudiced:
    """Says "bad" of women; sees a span in every first word; gives a number by the text's length."""

    labels = ("bad", "good")

    def __init__(self, task="classify", fair=False):
        self.task, self._fair = task, fair

    def predict(self, texts):
        if self.task == "extract":
            return [Prediction(spans=(SpanPrediction(0, len(text.split()[0]), "first"),)) for text in texts]
        if self.task == "regress":
            return [Prediction(score=10.0 * (" she " in f" {text.lower()} ")) for text in texts]
        bad = [not self._fair and " she " in f" {text.lower()} " for text in texts]
        return [
            Prediction("bad", 0.9, {"bad": 0.9, "good": 0.1})
            if one
            else Prediction("good", 0.7, {"bad": 0.3, "good": 0.7})
            for one in bad
        ]


ROWS = [Sample(f"{who} came {i} times", None, "good", line=i + 1) for i in range(20) for who in ("She", "He", "It")]


def test_changed_answers_are_counted_with_their_swap_and_examples():
    lists = [LISTS["gender"], LISTS["religions"]]
    cases = find_cases(ROWS, lists)
    found, nothing = counterfactual(
        cases, lists, predictor_answers(Prejudiced()), predictor_answers(Prejudiced(fair=True)), resamples=200
    )
    assert (found["rows"], found["changed"], found["share"]["value"]) == (40, 40, 1.0)
    assert found["share"]["low"] == pytest.approx(0.912, abs=1e-3)  # Wilson, 40 of 40
    assert {(one["from"], one["to"]): (one["rows"], one["changed"]) for one in found["by_swap"]} == {
        ("male", "female"): (20, 20), ("female", "male"): (20, 20),
    }  # fmt: skip
    assert found["mean_shift"]["value"] == pytest.approx((0.8 + 0.4) / 2)
    assert found["before"]["changed"] == 0
    assert found["before"]["verdict"] == "less steady"
    example = found["examples"][0]
    assert (example["answer"], example["answer_swapped"]) == ("bad", "good")
    assert example["text"].startswith("She")
    assert example["swapped"].startswith("He")
    assert (nothing["rows"], nothing["judged"]) == (0, False)


def test_a_fair_model_changes_nothing():
    lists = [LISTS["gender"]]
    for task in ("classify", "extract"):
        [found] = counterfactual(find_cases(ROWS, lists), lists, predictor_answers(Prejudiced(task, fair=True)))
        assert (found["rows"], found["changed"]) == (40, 0)


def test_numbers_change_by_more_than_a_tenth_of_their_spread():
    lists = [LISTS["gender"]]
    [found] = counterfactual(find_cases(ROWS, lists), lists, predictor_answers(Prejudiced("regress")))
    assert found["changed"] == 40
    assert found["mean_shift"]["value"] == pytest.approx(10.0)


def test_pairs_are_swapped_in_both_texts():
    lists = [LISTS["gender"]]
    [case] = find_cases([Sample("A man", "he sat", "x")], lists)["gender"]
    assert case.asked.inputs == (("A man", "he sat"), ("A woman", "she sat"))


def test_memory_is_bounded_and_drawn_evenly():
    rows = (Sample(f"he {i}", None, "good", line=i) for i in range(5 * MOST_ROWS))
    lines = [case.sample.line for case in find_cases(rows, [LISTS["gender"]])["gender"]]
    assert len(lines) == MOST_ROWS
    assert 2.3 * MOST_ROWS < sum(lines) / len(lines) < 2.7 * MOST_ROWS


def test_a_writer_is_asked_for_loss_and_for_answers():
    rows = [chat(f"where is he {i}", f"he is at place {i}") for i in range(12)]
    rows += [completion(f"she {i}", f"her book {i}") for i in range(4)]
    words = [LISTS["gender"]]

    def loss(sample):
        return 2.0 if "she" in sample.text else 1.0

    mirror = WriterAnswers(FakeWriter(lambda prompt: prompt, loss), answered=10, max_tokens=8)
    [found] = counterfactual(find_cases(rows, words), words, mirror, resamples=100)
    assert (found["rows"], found["answered"], found["changed"]) == (16, 10, 0)  # the answer follows the swap
    assert found["mean_shift"]["value"] == pytest.approx(1.0)
    assert {one["from"]: one["mean_shift"] for one in found["by_swap"]} == pytest.approx({"male": 1.0, "female": -1.0})
    stubborn = WriterAnswers(FakeWriter(lambda prompt: "yes" if "she" in prompt else "no"), answered=10, max_tokens=8)
    [found] = counterfactual(find_cases(rows, words), words, stubborn, resamples=100)
    assert found["changed"] == 10
