from __future__ import annotations

import numpy as np
import pytest

from luthier.core.errors import DataError, RecipeError, UsageError
from luthier.core.predictor import Predictor
from luthier.data.samples import Sample, Span
from luthier.evaluate.baselines import Majority
from luthier.evaluate.evaluation import evaluate
from luthier.evaluate.linear import FrozenFeatures, TfidfBaseline, at_most

CARD = ["my card was lost", "the card never came", "a stolen card", "new card please", "card is broken"]
LOAN = ["a loan for a house", "what loan can I get", "pay my loan back", "loan rates today", "the loan was refused"]


def labelled():
    return [Sample(text, target="card") for text in CARD] + [Sample(text, target="loan") for text in LOAN]


def test_majority_of_classes_is_the_prior():
    model = Majority("classify").fit([*labelled(), Sample("more", target="loan"), Sample("open question")])
    (answer,) = model.predict(["anything"])
    assert answer.label == "loan"
    assert answer.scores == pytest.approx({"card": 5 / 11, "loan": 6 / 11})
    assert answer.score == pytest.approx(6 / 11)
    assert isinstance(model, Predictor)
    assert len(list(model.stream(iter(["a"] * 300)))) == 300


def test_majority_of_label_sets_numbers_and_spans():
    sets = [Sample("a", target=("x", "y")), Sample("b", target=("x",)), Sample("c", target=())]
    assert Majority("classify", several_labels=True).fit(sets).predict(["q"])[0].labels == ("x",)
    numbers = [Sample("a", target=(1.0, 10.0)), Sample("b", target=(3.0, 30.0))]
    assert Majority("regress").fit(numbers).predict(["q"])[0].values == (2.0, 20.0)
    assert Majority("extract", labels=["P"]).fit([]).predict(["q"])[0].spans == ()


def test_majority_needs_a_row_and_a_known_task():
    with pytest.raises(DataError, match="no row"):
        Majority("classify").fit([Sample("no target")])
    with pytest.raises(RecipeError, match="classify"):
        Majority("clasify")


def test_tfidf_learns_what_words_tell():
    model = TfidfBaseline("classify", labels=["card", "loan", "never seen"]).fit(labelled())
    answers = model.predict(["where is my card", "is the loan paid"])
    assert [answer.label for answer in answers] == ["card", "loan"]
    for answer in answers:
        assert sum(answer.scores.values()) == pytest.approx(1)
        assert answer.score == max(answer.scores.values())
        assert answer.scores["never seen"] == 0
    assert model.predict([]) == []
    assert list(model.labels) == ["card", "loan", "never seen"]


def test_tfidf_of_label_sets():
    samples = [Sample(f"{a} and {b}", target=(a, b)) for a in ("red", "green") for b in ("sweet", "sour")] * 4
    samples += [Sample(a, target=(a,)) for a in ("red", "green", "sweet", "sour")] * 4
    model = TfidfBaseline("classify", several_labels=True).fit(samples)
    found = evaluate(model, samples, bootstrap=50)
    assert found.several_labels
    assert found.metrics["micro_f1"].value > 0.9
    assert set(model.predict(["red and sour"])[0].labels) == {"red", "sour"}


def test_tfidf_judges_a_pair_by_what_it_shares():
    generator = np.random.default_rng(0)
    words = np.array(["river", "stone", "cloud", "tree", "bird", "road", "lamp", "door", "glass", "wheel", "paper"])
    samples = []
    for _ in range(150):
        first = generator.choice(words, 5, replace=False)
        shared = int(generator.integers(0, 6))
        second = [*first[:shared], *generator.choice(np.setdiff1d(words, first), 5 - shared, replace=False)]
        generator.shuffle(second)
        samples.append(Sample(" ".join(first), " ".join(second), target=(float(shared),)))
    found = evaluate(TfidfBaseline("regress").fit(samples[:100]), samples[100:], bootstrap=50)
    assert found.metrics["spearman"].value > 0.8


def test_one_class_is_answered_without_a_model():
    model = TfidfBaseline("classify").fit([Sample("a b", target="only"), Sample("c d", target="only")])
    assert model.predict(["x"])[0].label == "only"


def test_the_dictionary_labels_what_was_labelled():
    def sample(text, *marked):
        spans = tuple(Span(text.index(part), text.index(part) + len(part), label) for part, label in marked)
        return Sample(text, target=spans)

    baseline = TfidfBaseline("extract")
    assert baseline.name == "dictionary"
    model = baseline.fit(
        [
            sample("He has colon cancer.", ("colon cancer", "Disease")),
            sample("Cancer is common; aspirin helps.", ("Cancer", "Disease"), ("aspirin", "Drug")),
            sample("The cold was bad.", ("cold", "Disease")),
            sample("A cold day, a cold night, and a cold morning."),
        ]
    )
    (answer,) = model.predict(["No Colon  cancer, no cancer on a cold day (aspirin)."])
    assert [(span.text, span.label) for span in answer.spans] == [
        ("Colon  cancer", "Disease"),
        ("cancer", "Disease"),
        ("aspirin", "Drug"),
    ]
    assert all(
        span.text == "No Colon  cancer, no cancer on a cold day (aspirin)."[span.start : span.end]
        for span in answer.spans
    )
    assert list(model.labels) == ["Disease", "Drug"]


def test_frozen_features_learn_a_line():
    def embed(texts):
        return np.array([[text.count("card"), text.count("loan"), 7.0, 1e-9 * len(text)] for text in texts])

    model = FrozenFeatures("classify", embed).fit(labelled())
    assert [answer.label for answer in model.predict(["card card", "loan"])] == ["card", "loan"]
    features = np.random.default_rng(0).normal(size=(200, 3))
    line = FrozenFeatures("regress", lambda texts: np.array([[1.0, 0.0, 0.0]] * len(texts)))
    fitted = line.fit_features(features, [(2 * row[0] + 1,) for row in features])
    assert fitted.predict(["q"])[0].score == pytest.approx(3.0, abs=0.1)
    with pytest.raises(UsageError, match="spans"):
        FrozenFeatures("extract", embed)


def test_more_rows_than_the_limit_are_drawn_uniformly():
    samples = [Sample(str(i)) for i in range(1000)]
    assert at_most(2000, samples) == samples
    drawn = [int(sample.text) for sample in at_most(300, samples)]
    assert len(set(drawn)) == 300
    assert 430 < np.mean(drawn) < 570


def test_evaluate_streams_and_keeps_the_worst_errors():
    asked = []

    class Stubborn(type(Majority("classify").fit(labelled()))):
        def predict(self, texts):
            asked.append(len(texts))
            return super().predict(texts)

    inner = Majority("classify").fit([*labelled(), Sample("more", target="loan")])
    model = Stubborn("classify", inner.labels, inner.prediction)
    samples = [
        Sample(f"text {i}", target="card" if i % 2 else "loan", line=i + 2, source="deep/down/data.csv")
        for i in range(205)
    ] + [Sample("no target")]
    found = evaluate(model, iter(samples), batch_size=50, bootstrap=100)
    assert asked == [50, 50, 50, 50, 5]
    assert found.rows == 205
    assert found.metrics["accuracy"].value == pytest.approx(103 / 205)
    assert len(found.worst_errors) == 50
    assert found.worst_errors[0] == {
        "text": "text 1",
        "expected": "card",
        "predicted": "loan",
        "score": pytest.approx(6 / 11),
        "line": 3,
        "source": "data.csv",
    }
    assert any("passed over: 1" in note for note in found.notes)
    with pytest.raises(DataError, match="no row"):
        evaluate(model, [Sample("no target")])
