"""Label triage: rows whose label is likely wrong go into a review file, and come back with a person's decisions."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.core import durable
from luthier.core.errors import DataError, ModelError, UsageError
from luthier.core.events import Event, Listener, ignore
from luthier.core.predictor import TextInput
from luthier.data.contradictions import contradictions
from luthier.data.dataset import Dataset
from luthier.data.review import Decision, Item, read_review, told, write_review
from luthier.data.rewrite import rewritten
from luthier.data.samples import Sample
from luthier.data.sources import local
from luthier.evaluate.label_quality import LEAST_OF_A_LABEL, Doubt, Learner, check_installed, doubts, unjudged_labels
from luthier.evaluate.linear import MAX_ROWS, FrozenFeatures, TfidfBaseline
from luthier.judging import Source, plain

TASKS = ("classify", "regress")
LEAST_ROWS = 20
"""Below that a fold has fewer than four rows, and the models see nothing."""
TFIDF = "tfidf"
STRENGTHS = (0.01, 0.001, 0.003, 0.03, 0.1)
"""C of the logistic regression: how firmly a model may believe depends on how many rows it saw."""
_MAX_LENGTH = 256


@dataclass(frozen=True)
class Triage:
    """What was found, the surest first.

    Attributes:
        path: the review file.
        counts: rows by reason: ``unlikely_label``, ``contradiction``, ``near_contradiction``.
        notes: what could not be judged.
    """

    path: Path
    task: str
    rows: int
    items: list[Item]
    counts: dict[str, int]
    features: str
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON, as `luthier triage --json` prints it."""
        return {
            "review": str(self.path), "task": self.task, "rows": self.rows, "doubtful": len(self.items),
            "counts": self.counts, "features": self.features, "notes": self.notes,
            "items": [
                {
                    "line": item.line, "row": item.row, "source": item.source, "text": item.text,
                    "given_label": told(item.given), "suggested_label": told(item.suggested),
                    "confidence": item.confidence, "reason": item.reason,
                }
                for item in self.items
            ],
        }  # fmt: skip


def triage(
    data: Source,
    *,
    task: str = "auto",
    columns: dict[str, Any] | None = None,
    out: str | Path = "review.csv",
    model: str = "minilm",
    seed: int = 0,
    listener: Listener = ignore,
) -> Triage:
    """Find likely wrong labels and contradictions, and write the review file.

    Args:
        model: the base whose frozen features the rows are judged by; ``tfidf``: word counts instead.

    Raises:
        UsageError: `wrong_task`, `out_exists`, `package_missing`. DataError: a bad row, with its place.
    """
    check_installed()
    path = Path(out)
    _refuse_existing(path, "there is a file already, which may hold decisions.")
    dataset = _open(data, task, columns)
    samples = list(dataset.samples())
    found: dict[int, list[Doubt]] = {}
    counts: Counter[str] = Counter()
    notes = []
    labels = _labels(dataset, samples)
    if dataset.task == "classify" and len(samples) >= LEAST_ROWS and len(labels) > len(samples) / 2:
        raise DataError(
            f"there are {len(labels):,} labels in {len(samples):,} rows: this looks like an id rather than a class.",
            where=dataset.sources[0], remedy="Check which column is the label (--columns label=...).",
            code="label_is_no_class", param="data.columns.label",
        )  # fmt: skip
    learners, features = _learners(dataset, samples, labels, model, listener)
    if len(samples) > MAX_ROWS:
        notes.append(f"Models of the other rows learn from {MAX_ROWS:,} of them, drawn at random.")
    if len(samples) < LEAST_ROWS:
        notes.append(f"{len(samples)} rows are too few to judge each by the others: only contradictions were sought.")
    else:
        for doubt in doubts(samples, dataset.task, labels, dataset.several_labels, learners, seed=seed):
            found.setdefault(doubt.row, []).append(doubt)
            counts["unlikely_label"] += 1
        rare = [] if dataset.task == "regress" else unjudged_labels(samples, dataset.several_labels)
        if rare:
            shown = ", ".join(rare[:5]) + (", ..." if len(rare) > 5 else "")
            notes.append(f"{len(rare)} labels with fewer than {LEAST_OF_A_LABEL} rows were not judged: {shown}.")
    for one in contradictions(dataset.samples):
        other = samples[one.other]
        alike = "the same text" if one.likeness == 1 else f"nearly the same text ({one.likeness:.0%} alike)"
        reason = f"{alike} as {_place(other, samples[one.row])}, which has {told(other.target)!r}"
        found.setdefault(one.row, []).append(Doubt(one.row, one.suggested, one.agreement, reason))
        counts["contradiction" if one.likeness == 1 else "near_contradiction"] += 1
    items = [_item(row, samples[row], own) for row, own in found.items()]
    durable.write_text(path, write_review(items, dataset.fingerprint()))
    return Triage(path, dataset.task, len(samples), items, dict(counts), features, notes)


def _refuse_existing(path: Path, message: str) -> None:
    if path.exists():
        raise UsageError(message, where=str(path), remedy="Give another --out.", code="out_exists", param="out")


def apply_review(
    data: Source,
    review: str | Path,
    out: str | Path,
    *,
    task: str = "auto",
    columns: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the data again as a review decided; the original stays as it is.

    Of several files `out` is a folder. Returns ``{out, rows, kept, dropped, relabelled, open}``.

    Raises:
        UsageError: `out_exists`, `not_rewritable`. DataError: `review_of_other_data`, `bad_decision` with its line.
    """
    target = Path(out)
    _refuse_existing(target, "this file is there already; nothing is written over.")
    dataset = _open(data, task, columns)
    samples = list(dataset.samples())
    decisions, counts = read_review(
        str(review), sha256=dataset.fingerprint(), rows=len(samples), task=dataset.task,
        labels=_labels(dataset, samples), several_labels=dataset.several_labels,
    )  # fmt: skip
    files = _by_file(samples, decisions, [item.path for item, _ in dataset.files()])
    written = {
        Path(local(item.path)).name: rewritten(item, columns_, files[item.path]) for item, columns_ in dataset.files()
    }
    if len(written) < len(dataset.files()):
        raise UsageError(
            "two files have one name.", remedy="Apply the review to one file at a time.", code="not_rewritable"
        )
    for name, content in written.items():
        durable.write_bytes(target if len(written) == 1 else target / name, content)
    return {"out": str(target), "rows": len(samples) - counts["dropped"], **counts}


def _open(data: Source, task: str, columns: dict[str, Any] | None) -> Dataset:
    dataset = Dataset.open(plain(data), task=task, columns=columns)
    if dataset.task not in TASKS:
        raise UsageError(
            f"labels of the task {dataset.task} cannot be judged.", where=dataset.sources[0],
            remedy="Triage is for classify and regress; luthier check looks at other data.", code="wrong_task",
            param="task",
        )  # fmt: skip
    return dataset


def _labels(dataset: Dataset, samples: list[Sample]) -> list[str]:
    if dataset.task == "regress":
        return list(dataset.columns.score)
    found: set[str] = set()
    for sample in samples:
        found.update([sample.target] if isinstance(sample.target, str) else sample.target or ())  # type: ignore[arg-type]
    return sorted(found)


def _learners(
    dataset: Dataset, samples: list[Sample], labels: list[str], model: str, listener: Listener
) -> tuple[list[Callable[[], Learner]], str]:
    """What may learn the other rows, and its name: linear models on frozen features, or one on word counts."""
    known: dict[str, Any] = {"labels": labels, "several_labels": dataset.several_labels}

    def tfidf() -> Learner:
        return TfidfBaseline(dataset.task, **known)

    if model == TFIDF or len(samples) < LEAST_ROWS:
        return [tfidf], TFIDF
    from luthier.models.catalogue import locate
    from luthier.models.tokenizer import load_tokenizer
    from luthier.train.features import FrozenEncoder

    try:
        source = locate(model)
    except ModelError as error:
        if model != "minilm":
            raise
        listener(Event("message", f"Rows are judged by word counts: {error.message}", "warn"))
        return [tfidf], TFIDF
    tokenizer = load_tokenizer(source.path)
    listener(Event("message", f"Reading {len(samples):,} rows with {source.name}."))
    texts = list(dict.fromkeys(sample.input for sample in samples))
    vectors = FrozenEncoder(source, tokenizer, min(_MAX_LENGTH, tokenizer.max_length))(texts)
    place = {text: i for i, text in enumerate(texts)}

    def embed(asked: Any) -> Any:
        return vectors[[place[text] for text in asked]]

    def frozen(strength: float) -> Learner:
        return FrozenFeatures(dataset.task, embed, strength=strength, **known)

    return [functools.partial(frozen, strength) for strength in STRENGTHS], source.name


def _place(sample: Sample, beside: Sample) -> str:
    return f"line {sample.line}" if sample.source == beside.source else sample.place


def _shown(text: TextInput) -> str:
    return text if isinstance(text, str) else " | ".join(text)


def _item(row: int, sample: Sample, own: list[Doubt]) -> Item:
    suggested = next((doubt.suggested for doubt in own if doubt.suggested is not None), None)
    return Item(
        sample.line, row + 1, sample.source, _shown(sample.input), sample.target, suggested, own[0].confidence,
        "; ".join(doubt.reason for doubt in own),
    )  # fmt: skip


def _by_file(samples: list[Sample], decisions: list[Decision], files: list[str]) -> dict[str, dict[int, Decision]]:
    """Decisions by file and by row of that file."""
    found: dict[str, dict[int, Decision]] = {path: {} for path in files}
    before: dict[str, int] = {}
    for i, sample in enumerate(samples):
        before.setdefault(sample.source, i)
    for decision in decisions:
        source = samples[decision.row - 1].source
        found[source][decision.row - before[source]] = decision
    return found

