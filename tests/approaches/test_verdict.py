"""The verdict: the best, ties, the one-standard-error rule, and what would flip it."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.approaches.answering import Usage
from luthier.approaches.answers import AnswerForm
from luthier.approaches.arm import Arm, Following, Prices
from luthier.approaches.scored import Scorer, answerable
from luthier.approaches.verdict import money, verdict
from luthier.approaches.wording import PAGE, TERMINAL
from luthier.core.conversation import Completion
from luthier.core.predictor import Prediction
from luthier.data.samples import Sample
from luthier.evaluate.intervals import Interval

FORM = AnswerForm("classify", ("a", "b"))
COUNT = 200
ROWS = [Sample(f"t{number}", target="ab"[number % 2]) for number in range(COUNT)]
SCORER = Scorer(FORM, ROWS, resamples=200)


def arm(name, family, right, *, seed=0, seconds=1.0, build=1.0, latency=1.0, follows=None, rows=COUNT):
    """An arm that answers a share of `right` rows rightly."""
    good = np.random.default_rng(seed).random(len(ROWS)) < right
    answers = [
        Prediction(label=row.target if ok else "ba"["ab".index(row.target)]) for row, ok in zip(ROWS, good, strict=True)
    ]
    found = Arm(name, family, build_seconds=build, answer_seconds=seconds, latency_ms=latency)
    found.predictions = answers[:rows]
    found.score = SCORER.score(found.predictions)
    found.following = follows
    return found


def test_the_best_is_recommended_when_it_is_plainly_better():
    found = verdict(
        [arm("tuned", "fine-tuning", 0.95), arm("prompt", "prompt", 0.6, seed=1)], SCORER, Prices(), rows=200
    )
    assert (found.arm.name, found.best.name, found.ties) == ("tuned", "tuned", [])
    assert "better than the next, prompt, by" in found.text


def test_of_equals_the_simplest_is_recommended_and_the_tie_is_told():
    same = [arm("tuned", "fine-tuning", 0.9), arm("prompt", "prompt", 0.9)]
    found = verdict(same, SCORER, Prices(), rows=200)
    assert found.arm.name == "prompt"
    assert found.ties == ["tuned"]
    assert "cannot be told apart from tuned" in found.text


def test_a_tie_that_looks_much_worse_is_no_recommendation():
    rows = 24
    scorer = Scorer(FORM, ROWS[:rows], resamples=200)
    better, worse = arm("tuned", "fine-tuning", 0.0, rows=rows), arm("prompt", "prompt", 0.0, rows=rows)
    for one, right in ((better, 20), (worse, 15)):
        one.predictions = [
            Prediction(label=row.target if place < right else None) for place, row in enumerate(ROWS[:rows])
        ]
        one.score = scorer.score(one.predictions)
    found = verdict([better, worse], scorer, Prices(), rows=rows)
    assert found.arm.name == "tuned"
    if found.ties:
        assert found.ties == ["prompt"]


def test_cost_decides_between_equals_that_cost_differently():
    paid = arm("prompt", "prompt", 0.9)
    paid.usage = Usage(prompt_tokens=10_000_000, completion_tokens=0, requests=200)
    found = verdict([arm("tuned", "fine-tuning", 0.9), paid], SCORER, Prices(prompt=5.0, completion=5.0), rows=200)
    assert found.arm.name == "tuned"
    unknown = verdict([arm("tuned", "fine-tuning", 0.9), paid], SCORER, Prices(), rows=200)
    assert unknown.arm.name == "tuned"  # nobody said what the tokens cost


def test_what_would_flip_it_is_told_with_numbers():
    follows = Following(Interval(0.95, 0.7, 1.0), 20, 0.1)
    stays = Following(Interval(0.05, 0.0, 0.2), 20, None)
    arms = [
        arm("tuned", "fine-tuning", 0.95, latency=400.0, seconds=400.0, follows=stays),
        arm("light", "fine-tuning", 0.95, latency=400.0, seconds=400.0, build=1e6),
        arm("near", "retrieval", 0.8, seed=3, follows=follows),
    ]
    found = verdict(arms, SCORER, Prices(), rows=200)
    assert found.arm.name == "tuned"
    assert "if your facts change often: near answered 95 % of altered facts as they now are, tuned 5 %" in found.text


def test_arms_that_did_not_answer_everything_are_not_recommended():
    short = arm("short", "prompt", 1.0, rows=100)
    short.state = "dropped"
    found = verdict([short, arm("whole", "baseline", 0.6)], SCORER, Prices(), rows=200)
    assert found.arm.name == "whole"
    nothing = verdict([short], SCORER, Prices(), rows=200)
    assert nothing.arm is None
    assert "no verdict" in nothing.text


def test_what_ran_out_of_time_is_told_when_it_looked_better():
    whole, cut = arm("words", "baseline", 0.5), arm("frozen", "baseline", 0.9, seed=2, rows=32)
    cut.state, cut.why = "dropped", "the budget was used up after 32 rows"
    late = Arm("LoRA", "fine-tuning", state="not run", why="the budget was used up")
    found = verdict([whole, cut, late], SCORER, Prices(), rows=200)
    assert found.arm is whole
    theirs, ours = (100 * SCORER.value(one.predictions[:32]) for one in (cut, whole))
    assert "on the 32 rows that frozen answered" in found.flips[0]
    assert f"it reached {theirs:.1f} %, words {ours:.1f} % on the same" in found.flips[0]
    assert "LoRA had no turn" in found.flips[1]
    cut.predictions = [Prediction(label=None)] * 32
    assert not [flip for flip in verdict([whole, cut], SCORER, Prices(), rows=200).flips if "frozen" in flip]


def test_texts_are_scored_without_a_likelihood_and_paired():
    form = AnswerForm("complete", ())
    rows = [Sample(f"q{number}", target=Completion(f"q{number}", f"word{number}")) for number in range(40)]
    scorer = Scorer(form, rows, resamples=200)
    right = [Prediction(output=row.target.completion) for row in rows]
    wrong = [Prediction(output="no") for _ in rows]
    assert scorer.metric == "exact_match"
    assert scorer.value(right) == 1.0
    assert scorer.score(right).interval.value == 1.0
    test = scorer.compare(right, wrong[:20])
    assert test.difference.value == 1.0
    assert scorer.verdicts(right, {"wrong": wrong})["wrong"][2] == "better"
    assert answerable([*rows, Sample("x"), Sample("y", target=Completion("", "plain"))]) == rows


def test_prices():
    prices = Prices(hour=3.6, prompt=1.0, completion=2.0)
    assert prices.of(1.0, Usage()) == pytest.approx(0.001)
    assert prices.of(0.0, Usage(1_000_000, 500_000, 1)) == pytest.approx(2.0)
    assert Prices(hour=1.0).of(0.0, Usage(1, 1, 1)) is None
    one = arm("x", "prompt", 0.9, seconds=36.0)
    assert one.thousand_cost(prices) == pytest.approx(0.036 * 1000 / 200)
    assert [money(value) for value in (None, 0, 1e-9, 0.0123, 12.5, 1234.5)] == [
        "unknown", "$0", "< $0.0001", "$0.01", "$12.50", "$1,234.50"
    ]  # fmt: skip


def test_nothing_is_recommended_where_nothing_is_right():
    useless = arm("prompt", "prompt", 0.0)
    found = verdict([useless, arm("tuned", "fine-tuning", 0.0)], SCORER, Prices(), rows=200)
    assert found.arm is None
    assert "no arm gave one right answer" in found.text


def test_a_page_is_told_of_more_time_and_a_terminal_of_its_option():
    late = Arm("LoRA", "fine-tuning", state="not run", why="the budget was used up")
    arms = [arm("words", "baseline", 0.5), late]
    told = [verdict(arms, SCORER, Prices(), rows=COUNT, wording=wording).flips for wording in (TERMINAL, PAGE)]
    assert told[0][0] == "perhaps, with a larger --budget: LoRA had no turn"
    assert told[1][0] == "perhaps, with more time: LoRA had no turn"
    assert "`luthier curve` tells" in told[0][-1]
    assert not any("--" in flip or "luthier" in flip for flip in told[1])
    wrong = arm("words", "baseline", 0.0)
    wrong.predictions = [Prediction(label="never")] * COUNT
    for wording, said in ((TERMINAL, "a larger model (--model, --endpoint)."), (PAGE, "or a larger model.")):
        assert said in verdict([wrong], SCORER, Prices(), rows=COUNT, wording=wording).text
