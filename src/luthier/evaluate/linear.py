"""Linear models (scikit-learn): on TF-IDF n-grams, and on the features of a frozen base."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.core.errors import UsageError
from luthier.core.predictor import Prediction, Predictor, TextInput
from luthier.data.samples import Sample
from luthier.evaluate.baselines import BatchPredictor, Majority
from luthier.evaluate.gazetteer import Dictionary
from luthier.evaluate.metric_names import metrics_of
from luthier.evaluate.regression import numbers

Featurize = Callable[[Sequence[TextInput]], Any]
"""Texts to a feature matrix [n, d], dense or sparse."""
Embed = Callable[[Sequence[TextInput]], npt.NDArray[Any]]
"""Texts to a dense feature matrix [n, d]."""

MAX_ROWS = 100_000
_MAX_ITERATIONS = 300
_TFIDF_STRENGTH = 10.0  # C of the logistic regression: rows have length 1, so the default 1 is too tight
_MAX_FEATURES = 100_000  # of each n-gram kind
_FROZEN_STRENGTH = 0.1


class LinearPredictor(BatchPredictor):
    """Features and a fitted scikit-learn model, as a Predictor."""

    def __init__(
        self, task: str, labels: Sequence[str], several_labels: bool, featurize: Featurize, model: Any
    ) -> None:
        super().__init__(task, labels)
        self.several_labels = several_labels
        self._featurize = featurize
        self._model = model

    def predict(self, texts: Sequence[TextInput]) -> list[Prediction]:
        return self.predict_features(self._featurize(texts)) if texts else []

    def predict_features(self, features: Any) -> list[Prediction]:
        """Answer rows of features [n, d]."""
        if self.task == "regress":
            answers = np.asarray(self._model.predict(features), dtype=np.float64).reshape(features.shape[0], -1)
            return [Prediction(score=row[0], values=tuple(row)) for row in answers.tolist()]
        probabilities = self._model.predict_proba(features)
        if self.several_labels:
            return [self._label_set(row) for row in probabilities.tolist()]
        classes = [str(name) for name in self._model.classes_]
        return [self._one_label(dict(zip(classes, row, strict=True))) for row in probabilities.tolist()]

    def _label_set(self, row: list[float]) -> Prediction:
        scores = dict(zip(self._labels, row, strict=True))
        return Prediction(scores=scores, labels=tuple(label for label in self._labels if scores[label] >= 0.5))

    def _one_label(self, learned: dict[str, float]) -> Prediction:
        scores = {label: learned.get(label, 0.0) for label in self._labels}
        label = max(learned, key=lambda name: learned[name])
        return Prediction(label=label, score=learned[label], scores=scores)


def fit_linear(
    task: str,
    features: Any,
    targets: Sequence[Any],
    labels: Sequence[str],
    several_labels: bool,
    featurize: Featurize,
    *,
    strength: float = 1.0,
    ridge: float = 1.0,
) -> Predictor:
    """Fit logistic regression (`strength` is its C), one per label for several, or ridge regression.

    Where there is nothing to tell apart (one class) the constant predictor is the answer.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    if task == "regress":
        model: Any = Ridge(alpha=ridge).fit(features, np.array([numbers(target) for target in targets]))
        return LinearPredictor(task, labels, False, featurize, model)
    given = [(target,) if isinstance(target, str) else tuple(target) for target in targets]
    labels = list(labels) or sorted({label for row in given for label in row})
    logistic = LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        # close to the optimum is near enough for a baseline; a label that every row has is a constant
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        warnings.filterwarnings("ignore", message="Label .* is present in all|Label not .* is present in all")
        if several_labels:
            held = np.array([[label in row for label in labels] for row in given], dtype=np.int64)
            model = OneVsRestClassifier(logistic).fit(features, held)
        elif len(set(given)) < 2:
            return Majority(task, labels=labels).fit(Sample("", target=row[0]) for row in given)
        else:
            model = logistic.fit(features, [row[0] for row in given])
    return LinearPredictor(task, labels, several_labels, featurize, model)


def at_most(limit: int, samples: Iterable[Sample], seed: int = 0) -> list[Sample]:
    """All samples, or a uniform draw of `limit` of them (Vitter's reservoir, 1985)."""
    generator = np.random.default_rng(seed)
    kept: list[Sample] = []
    for i, sample in enumerate(samples):
        if i < limit:
            kept.append(sample)
        elif (place := int(generator.integers(0, i + 1))) < limit:
            kept[place] = sample
    return kept


class TfidfFeatures:
    """Word 1-2-grams and character 2-5-grams inside words, sublinear TF-IDF.

    A pair gives the n-grams of both texts joined, and what the two share and where they differ:
    without that no linear model can judge a pair.
    """

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import FeatureUnion

        options: dict[str, Any] = {"sublinear_tf": True, "max_features": _MAX_FEATURES, "dtype": np.float32}
        self._union = FeatureUnion(
            [
                ("words", TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **options)),
                ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **options)),
            ]
        )

    def fit(self, texts: Sequence[TextInput]) -> TfidfFeatures:
        """Learn the vocabulary."""
        self._union.fit([part for text in texts for part in ([text] if isinstance(text, str) else text)])
        return self

    def __call__(self, texts: Sequence[TextInput]) -> Any:
        """Features [n, d], sparse."""
        from scipy.sparse import csr_matrix, hstack

        joined = self._union.transform([text if isinstance(text, str) else " ".join(text) for text in texts])
        pairs = [text for text in texts if not isinstance(text, str)]
        if len(pairs) != len(texts):
            return csr_matrix(joined)
        first, second = (csr_matrix(self._union.transform([pair[side] for pair in pairs])) for side in (0, 1))
        shared = first.multiply(second)
        likeness = csr_matrix(shared.sum(axis=1))
        return csr_matrix(hstack([joined, shared, abs(first - second), likeness]))


class TfidfBaseline:
    """TF-IDF with logistic regression (classify) or ridge regression (regress); for extract, which
    it cannot do, the dictionary."""

    def __init__(self, task: str, *, labels: Sequence[str] = (), several_labels: bool = False) -> None:
        metrics_of(task, several_labels)
        self.task = task
        self.labels = list(labels)
        self.several_labels = several_labels

    @property
    def name(self) -> str:
        """``tfidf``, or ``dictionary`` for extract."""
        return "dictionary" if self.task == "extract" else "tfidf"

    def fit(self, samples: Iterable[Sample]) -> Predictor:
        """Learn from samples; of more than 100,000, a random 100,000 (seeded), so that memory is bounded."""
        if self.task == "extract":
            return Dictionary(labels=self.labels).fit(samples)
        rows = at_most(MAX_ROWS, (sample for sample in samples if sample.target is not None))
        texts = [sample.input for sample in rows]
        featurize = TfidfFeatures().fit(texts)
        return fit_linear(
            self.task,
            featurize(texts),
            [sample.target for sample in rows],
            self.labels,
            self.several_labels,
            featurize,
            strength=_TFIDF_STRENGTH,
        )


class FrozenFeatures:
    """The frozen base with a linear head: logistic or ridge regression on what `embed` gives [n, d].

    Features are standardised with the training rows' mean and spread; `strength` is the C of the logistic regression.
    """

    name = "frozen"

    def __init__(
        self,
        task: str,
        embed: Embed,
        *,
        labels: Sequence[str] = (),
        several_labels: bool = False,
        strength: float = _FROZEN_STRENGTH,
    ) -> None:
        metrics_of(task, several_labels)
        if task == "extract":
            raise UsageError(
                "frozen features of whole texts cannot find spans.",
                param="evaluate.baselines",
                remedy="Use the baselines majority and tfidf (a dictionary) for extract.",
            )
        self.task = task
        self.embed = embed
        self.strength = strength
        self.labels = list(labels)
        self.several_labels = several_labels

    def fit(self, samples: Iterable[Sample]) -> Predictor:
        """Embed and learn; of more than 100,000 samples, a random 100,000 (seeded)."""
        rows = at_most(MAX_ROWS, (sample for sample in samples if sample.target is not None))
        return self.fit_features(self.embed([sample.input for sample in rows]), [sample.target for sample in rows])

    def fit_features(self, features: npt.NDArray[Any], targets: Sequence[Any]) -> Predictor:
        """Learn from features [n, d] that somebody else computed."""
        values = np.asarray(features, dtype=np.float64)
        mean, spread = values.mean(axis=0), values.std(axis=0)
        # MiniLM has dimensions that vary by rounding only (1e-9): scaling them up would feed noise
        spread[spread <= 1e-6 * spread.max(initial=0.0)] = 1.0

        def scaled(raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
            standard: npt.NDArray[Any] = (np.asarray(raw, dtype=np.float64) - mean) / spread
            return standard

        return fit_linear(
            self.task,
            scaled(values),
            targets,
            self.labels,
            self.several_labels,
            lambda texts: scaled(self.embed(texts)),
            strength=self.strength,
            ridge=len(values) / 100,
        )
