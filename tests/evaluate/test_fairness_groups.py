"""Metrics by group: held against fairlearn and SciPy, corrected for their number, and honest about small groups."""

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, false_negative_rate, false_positive_rate
from fake_writers import FakeWriter, chat
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from luthier.core.predictor import Prediction, SpanPrediction
from luthier.data.samples import Span
from luthier.evaluate.evaluation import evaluate_predictions
from luthier.evaluate.fairness.by_group import Grouping, by_group, unusable_because
from luthier.evaluate.fairness.measures import Measure, measures_of, measures_of_writing
from luthier.evaluate.fairness.two_samples import difference_of, p_value_of, side_of
from luthier.evaluate.generation import evaluate_generation
from luthier.evaluate.intervals import holm, wilson


def labelled(truth, answers, sure=0.8):
    """An evaluation of single labels, with probabilities."""
    labels = sorted({*truth, *answers})
    rest = (1 - sure) / (len(labels) - 1)
    given = [
        Prediction(label=label, score=sure, scores={name: sure if name == label else rest for name in labels})
        for label in answers
    ]
    return evaluate_predictions("classify", truth, given, labels, bootstrap=100)


def drawn(groups, wrong, labels=("no", "yes"), seed=0):
    """(truth, answers): each group's rows are wrong with its probability."""
    generator = np.random.default_rng(seed)
    truth = [labels[k] for k in generator.integers(0, len(labels), len(groups))]
    answers = [
        t if generator.random() >= wrong[g] else labels[(labels.index(t) + 1) % len(labels)]
        for t, g in zip(truth, groups, strict=True)
    ]
    return truth, answers


GROUPS = ["a"] * 200 + ["b"] * 120 + ["c"] * 60


def test_rates_and_gaps_are_fairlearns():
    truth, answers = drawn(GROUPS, {"a": 0.1, "b": 0.3, "c": 0.15})
    found = by_group(Grouping.of("region", GROUPS), measures_of(labelled(truth, answers).judge), resamples=100)
    positive = [np.array([label == "yes" for label in side]) for side in (truth, answers)]
    metrics = {
        "error_rate": lambda t, y: 1 - accuracy_score(t, y),
        "false_positive_rate:yes": false_positive_rate,
        "false_negative_rate:yes": false_negative_rate,
    }
    frame = MetricFrame(metrics=metrics, y_true=positive[0], y_pred=positive[1], sensitive_features=GROUPS)
    gaps = {gap.measure.name: gap for gap in found.gaps}
    for name in metrics:
        for group in "abc":
            assert found.sides[name][group].interval.value == pytest.approx(frame.by_group[name][group])
        assert gaps[name].difference.value == pytest.approx(frame.difference()[name])
        assert 1 / gaps[name].ratio == pytest.approx(frame.ratio()[name])


def test_a_real_difference_is_shown_and_its_p_value_is_fishers():
    truth, answers = drawn(GROUPS, {"a": 0.1, "b": 0.4, "c": 0.1})
    wrong = np.array([t != y for t, y in zip(truth, answers, strict=True)])
    groups = np.array(GROUPS)
    found = by_group(Grouping.of("region", GROUPS), measures_of(labelled(truth, answers).judge))
    main = {item.group: item for item in found.differences if item.measure.kind == "main"}
    raw = []
    for group in "abc":
        table = [[wrong[groups == group].sum(), (~wrong[groups == group]).sum()],
                 [wrong[groups != group].sum(), (~wrong[groups != group]).sum()]]  # fmt: skip
        raw.append(stats.fisher_exact(table).pvalue)
    assert [main[group].p_value for group in "abc"] == pytest.approx(holm(raw))
    assert main["b"].verdict == "worse"
    assert main["b"].ratio == pytest.approx(wrong[groups == "b"].mean() / wrong[groups != "b"].mean())
    assert main["b"].difference.low > 0


def test_no_difference_is_invented():
    """Of 40 columns that mean nothing at most a few are called different: the error stays near 5 %."""
    generator = np.random.default_rng(3)
    truth, answers = drawn(GROUPS, {"a": 0.2, "b": 0.2, "c": 0.2}, seed=5)
    measures = [one for one in measures_of(labelled(truth, answers).judge) if one.kind == "main"]
    shown = 0
    for _ in range(40):
        grouping = Grouping.of("noise", list(generator.permutation(GROUPS)))
        shown += any(item.shown for item in by_group(grouping, measures, resamples=200).differences)
    assert shown <= 4


def test_two_groups_are_one_test():
    groups = ["a"] * 100 + ["b"] * 100
    truth, answers = drawn(groups, {"a": 0.1, "b": 0.5})
    found = by_group(Grouping.of("x", groups), measures_of(labelled(truth, answers).judge))
    assert [item.group for item in found.differences if item.measure.name == "error_rate"] == ["b"]


def test_small_groups_are_listed_and_not_judged():
    groups = ["a"] * 60 + ["b"] * 60 + ["rare"] * 4
    truth, answers = drawn(groups, {"a": 0.1, "b": 0.1, "rare": 1.0})
    found = by_group(Grouping.of("x", groups), measures_of(labelled(truth, answers).judge))
    assert found.judged == ["a", "b"]
    assert found.rows["rare"] == 4
    assert found.sides["error_rate"]["rare"].interval.value == 1.0
    assert "rare" not in {item.group for item in found.differences}


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (["(none)"] * 30, "every cell is empty"),
        (["a"] * 30, "all 30 rows are of one group, 'a'"),
        ([str(i) for i in range(30)], "it is an id, not a group"),
        (["a"] * 6 + ["b"] * 6, "2 groups share 12 rows, and fewer than two have 10 or more (the largest has 6)"),
        (["a"] * 20 + ["b"] * 20, ""),
    ],
)
def test_groups_that_cannot_be_judged_say_why(groups, words):
    reason = unusable_because(Grouping.of("x", groups))
    assert (words in reason) if words else reason == ""


def test_scores_that_promise_too_much_are_found():
    groups = ["a"] * 150 + ["b"] * 150
    truth, answers = drawn(groups, {"a": 0.2, "b": 0.6})
    found = by_group(Grouping.of("x", groups), measures_of(labelled(truth, answers).judge))
    sides = found.sides["overconfidence"]
    right = np.array([t == y for t, y in zip(truth, answers, strict=True)])
    assert sides["b"].interval.value == pytest.approx(0.8 - right[150:].mean())
    trust = next(item for item in found.differences if item.measure.name == "overconfidence")
    assert (trust.group, trust.verdict) == ("b", "higher")


def test_three_labels_have_rates_each():
    truth, answers = drawn(GROUPS, dict.fromkeys("abc", 0.3), labels=("x", "y", "z"))
    names = {one.name for one in measures_of(labelled(truth, answers).judge) if one.kind == "rate"}
    assert names == {f"false_{kind}_rate:{label}" for kind in ("positive", "negative") for label in "xyz"}


def test_several_labels():
    truth = [("a", "b"), ("a",), ("b",)] * 20
    answers = [("a", "b"), ("b",), ("b",)] * 20
    given = [Prediction(labels=labels, scores={k: float(k in labels) for k in "ab"}) for labels in answers]
    judged = evaluate_predictions("classify", truth, given, ["a", "b"], several_labels=True, bootstrap=100)
    measures = {one.name: one for one in measures_of(judged.judge)}
    rows = np.arange(60)
    coded = [[[k in labels for k in "ab"] for labels in side] for side in (truth, answers)]
    assert measures["micro_f1"].of(rows) == pytest.approx(f1_score(*map(np.array, coded), average="micro"))
    assert measures["error_rate"].of(rows) == pytest.approx(1 / 3)
    assert measures["false_negative_rate:a"].of(rows) == pytest.approx(0.5)
    assert judged.judge.take(np.arange(3)).point(["micro_f1"])["micro_f1"] == pytest.approx(0.75)


def test_numbers_have_error_and_signed_bias():
    generator = np.random.default_rng(1)
    truth = generator.normal(size=200)
    answers = truth + generator.normal(0, 0.1, 200) + np.repeat([0.0, 0.5], 100)
    judged = evaluate_predictions("regress", [(t,) for t in truth], [Prediction(score=a) for a in answers], ["score"],
                                  bootstrap=100)  # fmt: skip
    found = by_group(Grouping.of("x", ["a"] * 100 + ["b"] * 100), measures_of(judged.judge), resamples=300)
    assert found.sides["mae"]["b"].interval.value == pytest.approx(mean_absolute_error(truth[100:], answers[100:]))
    assert found.sides["bias"]["b"].interval.value == pytest.approx((answers - truth)[100:].mean())
    verdicts = {item.measure.name: (item.group, item.verdict) for item in found.differences}
    assert verdicts == {"mae": ("b", "worse"), "bias": ("b", "higher")}


def test_spans_have_precision_recall_and_f1():
    spans = [(Span(0, 2, "x"), Span(3, 5, "y")), (Span(0, 2, "x"),)] * 15
    given = [Prediction(spans=(SpanPrediction(0, 2, "x"),)), Prediction(spans=(SpanPrediction(0, 1, "x"),))] * 15
    judged = evaluate_predictions("extract", spans, given, ["x", "y"], bootstrap=100)
    measures = {one.name: one for one in measures_of(judged.judge)}
    whole = judged.judge.point(["f1", "precision", "recall"])
    for name, value in whole.items():
        assert measures[name].of(np.arange(30)) == pytest.approx(value)
    first = np.arange(0, 30, 2)
    part = judged.judge.take(first).point(["f1", "precision", "recall"])
    for name, value in part.items():
        assert measures[name].of(first) == pytest.approx(value)
    assert part == pytest.approx({"f1": 2 / 3, "precision": 1.0, "recall": 0.5})


def test_writing_has_loss_and_answers_by_group():
    rows = [chat(f"say {i}", f"word {i % 2}", line=i + 1) for i in range(40)]

    def loss(sample):
        return 1.0 if "word 0" in sample.target.to_text() else 3.0

    writer = FakeWriter(lambda prompt: "word 0", loss=loss)
    judged = evaluate_generation(writer, rows, rows_to_generate=20, bootstrap=100)
    groups = Grouping.of("x", ["even", "odd"] * 20)
    found = by_group(groups, measures_of_writing(judged), resamples=200)
    assert {name: side.interval.value for name, side in found.sides["loss"].items()} == {"even": 1.0, "odd": 3.0}
    assert sum(side.counted for side in found.sides["exact_match"].values()) == 20
    assert found.sides["exact_match"].get("even", found.sides["exact_match"]["odd"]).interval.value in (0.0, 1.0)
    assert next(item for item in found.differences if item.measure.name == "loss").verdict == "worse"


def test_shuffled_p_value_is_scipys():
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.exponential(1.0, 30), generator.exponential(1.6, 25)])
    measure = Measure("m", "m", values, np.ones(55), "main", "lower", False, np.arange(55))
    sides = [side_of(measure, rows, resamples=100, seed=0) for rows in (np.arange(30), np.arange(30, 55))]
    ours, test = p_value_of(measure, *sides, seed=0)
    theirs = stats.permutation_test((values[:30], values[30:]), lambda a, b: abs(a.mean() - b.mean()),
                                    permutation_type="independent", n_resamples=20_000, alternative="greater",
                                    vectorized=False, rng=np.random.default_rng(1))  # fmt: skip
    assert test == "permutation"
    assert ours == pytest.approx(theirs.pvalue, abs=0.015)


def proportion(hits, misses):
    values = np.repeat([1.0, 0.0], [hits, misses])
    return Measure("m", "m", values, np.ones(len(values)), "main", "lower", True, np.arange(len(values)))


def test_where_all_rows_agree_the_interval_is_wilsons():
    measure = proportion(0, 20)
    side = side_of(measure, np.arange(20), resamples=100, seed=0)
    low, high = stats.binomtest(0, 20).proportion_ci(method="wilson")
    assert (side.interval.low, side.interval.high) == pytest.approx((low, high))
    assert wilson(3 / 11, 11) == pytest.approx(tuple(stats.binomtest(3, 11).proportion_ci(method="wilson")))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((0, 10), (0, 20), (-0.1611, 0.2775)), ((10, 0), (0, 20), (0.6791, 1.0)), ((10, 0), (0, 10), (0.6075, 1.0))],
)
def test_and_that_of_the_difference_is_newcombes(one, other, expected):
    """Table II, method 10, of Newcombe 1998."""
    sides = [side_of(m := proportion(*counts), m.rows, resamples=100, seed=0) for counts in (one, other)]
    found = difference_of(*sides)
    assert (found.low, found.high) == pytest.approx(expected, abs=5e-5)


def test_a_proportions_bootstrap_is_the_rows_bootstrap():
    """Multinomial draws of counts stand for draws of rows: same mean and spread."""
    measure = proportion(30, 70)
    side = side_of(measure, measure.rows, resamples=20_000, seed=0)
    assert side.draws.mean() == pytest.approx(0.3, abs=0.002)
    assert side.draws.std() == pytest.approx(np.sqrt(0.3 * 0.7 / 100), rel=0.03)


def test_what_tuning_did_to_the_gap():
    groups = ["a"] * 150 + ["b"] * 150
    truth, answers = drawn(groups, {"a": 0.1, "b": 0.45})
    _, earlier = drawn(groups, {"a": 0.2, "b": 0.2})
    before = measures_of(labelled(truth, earlier).judge)
    gap = by_group(Grouping.of("x", groups), measures_of(labelled(truth, answers).judge), before=before).gaps[0]
    wrong = {name: np.array([t != y for t, y in zip(truth, side, strict=True)]) for name, side in
             (("now", answers), ("then", earlier))}  # fmt: skip
    now, then = (wrong[name][150:].mean() - wrong[name][:150].mean() for name in ("now", "then"))
    assert gap.before == pytest.approx(then)
    assert gap.change.value == pytest.approx(now - then)
    assert gap.change.low > 0


def test_the_same_seed_gives_the_same_numbers():
    truth, answers = drawn(GROUPS, {"a": 0.1, "b": 0.3, "c": 0.15})
    measures = measures_of(labelled(truth, answers).judge)
    found = [repr([item.to_dict() for item in by_group(Grouping.of("x", GROUPS), measures, resamples=200).differences])
             for _ in range(2)]  # fmt: skip
    assert found[0] == found[1]
