"""Which labels are likely wrong, judged by models that did not see the row.

Classification: confident learning (Northcutt et al., "Confident learning: estimating uncertainty in dataset
labels", 2021) by the package cleanlab. Regression: residuals beyond 3.5 robust deviations (Iglewicz and Hoaglin,
"How to detect and handle outliers", 1993). Legend of shapes: n rows, k labels.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from luthier.core.errors import UsageError
from luthier.core.predictor import Predictor
from luthier.data.duplicates import normalised_hash
from luthier.data.samples import Sample, Target

FOLDS = 5
LEAST_OF_A_LABEL = 5
"""Rows: of a rarer label some fold may hold all, and a model that never saw it would call each of them wrong."""
REPEATS, FEW = 5, 3000
"""Of few rows, what a model believes depends on which others it saw: several divisions into folds are averaged."""
OUTLIER = 3.5
_LEAST_LIKELY = 1e-6
_MAD_OF_A_NORMAL = 0.6745

FloatArray = npt.NDArray[np.float64]


class Learner(Protocol):
    """`evaluate.linear.TfidfBaseline` and `FrozenFeatures`."""

    def fit(self, samples: Iterable[Sample]) -> Predictor: ...


@dataclass(frozen=True, slots=True)
class Doubt:
    """A row whose answer is likely wrong: `suggested` instead, with a confidence between 0 and 1, and why."""

    row: int
    suggested: Target
    confidence: float
    reason: str


def check_installed() -> None:
    """Raise `UsageError` where cleanlab is not installed."""
    from importlib.util import find_spec

    if find_spec("cleanlab") is None:
        raise UsageError(
            "wrong labels are found by a package that is not installed.",
            remedy="Install it: pip install 'luthier[triage]'.",
            code="package_missing",
        )


def folds(samples: Sequence[Sample], seed: int = 0) -> npt.NDArray[np.int64]:
    """The fold (n,) of each row: stratified by label, and equal texts in one fold."""
    random = np.random.default_rng(seed)
    first: dict[int, int] = {}
    group = [first.setdefault(normalised_hash(sample), i) for i, sample in enumerate(samples)]
    heads = np.array(sorted(set(group)))
    names = [_stratum(samples[head].target) for head in heads.tolist()]
    codes = np.unique(names, return_inverse=True)[1]
    order = np.lexsort((random.random(len(heads)), codes))
    fold_of_head = dict(zip(heads[order].tolist(), (np.arange(len(heads)) % FOLDS).tolist(), strict=True))
    return np.array([fold_of_head[head] for head in group], dtype=np.int64)


def _stratum(target: Target) -> str:
    if isinstance(target, tuple):
        return "" if not target or isinstance(target[0], float) else str(target[0])
    return str(target)


def doubts(
    samples: Sequence[Sample],
    task: str,
    labels: Sequence[str],
    several_labels: bool,
    learners: Sequence[Callable[[], Learner]],
    *,
    seed: int = 0,
) -> list[Doubt]:
    """Rows with an answer that models of the other rows do not believe, the surest first.

    Args:
        task: classify or regress. labels: all of the data's.
        learners: each makes a new one for a fold; of several, that which finds the first fold's labels likeliest.
    """
    if task == "classify" and not several_labels and len(labels) - len(unjudged_labels(samples, False)) < 2:
        return []
    fold = folds(samples, seed)
    learner = learners[0]
    if len(learners) > 1 and task == "classify":
        learner = min(learners, key=lambda one: _log_loss(samples, fold, labels, one))
    scores = np.zeros((len(samples), len(labels)))
    repeats = REPEATS if len(samples) <= FEW else 1
    for repeat in range(repeats):
        if repeat:
            fold = folds(samples, seed + repeat)
        scores += _told(samples, fold, labels, task, learner) / repeats
    if task == "regress":
        return _outliers(samples, scores)
    return _label_sets(samples, labels, scores) if several_labels else _labels(samples, labels, scores)


def _told(
    samples: Sequence[Sample], fold: npt.NDArray[np.int64], labels: Sequence[str], task: str,
    learner: Callable[[], Learner],
) -> FloatArray:
    """What models of the other folds say of each row: probabilities (n, k), or numbers (n, targets)."""
    told = np.zeros((len(samples), len(labels)))
    for one in range(FOLDS):
        rows = np.flatnonzero(fold == one).tolist()
        if not rows:
            continue
        model = learner().fit(sample for sample, own in zip(samples, fold, strict=True) if own != one)
        for row, prediction in zip(rows, model.predict([samples[row].input for row in rows]), strict=True):
            told[row] = (
                prediction.values if task == "regress" else [prediction.scores.get(label, 0.0) for label in labels]
            )
    return told


def _log_loss(
    samples: Sequence[Sample], fold: npt.NDArray[np.int64], labels: Sequence[str], learner: Callable[[], Learner]
) -> float:
    """How unlikely a learner of the other folds finds the labels of the first: too sure a model is punished."""
    model = learner().fit(sample for sample, own in zip(samples, fold, strict=True) if own != 0)
    held = [sample for sample, own in zip(samples, fold, strict=True) if own == 0]
    total = 0.0
    for sample, prediction in zip(held, model.predict([sample.input for sample in held]), strict=True):
        if isinstance(sample.target, str):
            total -= np.log(max(prediction.scores.get(sample.target, 0.0), _LEAST_LIKELY))
        else:
            own_labels: set[Any] = set(sample.target or ())  # type: ignore[arg-type]
            for label in labels:
                likely = prediction.scores.get(label, 0.0)
                total -= np.log(max(likely if label in own_labels else 1 - likely, _LEAST_LIKELY))
    return total


def unjudged_labels(samples: Sequence[Sample], several_labels: bool) -> list[str]:
    """Labels with too few rows to be judged."""
    counts: Counter[Any] = Counter()
    for sample in samples:
        counts.update(sample.target if several_labels else [sample.target])  # type: ignore[arg-type]
    return sorted(str(label) for label, count in counts.items() if count < LEAST_OF_A_LABEL)


def _labels(samples: Sequence[Sample], labels: Sequence[str], scores: FloatArray) -> list[Doubt]:
    from cleanlab.filter import find_label_issues

    counts = Counter(sample.target for sample in samples)
    known = [label for label in labels if counts[label] >= LEAST_OF_A_LABEL]
    place = {label: i for i, label in enumerate(known)}
    rows = np.array([i for i, sample in enumerate(samples) if sample.target in place])
    given = np.array([place[str(samples[i].target)] for i in rows.tolist()])
    columns = np.array([list(labels).index(label) for label in known])
    shares = _shares(scores[np.ix_(rows, columns)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small and uneven classes, which are told in our own words
        wrong = find_label_issues(given, shares, filter_by="both", n_jobs=1)
    found = []
    for i in np.flatnonzero(wrong).tolist():
        best = int(shares[i].argmax())
        if best != given[i]:
            ours, theirs = float(shares[i, best]), float(shares[i, given[i]])
            reason = f"models of the other rows see {known[best]!r} ({ours:.0%}) rather than this ({theirs:.0%})"
            found.append((ours - theirs, Doubt(int(rows[i]), known[best], ours, reason)))
    return [doubt for _, doubt in sorted(found, key=lambda pair: (-pair[0], pair[1].row))]


def _shares(scores: FloatArray) -> FloatArray:
    """Rows that add up to one; where nothing was given, all alike."""
    total = scores.sum(axis=1, keepdims=True)
    found: FloatArray = np.where(total > 0, scores / np.maximum(total, 1e-300), 1 / scores.shape[1])
    return found


def _label_sets(samples: Sequence[Sample], labels: Sequence[str], scores: FloatArray) -> list[Doubt]:
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class

    counts = Counter(label for sample in samples for label in sample.target)  # type: ignore[union-attr]
    usable = [
        i for i, label in enumerate(labels) if LEAST_OF_A_LABEL <= counts[label] <= len(samples) - LEAST_OF_A_LABEL
    ]
    if not usable:
        return []
    own = [set(sample.target) for sample in samples]  # type: ignore[arg-type]
    given = [[place for place, i in enumerate(usable) if labels[i] in row] for row in own]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = find_multilabel_issues_per_class(given, scores[:, usable], filter_by="both", n_jobs=1)
    found = []
    table = np.array(wrong).reshape(len(samples), len(usable))
    for row in np.flatnonzero(table.any(axis=1)).tolist():
        changed = [usable[place] for place in np.flatnonzero(table[row]).tolist()]
        held = [i for i in range(len(labels)) if (labels[i] in own[row]) != (i in changed)]
        sure = max(float(abs(scores[row, i] - (labels[i] in own[row]))) for i in changed)
        parts = [
            f"models of the other rows give {labels[i]!r} {scores[row, i]:.0%}, and it is "
            + ("there" if labels[i] in own[row] else "missing")
            for i in changed
        ]
        found.append(Doubt(row, tuple(labels[i] for i in held), sure, "; ".join(parts)))
    return sorted(found, key=lambda doubt: (-doubt.confidence, doubt.row))


def _outliers(samples: Sequence[Sample], told: FloatArray) -> list[Doubt]:
    given = np.array([sample.target for sample in samples], dtype=np.float64)
    miss = given - told
    miss = miss - np.median(miss, axis=0)
    spread = np.median(np.abs(miss), axis=0) / _MAD_OF_A_NORMAL
    far = np.abs(miss / np.where(spread > 0, spread, np.inf)).max(axis=1)
    rank = np.argsort(np.argsort(far)) / max(1, len(far) - 1)
    rows = [row for row in np.argsort(-far, kind="stable").tolist() if far[row] > OUTLIER]
    return [
        Doubt(
            row, tuple(float(f"{value:.4g}") for value in told[row]), float(rank[row]),
            f"models of the other rows expect {', '.join(f'{value:.4g}' for value in told[row])}: "
            f"{far[row]:.1f} robust deviations away",
        )
        for row in rows
    ]  # fmt: skip
