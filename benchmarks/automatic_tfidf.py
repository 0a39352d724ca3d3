"""TF-IDF with a linear model, tuned by cross-validation until the time is over; for spans the dictionary, which has
nothing to tune."""

from __future__ import annotations

import json
import random
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

N_GRAMS = [("word", (1, 1)), ("word", (1, 2)), ("word", (1, 3)), ("char_wb", (2, 4)), ("char_wb", (2, 5)),
           ("char_wb", (3, 6)), ("both", (1, 2))]  # fmt: skip
MOST = 400


def tuned(task: str, train: Path, test: list[Any], deadline: float) -> tuple[list[Any], str]:
    """(answers to `test`, what was found)."""
    from luthier.data.dataset import Dataset
    from luthier.evaluate.linear import TfidfBaseline

    samples = list(Dataset.open(str(train), task=task).samples())
    if task == "extract":
        return TfidfBaseline("extract").fit(samples).predict(test), "dictionary"
    rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    targets = np.array([row["score"] if task == "regress" else row["label"] for row in rows])
    inputs = [sample.input for sample in samples]
    drawn, tried = random.Random(0), 0
    best: tuple[float, dict[str, Any]] = (-np.inf, {})
    while time.process_time() < deadline - 8 and tried < MOST:
        options = {
            "grams": drawn.choice(N_GRAMS), "sublinear": drawn.random() < 0.7, "least": drawn.choice([1, 1, 2]),
            "strength": 10 ** drawn.uniform(-1.5, 2.5), "model": drawn.choice(["logistic", "svm"]),
            "weights": drawn.choice([None, "balanced"]),
        }  # fmt: skip
        score = _cross_validated(task, inputs, targets, options, deadline - 8)
        tried += 1
        if score is not None and score > best[0]:
            best = (score, options)
    options = best[1]
    answers = _fitted(task, inputs, targets, options)(test)
    kind, span = options["grams"]
    return answers, f"{tried} tried; {kind} {span[0]}-{span[1]}, C {options['strength']:.2g}, {options['model']}"


def _cross_validated(task: str, inputs: list[Any], targets: Any, options: dict[str, Any], deadline: float) -> Any:
    from sklearn.model_selection import KFold, StratifiedKFold

    rarest = min(Counter(targets.tolist()).values()) if task == "classify" else 5
    kind = StratifiedKFold if task == "classify" and rarest >= 2 else KFold
    splits = kind(min(5, max(2, rarest)) if task == "classify" else 5, shuffle=True, random_state=0)
    scores = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for learn, hold in splits.split(inputs, targets):
            if time.process_time() > deadline:
                return None
            predict = _fitted(task, [inputs[i] for i in learn], targets[learn], options)
            found = predict([inputs[i] for i in hold])
            if task == "regress":
                scores.append(np.corrcoef([one.score for one in found], targets[hold])[0, 1])
            else:
                scores.append(np.mean([one.label == target for one, target in zip(found, targets[hold], strict=True)]))
    return float(np.nanmean(scores))


def _fitted(task: str, inputs: list[Any], targets: Any, options: dict[str, Any]) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.svm import LinearSVC

    from luthier.core.predictor import Prediction

    features = _Features(options)
    matrix = features.fit(inputs)
    model: Any
    if task == "regress":
        model = Ridge(alpha=1 / options["strength"]).fit(matrix, targets)
        return lambda texts: [Prediction(score=float(v), values=(float(v),)) for v in model.predict(features(texts))]
    if options["model"] == "svm":
        model = LinearSVC(C=options["strength"] / 10, class_weight=options["weights"])
    else:
        model = LogisticRegression(C=options["strength"], max_iter=300, class_weight=options["weights"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(matrix, targets)
    return lambda texts: [Prediction(label=str(label)) for label in model.predict(features(texts))]


class _Features:
    """TF-IDF of texts; of pairs also what both share and where they differ."""

    def __init__(self, options: dict[str, Any]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import FeatureUnion

        kind, span = options["grams"]
        more = {"sublinear_tf": options["sublinear"], "min_df": options["least"], "max_features": 60_000}
        word = TfidfVectorizer(ngram_range=span, token_pattern=r"(?u)\b\w+\b", **more)
        if kind == "both":
            parts = [("words", word), ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **more))]
            self._union: Any = FeatureUnion(parts)
        else:
            self._union = word if kind == "word" else TfidfVectorizer(analyzer=kind, ngram_range=span, **more)

    def fit(self, inputs: list[Any]) -> Any:
        self._union.fit([part for one in inputs for part in ([one] if isinstance(one, str) else one)])
        return self(inputs)

    def __call__(self, inputs: list[Any]) -> Any:
        from scipy.sparse import csr_matrix, hstack

        if not inputs or isinstance(inputs[0], str):
            return csr_matrix(self._union.transform(inputs))
        a, b = (csr_matrix(self._union.transform([pair[side] for pair in inputs])) for side in (0, 1))
        shared = a.multiply(b)
        return csr_matrix(hstack([a + b, shared, abs(a - b), csr_matrix(shared.sum(axis=1))]))
