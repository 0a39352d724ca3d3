"""The recipe's data, opened, checked and split: what a run trains, validates and tests on."""

from __future__ import annotations

import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import DataError, nearest
from luthier.core.recipe import LANGUAGE_TASKS, DataSpec
from luthier.data.dataset import Dataset
from luthier.data.duplicates import both_hashes
from luthier.data.samples import Sample, Span
from luthier.data.shares import keep_share
from luthier.data.splits import plan_split

LEAKS_SHOWN = 5


class View:
    """Some rows of a data set, read afresh on each iteration; raises `DataError` at a bad row."""

    def __init__(self, dataset: Dataset, rows: int, keep: NDArray[np.bool_] | None = None) -> None:
        self.dataset = dataset
        self._of, self._keep = rows, keep
        self._length = rows if keep is None else int(keep.sum())

    def share(self, share: float, seed: int) -> View:
        """A nested, stratified share of its rows (`data.shares`)."""
        whole = np.ones(self._of, np.bool_) if self._keep is None else self._keep
        return View(self.dataset, self._of, keep_share(self.dataset.samples(), whole, share, seed))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Sample]:
        if self._keep is None:
            yield from self.dataset.samples()
            return
        for keep, sample in zip(self._keep, self.dataset.samples(), strict=True):
            if keep:
                yield sample


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs to know of its data.

    Attributes:
        labels: sorted classes or span labels; for regress the target names, in order; none for chat and complete.
        several_labels: whether a sample's target is a tuple of classes.
        description: for data.json: per part its files and rows; labels, seed, duplicates and leaks.
    """

    task: str
    train: View
    validation: View | None
    test: View | None
    labels: list[str]
    several_labels: bool
    description: dict[str, Any]


@dataclass
class _Scan:
    """One pass over one part."""

    rows: int = 0
    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    wholes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    counts: dict[str, int] = field(default_factory=dict)
    varies: bool = False


def names_of(sample: Sample) -> tuple[str, ...]:
    """The classes or span labels of a sample; none for numbers."""
    target = sample.target
    if isinstance(target, str):
        return (target,)
    if isinstance(target, Conversation | Completion):
        return ()
    return tuple(item.label if isinstance(item, Span) else item for item in target or () if not isinstance(item, float))


def prepare(spec: DataSpec, task: str, seed: int) -> Prepared:
    """Open, check and split the data of a recipe.

    Args:
        spec: the recipe's `data`.
        task: classify, regress, extract, chat, complete or auto.
        seed: of the share that is learned, and of the split where validation is a share and has no seed of its own.

    Raises:
        DataError: a bad row with its place; `too_few_rows`; `one_class`; `constant_score`; `no_spans`;
            `unknown_label` in validation or test.
    """
    if spec.share < 1:
        return share_of(prepare(spec.model_copy(update={"share": 1.0}), task, seed), spec.share, seed)
    train = Dataset.open(spec.train, task=task, columns=spec.columns, group=spec.group)
    where = train.sources[0]
    scan = _scan(train)
    labels = _labels(train, scan, where)
    description: dict[str, Any] = {
        "task": train.task,
        "columns": train.columns.to_dict(),
        "labels": labels,
        "several_labels": train.several_labels,
        "rows": {"train": scan.rows},
        "train": train.describe(),
        "sha256": train.fingerprint(),
        "dropped": 0,
        "duplicates": int(scan.rows - len(np.unique(scan.wholes))),
        "leaks": {},
    }
    if train.task in ("classify", "extract"):
        description["label_counts"] = dict(sorted(scan.counts.items()))
    validation: View | None = None
    keep: NDArray[np.bool_] | None = None
    split_seed = seed if spec.split_seed is None else spec.split_seed
    if isinstance(spec.validation, str | list):
        validation = _part("validation", spec.validation, spec, train, scan, labels, description)
    elif spec.validation > 0:
        stratify = train.task not in LANGUAGE_TASKS
        split = plan_split(train, spec.validation, split_seed, stratify=stratify, group=spec.group is not None)
        keep = split.assignment == 0
        validation = View(train, scan.rows, ~keep)
        description["rows"] = dict(split.counts)
        description["split"] = {"fraction": spec.validation, "seed": split_seed, "reason": split.reason}
    test = None if spec.test is None else _part("test", spec.test, spec, train, scan, labels, description)
    return Prepared(
        train.task, View(train, scan.rows, keep), validation, test, labels, train.several_labels, description
    )


def share_of(prepared: Prepared, share: float, seed: int) -> Prepared:
    """The same with a share of the training rows, drawn with `seed`."""
    train = prepared.train.share(share, seed)
    told = {"fraction": share, "seed": seed, "of": len(prepared.train)}
    rows = {**prepared.description["rows"], "train": len(train)}
    return replace(prepared, train=train, description={**prepared.description, "rows": rows, "share": told})


def _scan(dataset: Dataset) -> _Scan:
    scan, hashes, wholes, first = _Scan(), array.array("Q"), array.array("Q"), None
    generative = dataset.task in LANGUAGE_TASKS
    for sample in dataset.samples():
        asked, whole = both_hashes(sample)
        hashes.append(asked)
        wholes.append(whole)
        if generative:
            continue
        for name in names_of(sample):
            scan.counts[name] = scan.counts.get(name, 0) + 1
        if not scan.varies:
            first = sample.target if first is None else first
            scan.varies = sample.target != first
    scan.rows, scan.hashes = len(hashes), np.frombuffer(hashes, np.uint64)
    scan.wholes = np.frombuffer(wholes, np.uint64)
    return scan


def _labels(train: Dataset, scan: _Scan, where: str) -> list[str]:
    if scan.rows < 2:
        raise DataError(
            f"there is only {scan.rows} row; training needs at least two.",
            where=where,
            remedy="Add rows.",
            code="too_few_rows",
        )
    if train.task in LANGUAGE_TASKS:
        return []
    if train.task == "regress":
        if not scan.varies:
            raise DataError(
                "all rows have the same score, so there is nothing to learn.",
                where=where,
                remedy="Add rows with other scores.",
                code="constant_score",
            )
        return list(train.columns.score)
    labels = sorted(scan.counts)
    if train.task == "extract":
        if not labels:
            raise DataError(
                "no row has a span, so there is nothing to learn.",
                where=where,
                remedy="Mark spans in some rows.",
                code="no_spans",
            )
    elif not labels or (len(labels) == 1 and not (train.several_labels and scan.varies)):
        only = f"only one class, {labels[0]!r}" if labels else "no class"
        raise DataError(
            f"there is {only}; a classifier needs at least two.",
            where=where,
            remedy="Add rows of another class, or check which column is the label.",
            code="one_class",
            param="data.columns.label",
        )
    return labels


def _part(
    name: str,
    source: str | list[str],
    spec: DataSpec,
    train: Dataset,
    scan: _Scan,
    labels: list[str],
    description: dict[str, Any],
) -> View:
    """Open validation or test and hold it against train."""
    part = Dataset.open(source, task=train.task, columns=spec.columns)
    if train.task == "classify":
        part.several_labels = train.several_labels
    if part.has_pairs != train.has_pairs:
        raise DataError(
            f"train has {'two texts' if train.has_pairs else 'one text'} per row, {name} has not.",
            where=part.sources[0],
            remedy="Give files of one kind.",
            code="mixed_files",
        )
    known, trained, wholes = set(labels), np.unique(scan.hashes), np.unique(scan.wholes)
    rows, leaks, whole = 0, 0, 0
    generative = train.task in LANGUAGE_TASKS
    shown: list[dict[str, Any]] = []
    for sample in part.samples():
        rows += 1
        for label in names_of(sample):
            if label not in known and train.task != "regress":
                raise DataError(
                    f"the label {label!r} is in {name} but not in train.",
                    where=sample.place,
                    remedy=f"{nearest(label, labels)} Correct it, or add rows with it to train.",
                    code="unknown_label",
                )
        asked, both = both_hashes(sample)
        same = _holds(wholes, both)
        if same or _holds(trained, asked):
            leaks += 1
            whole += same
            if len(shown) < LEAKS_SHOWN:
                shown.append({"source": sample.source, "line": sample.line})
    description["rows"][name] = rows
    description[name] = part.describe()
    description["leaks"][name] = {"rows": leaks, "examples": shown}
    if generative:  # the same question, and of these the same answer too
        description["leaks"][name]["whole"] = whole
    return View(part, rows)


def _holds(ordered: NDArray[np.uint64], value: int) -> bool:
    at = int(np.searchsorted(ordered, np.uint64(value)))
    return at < len(ordered) and int(ordered[at]) == value
