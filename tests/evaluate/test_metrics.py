"""Our metrics against scikit-learn, scipy and small independent references, point by point and resample by resample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from luthier.core.errors import DataError, RecipeError
from luthier.core.predictor import Prediction, SpanPrediction
from luthier.data.samples import Span
from luthier.evaluate.classification import ClassificationJudge
from luthier.evaluate.evaluation import evaluate_predictions
from luthier.evaluate.intervals import resample_weights
from luthier.evaluate.label_sets import LabelSetsJudge
from luthier.evaluate.regression import RegressionJudge


def softmax(logits):
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponent / exponent.sum(axis=1, keepdims=True)


@pytest.fixture
def classified():
    generator = np.random.default_rng(7)
    k, n = 4, 120
    truth = generator.integers(0, k, n)
    logits = generator.normal(size=(n, k)).round(1)  # rounded: ties in the ranking
    logits[np.arange(n), truth] += 1.2
    probabilities = softmax(logits)
    return ClassificationJudge(list("abcd"), truth, probabilities.argmax(axis=1), probabilities)


@pytest.fixture
def label_sets():
    generator = np.random.default_rng(8)
    truth = generator.random((90, 5)) < [0.5, 0.3, 0.1, 0.6, 0.0]
    scores = np.clip(truth * 0.3 + generator.random((90, 5)).round(1) * 0.7, 0, 1)
    return LabelSetsJudge(list("abcde"), truth, scores >= 0.5, scores)


@pytest.fixture
def regressed():
    generator = np.random.default_rng(9)
    truth = generator.normal(1000, 3, (80, 2)).round(0)
    return RegressionJudge(truth, truth + generator.normal(0, 2, (80, 2)).round(0), ["x", "y"])


@pytest.mark.parametrize("kind", ["classified", "label_sets", "regressed"])
def test_a_resample_equals_the_metric_of_the_rows_drawn(kind, request):
    """The weights form of every metric, and scikit-learn's on the repeated rows, are the same number."""
    judge = request.getfixturevalue(kind)
    weights = np.concatenate(list(resample_weights(judge.num_rows, 6, seed=3)), axis=1)
    assert weights.sum(axis=0).tolist() == [judge.num_rows] * 6
    found = judge.resampled(judge.names(), weights)
    assert set(found) == set(judge.names())
    classes = judge.resampled_classes(weights)
    for b in range(6):
        rows = np.repeat(np.arange(judge.num_rows), weights[:, b].astype(int))
        if kind == "regressed":
            drawn = RegressionJudge(judge.truth[rows], judge.answers[rows], judge.targets)
        else:
            drawn = type(judge)(judge.labels, judge.truth[rows], judge.answers[rows], judge.scores[rows])
        for name, value in drawn.point(judge.names()).items():
            assert found[name][b] == pytest.approx(value, abs=1e-9), name
        for i, values in enumerate(drawn.per_class().values()):
            for name, each in classes.items():
                assert each[i, b] == pytest.approx(values[name], abs=1e-9), (i, name)


def test_classification_equals_scikit_learn(classified):
    truth, answers, scores = classified.truth, classified.answers, classified.scores
    found = classified.point(classified.names())
    assert found["accuracy"] == sk.accuracy_score(truth, answers)
    for average in ("macro", "micro", "weighted"):
        assert found[f"{average}_f1"] == pytest.approx(sk.f1_score(truth, answers, average=average))
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth, scores, multi_class="ovr", average="macro"))
    onehot = np.eye(4)[truth]
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(onehot, scores, average="macro"))
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, scores))
    table = classified.per_class()
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, answers)
    for i, label in enumerate("abcd"):
        row = table[label]
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(
            [precision[i], recall[i], f1[i], support[i]]
        )
    assert (classified.confusion_matrix() == sk.confusion_matrix(truth, answers)).all()


def test_calibration_error_by_hand():
    """Guo et al. 2017, equation 3, bin by bin in a plain loop."""
    generator = np.random.default_rng(0)
    probabilities = softmax(generator.normal(size=(200, 3)) * 2)
    truth = generator.integers(0, 3, 200)
    error = 0.0
    for m in range(15):
        rows = [i for i in range(200) if m / 15 < probabilities[i].max() <= (m + 1) / 15]
        if rows:
            accuracy = np.mean([probabilities[i].argmax() == truth[i] for i in rows])
            confidence = np.mean([probabilities[i].max() for i in rows])
            error += len(rows) / 200 * abs(accuracy - confidence)
    judge = ClassificationJudge(list("abc"), truth, probabilities.argmax(axis=1), probabilities)
    assert judge.point(["calibration_error"])["calibration_error"] == pytest.approx(error)


def test_several_labels_equal_scikit_learn(label_sets):
    truth, answers = label_sets.truth, label_sets.answers
    found = label_sets.point(label_sets.names())
    assert found["micro_f1"] == pytest.approx(sk.f1_score(truth, answers, average="micro"))
    present = [c for c in range(5) if truth[:, c].any() or answers[:, c].any()]
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth[:, present], answers[:, present], average="macro"))
    assert found["subset_accuracy"] == sk.accuracy_score(truth, answers)
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth[:, :4], label_sets.scores[:, :4], average="macro"))
    loss = np.mean([sk.log_loss(truth[:, c], label_sets.scores[:, c], labels=[False, True]) for c in range(5)])
    assert found["log_loss"] == pytest.approx(loss)


def test_regression_equals_scikit_learn_and_scipy(regressed):
    truth, answers = regressed.truth, regressed.answers
    found = regressed.point(regressed.names())
    assert found["mse"] == pytest.approx(sk.mean_squared_error(truth, answers))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, answers))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, answers))
    assert found["r2"] == pytest.approx(sk.r2_score(truth, answers))
    assert found["pearson"] == pytest.approx(np.mean([stats.pearsonr(truth[:, t], answers[:, t])[0] for t in (0, 1)]))
    assert found["spearman"] == pytest.approx(np.mean([stats.spearmanr(truth[:, t], answers[:, t])[0] for t in (0, 1)]))
    assert set(regressed.per_class()) == {"x", "y"}


def test_a_constant_prediction_has_no_correlation_but_a_note():
    predictions = [Prediction(score=2.0)] * 5
    found = evaluate_predictions("regress", [1.0, 2.0, 3.0, 4.0, 5.0], predictions, ["score"], bootstrap=50)
    assert found.metrics["spearman"].to_dict() == {"value": None, "low": None, "high": None}
    assert found.metrics["mse"].value == pytest.approx(3.0)
    assert any("same" in note for note in found.notes)
    assert found.primary == "mse"


def reference_span_scores(gold, predicted):
    """seqeval's and conlleval's rule, written plainly: sets of (row, start, end, label)."""

    def chunks(rows):
        return {(i, s.start, s.end, s.label) for i, spans in enumerate(rows) for s in spans}

    g, p = chunks(gold), chunks(predicted)

    def scores(g, p):
        precision = len(g & p) / len(p) if p else 0.0
        recall = len(g & p) / len(g) if g else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return precision, recall, f1

    labels = {item[3] for item in g | p}
    return scores(g, p), {c: scores({x for x in g if x[3] == c}, {x for x in p if x[3] == c}) for c in labels}


def test_spans_follow_the_conll_convention():
    generator = np.random.default_rng(4)

    def row(cls):
        return tuple(
            cls(int(s), int(s) + 3, str(generator.choice(["PER", "LOC", "ORG"])))
            for s in generator.choice(np.arange(0, 40, 4), size=generator.integers(0, 5), replace=False)
        )

    gold = [row(Span) for _ in range(60)]
    predicted = [
        tuple(
            SpanPrediction(s.start, s.end + int(generator.random() < 0.2), s.label)
            for s in spans
            if generator.random() < 0.8
        )
        + row(SpanPrediction)[:1]
        for spans in gold
    ]
    predicted = [tuple({(s.start, s.end, s.label): s for s in spans}.values()) for spans in predicted]
    found = evaluate_predictions(
        "extract", gold, [Prediction(spans=spans) for spans in predicted], ["PER", "LOC", "ORG"], bootstrap=200
    )
    micro, each = reference_span_scores(gold, predicted)
    assert [found.metrics[name].value for name in ("precision", "recall", "f1")] == pytest.approx(micro)
    for label, values in each.items():
        row_ = found.per_class[label]
        assert [row_["precision"], row_["recall"], row_["f1"]] == pytest.approx(values)
        assert row_["intervals"]["f1"][0] <= row_["f1"] <= row_["intervals"]["f1"][1]
    exact = np.mean(
        [
            {(s.start, s.end, s.label) for s in g} == {(s.start, s.end, s.label) for s in p}
            for g, p in zip(gold, predicted, strict=True)
        ]
    )
    assert found.metrics["exact_match"].value == pytest.approx(exact)
    assert found.metrics["f1"].low < found.metrics["f1"].value < found.metrics["f1"].high


def test_a_label_only_in_test_and_an_abstention_count_as_wrong():
    predictions = [
        Prediction("a", 0.9, {"a": 0.9, "b": 0.1}),
        Prediction("a", 0.6, {"a": 0.6, "b": 0.4}),
        Prediction(None, 0.5, {"a": 0.5, "b": 0.5}, abstained=True),
    ]
    found = evaluate_predictions("classify", ["a", "new", "b"], predictions, ["a", "b"], bootstrap=50)
    assert found.metrics["accuracy"].value == pytest.approx(1 / 3)
    assert found.labels == ["a", "b", "new"]
    assert found.confusion["unanswered"] == [0, 1, 0]
    assert len(found.notes) == 2


def test_scores_that_are_no_probabilities_give_no_log_loss():
    predictions = [Prediction("a", 3.0, {"a": 3.0, "b": -1.0}), Prediction("b", 2.0, {"a": 0.0, "b": 2.0})]
    found = evaluate_predictions("classify", ["a", "b"], predictions, ["a", "b"], bootstrap=20)
    assert "log_loss" not in found.metrics
    assert found.metrics["roc_auc"].value == 1.0
    assert any("probabilities" in note for note in found.notes)


def test_unknown_metric_names_the_nearest():
    with pytest.raises(RecipeError, match="accuracy"):
        evaluate_predictions("classify", ["a"], [Prediction("a")], ["a"], metrics=["acuracy"])
    with pytest.raises(RecipeError, match="classify"):
        evaluate_predictions("clasify", ["a"], [Prediction("a")], ["a"])
    only = evaluate_predictions(
        "classify", ["a"], [Prediction("a")], ["a"], metrics=["accuracy", "roc_auc"], bootstrap=9
    )
    assert only.metrics["accuracy"].value == 1.0
    assert not only.metrics["roc_auc"].defined
    assert any("roc_auc" in note for note in only.notes)


def test_no_rows_and_unequal_numbers_are_errors():
    with pytest.raises(DataError, match="no row"):
        evaluate_predictions("classify", [], [], ["a"])
    with pytest.raises(DataError, match="1 predictions for 2 rows"):
        evaluate_predictions("classify", ["a", "b"], [Prediction("a")], ["a"])
    with pytest.raises(DataError, match="targets"):
        evaluate_predictions("regress", [(1.0, 2.0)], [Prediction(score=1.0)], ["x"])
    with pytest.raises(DataError, match="no number"):
        evaluate_predictions("regress", [1.0], [Prediction()], ["x"])
