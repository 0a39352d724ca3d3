"""Prompts, retrieval and mixtures: what they ask, what they show, and what they answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_models import Scripted, by_words

from luthier.approaches.answering import Answered
from luthier.approaches.answers import AnswerForm
from luthier.approaches.changes import altered_rows, following, with_answer
from luthier.approaches.described import Described, words_of_label
from luthier.approaches.examples import Fixed, Similar, diverse_rows, random_rows
from luthier.approaches.index import Index, Passage
from luthier.approaches.mixture import Mixture, mixed
from luthier.approaches.nearest import Nearest
from luthier.approaches.prompted import Prompted, Sources
from luthier.approaches.questions import Asking, instructions
from luthier.core.conversation import Completion, Conversation, Message
from luthier.core.predictor import Prediction
from luthier.data.samples import Sample

FORM = AnswerForm("classify", ("late", "lost"))
TEXT = AnswerForm("chat", ())
ROWS = [
    Sample("my parcel is late", target="late", line=1),
    Sample("it is lost for good", target="lost", line=2),
    Sample("so late again", target="late", line=3),
    Sample("you lost it", target="lost", line=4),
]


def chat(question, answer, *before):
    return Sample(question, target=Conversation((*before, Message("user", question), Message("assistant", answer))))


def index_of(rows, asking):
    return Index(
        [Passage(asking.question(row), asking.answer(row), f"row {n}", n) for n, row in enumerate(rows)], by_words
    )


def test_a_question_has_instruction_examples_sources_and_itself():
    asking = Asking(FORM, "Sort it.", cite=True)
    found = asking.conversation(ROWS[0], [ROWS[1]], ["parcels may be late"])
    assert [(m.role, m.content) for m in found.messages] == [
        ("system", "Sort it."),
        ("user", "it is lost for good"),
        ("assistant", '{"label": "lost"}'),
        (
            "user",
            "Sources:\n[1] parcels may be late\n\nUse the sources where they help. Name the sources that you use by "
            "their numbers, as in [1].\n\nmy parcel is late",
        ),
    ]


def test_a_conversation_keeps_its_own_system_and_turns():
    row = chat("and now?", "gone", Message("system", "You are kind."), Message("user", "hello"),
               Message("assistant", "hi", weight=0))  # fmt: skip
    found = Asking(TEXT, "Be short.").conversation(row)
    assert [(m.role, m.content) for m in found.messages] == [
        ("system", "Be short.\n\nYou are kind."), ("user", "hello"), ("assistant", "hi"), ("user", "and now?")
    ]  # fmt: skip
    assert Asking(TEXT, "").answer(row) == "gone"


def test_what_does_not_fit_is_left_out_from_the_far_end():
    asking = Asking(FORM, "", plain=True)
    model = Scripted(lambda prompt: "late", longest=60)
    found = asking.fitting(model, ROWS[0], ROWS[1:], (), max_tokens=5)
    assert [m.content for m in found.messages if m.role == "user"][-2:] == ["you lost it", "my parcel is late"]
    assert model.fits(found, 5)
    alone = asking.fitting(Scripted(longest=1), ROWS[0], ROWS, ["source"], max_tokens=5)
    assert len(alone.messages) == 1  # the question itself stays


def test_a_label_is_chosen_by_its_likelihood_against_an_empty_text():
    """A model that always prefers "late" by 3 nats still answers "lost" where the text moves it by 1."""

    def loves(prompt, answer):
        bias = 3.0 if answer == "late" else 0.0
        return bias + (1.0 if answer in prompt.messages[-1].content else 0.0)

    found = Prompted(Scripted(loves=loves), Asking(FORM, "")).answer(ROWS)
    assert [prediction.label for prediction in found] == ["late", "lost", "late", "lost"]
    share = math.e / (math.e + 1)
    assert found[1].scores["lost"] == pytest.approx(share)
    assert sum(found[1].scores.values()) == pytest.approx(1)


def test_without_likelihoods_the_answer_is_held_to_the_schema_and_counted():
    model = Scripted(lambda prompt: '{"label": "lost"}', local=False)
    asked = Prompted(model, Asking(FORM, ""), choose=Fixed(ROWS[:1]))
    assert [prediction.label for prediction in asked.answer(ROWS[2:])] == ["lost", "lost"]
    assert model.asked[0][1].json_schema == FORM.schema
    assert (asked.usage.requests, asked.usage.prompt_tokens, asked.usage.completion_tokens) == (2, 20, 4)
    assert model.asked[0][0].messages[1].content == '{"label": "late"}'


def test_sources_are_the_best_passages():
    model = Scripted(lambda prompt: prompt.messages[-1].content)
    asking = Asking(TEXT, "")
    rows = [chat("opening hours", "nine to five"), chat("price of bread", "two coins")]
    found = Prompted(model, asking, sources=Sources(index_of(rows, asking), 1, "both")).answer([chat("the price?", "")])
    assert "[1] two coins" in (found[0].output or "")
    assert "nine to five" not in (found[0].output or "")


def test_examples():
    rows = [Sample(f"text {number}", target="a" if number < 90 else "b") for number in range(100)]
    picked = random_rows(rows, 4, seed=1)
    assert sorted(row.target for row in picked) == ["a", "a", "b", "b"]
    assert random_rows(rows, 4, seed=1) == picked != random_rows(rows, 4, seed=2)
    assert len(random_rows(rows, 1000, seed=1)) == 100
    vectors = np.asarray([[1.0, 0.0], [0.99, math.sqrt(1 - 0.99**2)], [0.0, 1.0], [-1.0, 0.0]])
    plain = [Sample(f"t{number}", target=(1.0,)) for number in range(4)]
    found = diverse_rows(plain, vectors, 3)
    assert {row.text for row in found[1:]} == {"t3", "t0"} or plain[3] in found
    assert len({row.text for row in diverse_rows(plain, vectors, 4)}) == 4


def test_similar_examples_stand_nearest_last():
    asking = Asking(FORM, "")
    choose = Similar(index_of(ROWS, asking), ROWS, 2, "meaning")
    assert [row.text for row in choose(Sample("x"), "parcel is late")][-1] == "my parcel is late"


@pytest.mark.parametrize("how", ["words", "meaning", "both"])
def test_nearest_rows_vote(how):
    asking = Asking(FORM, "")
    nearest = Nearest(index_of(ROWS, asking), ROWS, asking, 3, how)
    found = nearest.answer([Sample("late late parcel"), Sample("lost it for good")])
    assert [prediction.label for prediction in found] == ["late", "lost"]
    assert all(sum(prediction.scores.values()) == pytest.approx(1) for prediction in found)
    assert nearest.answer([]) == []


def test_nearest_numbers_are_averaged_and_label_sets_pooled():
    numbers = AnswerForm("regress", ("stars",), low=0, high=5)
    rows = [Sample("good good", target=(5.0,)), Sample("good", target=(4.0,)), Sample("bad", target=(0.0,))]
    asking = Asking(numbers, "")
    (found,) = Nearest(index_of(rows, asking), rows, asking, 2, "meaning").answer([Sample("good")])
    assert found.score == pytest.approx(4.5)  # both point the same way, so they weigh the same
    several = AnswerForm("classify", ("a", "b"), several_labels=True)
    rows = [Sample("x y", target=("a", "b")), Sample("x", target=("a",))]
    asking = Asking(several, "")
    (found,) = Nearest(index_of(rows, asking), rows, asking, 2, "meaning").answer([Sample("x")])
    assert found.labels == ("a",)
    assert found.scores["a"] == pytest.approx(1)


def test_labels_are_compared_by_what_they_are_called():
    assert [words_of_label(label) for label in ("card_arrival", "lostOrStolen", "A/B-test")] == [
        "card arrival", "lost or stolen", "a b test"
    ]  # fmt: skip
    described = Described(by_words, ["card_arrival", "lostMoney"])
    found = described.answer([Sample("where is my card arrival"), Sample("money is lost")])
    assert [prediction.label for prediction in found] == ["card_arrival", "lostMoney"]
    told = Described(by_words, ["x", "y"], descriptions={"x": "parcels that are late", "y": "broken things"})
    assert told.answer([Sample("things broken")])[0].label == "y"


def test_a_mixture_is_the_weighted_mean():
    one = Prediction(label="a", score=0.8, scores={"a": 0.8, "b": 0.2})
    other = Prediction(label="b", score=1.0, scores={"a": 0.0, "b": 1.0})
    found = mixed(one, other, 0.5)
    assert (found.label, found.scores) == ("b", {"a": 0.4, "b": 0.6})
    assert mixed(one, other, 0.75).label == "a"
    assert mixed(Prediction(score=1.0, values=(1.0,)), Prediction(score=3.0, values=(3.0,)), 0.25).score == 2.5

    class Fixed:
        usage = None

        def __init__(self, prediction):
            self.prediction = prediction

        def answer(self, samples):
            return [self.prediction] * len(samples)

    assert [p.label for p in Mixture(Fixed(one), Fixed(other), 1.0).answer(ROWS)] == ["a"] * 4


def test_retrieval_follows_changed_facts_and_weights_do_not():
    asking = Asking(FORM, "")
    altered = altered_rows(ROWS, asking, seed=0)
    assert altered
    assert all(row.target != ROWS[place].target and row.text == ROWS[place].text for place, row in altered.items())

    def change(rows):
        new = [rows.get(place, row) for place, row in enumerate(ROWS)]
        return Nearest(index_of(new, asking), new, asking, 1, "words")

    nearest = Nearest(index_of(ROWS, asking), ROWS, asking, 1, "words")
    found = following(change, nearest, ROWS, altered, asking)
    assert (found.share.value, found.asked) == (1.0, len(altered))
    assert found.seconds is not None
    assert 0.3 < found.share.low < 1.0

    class Weights:
        task, labels = "classify", FORM.labels

        def predict(self, texts):
            known = {row.text: row.target for row in ROWS}
            return [Prediction(label=known[text]) for text in texts]

    stale = following(None, Answered(Weights()), ROWS, altered, asking)
    assert (stale.share.value, stale.seconds) == (0.0, None)
    assert following(None, nearest, ROWS, {}, asking) is None


def test_altered_texts_keep_their_question():
    row, other = chat("who leads?", "Ada leads.", Message("system", "s")), chat("when?", "On Monday.")
    new = with_answer(row, other)
    assert new.target.messages[-1].content == "On Monday."
    assert new.target.messages[:-1] == row.target.messages[:-1]
    completed = with_answer(Sample("p", target=Completion("p", "a")), Sample("q", target=Completion("q", "b")))
    assert completed.target == Completion("p", "b")


EVERY_FORM = [
    FORM,
    TEXT,
    AnswerForm("regress", ("n",), low=0, high=1),
    AnswerForm("extract", ("d",)),
    AnswerForm("classify", ("a",), several_labels=True),
    AnswerForm("complete", ()),
]


@pytest.mark.parametrize("form", EVERY_FORM)
def test_every_task_has_instructions_and_they_name_the_labels(form):
    texts = instructions(form)
    assert len(set(texts)) == len(texts) >= 2
    for label in form.labels:
        assert all(label in text for text in texts)
