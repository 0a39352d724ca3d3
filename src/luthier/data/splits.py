"""Train and validation from one set of rows: seeded, stratified, and without leaks.

The unit is not the row but the cluster: rows that are equal after normalisation, nearly equal, or
of one group stay on one side. Labels are shared out as in iterative stratification (Sechidis et
al. 2011, "On the stratification of multi-label data"): the rarest label first.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import DataError
from luthier.data.clusters import Clusters
from luthier.data.duplicates import NearDuplicates, Reread, both_hashes, in_batches
from luthier.data.samples import Sample, Span

NEAR = 0.85
"""Jaccard resemblance from which two rows may not stand on two sides."""
BINS = 10
"""Quantile bins of a regression's first target."""

Ints = NDArray[np.int64]
Factory = Callable[[], Iterable[Sample]]


class HasSamples(Protocol):
    def samples(self) -> Iterable[Sample]: ...


@dataclass(frozen=True)
class Split:
    """Which row goes where.

    Attributes:
        assignment: int8, shape (rows,): 0 train, 1 validation.
        counts: rows by side, `train` and `validation`.
        reason: one sentence on how it was made, for people.
        clusters: number of clusters; rows minus clusters is how many rows follow another one.
    """

    assignment: NDArray[np.int8]
    counts: dict[str, int]
    reason: str
    clusters: int


@dataclass
class _Facts:
    """What one pass over the data leaves behind, some 90 bytes per row."""

    rows: int
    texts: NDArray[np.uint64]
    wholes: NDArray[np.uint64]
    groups: NDArray[np.uint64] | None
    label_rows: Ints
    label_codes: Ints
    labels: int
    near: NearDuplicates


def plan_split(
    data: HasSamples | Factory, fraction: float, seed: int, *, stratify: bool = True, group: bool = False
) -> Split:
    """Share `fraction` of the rows out for validation; a pure function of the data and the seed.

    Each label keeps at least one row in train. Takes one pass over the data, and up to four more
    when near duplicates must be measured exactly.

    Raises:
        DataError: fewer than two rows, or all rows hang together so that no part can be split off.
    """
    factory: Factory = data if callable(data) else data.samples
    facts = _read(factory, stratify=stratify, group=group)
    if facts.rows < 2:
        raise DataError(
            f"there are {facts.rows} rows; a split needs at least two.",
            code="too_few_rows",
            remedy="Add rows, or give validation as a file.",
        )
    if fraction == 0:
        return Split(
            np.zeros(facts.rows, np.int8),
            {"train": facts.rows, "validation": 0},
            "nothing was split off",
            facts.rows,
        )
    clusters = Clusters(facts.rows)
    clusters.join_equal(facts.texts)
    clusters.join_equal(facts.wholes)
    if facts.groups is not None:
        clusters.join_equal(facts.groups)
    for first, second, _ in facts.near.batches(NEAR, Reread(factory)):
        clusters.join(first, second)
    roots, cluster_of = np.unique(clusters.roots(), return_inverse=True)
    assigned = _assign(facts, cluster_of, len(roots), fraction, seed)
    assignment = assigned[cluster_of].astype(np.int8)
    held = int(assignment.sum())
    if held == 0 or held == facts.rows:
        raise DataError(
            "no validation part can be split off without a leak: "
            + (
                "all rows hang together as duplicates or by their group."
                if len(roots) == 1
                else "each label has only one text (or group of texts that belong together)."
            ),
            remedy="Give validation as a file, or validation: 0.",
            code="cannot_split",
        )
    how = ["stratified"] if stratify else []
    how += ["grouped"] if group else []
    together = facts.rows - len(roots)
    reason = f"{held:,} of {facts.rows:,} rows for validation ({', '.join([*how, f'seed {seed}'])})"
    if together:
        reason += f"; {together:,} rows stay with the row that they repeat, resemble or share a group with"
    return Split(assignment, {"train": facts.rows - held, "validation": held}, reason, len(roots))


def _labels_of(sample: Sample) -> Iterable[str]:
    """The names to stratify by; numbers are binned later."""
    target = sample.target
    if isinstance(target, str):
        return (target,)
    if not target or isinstance(target, Conversation | Completion):
        return ("",)  # rows without any label are a stratum too
    return dict.fromkeys(item.label if isinstance(item, Span) else str(item) for item in target)


def _read(factory: Factory, *, stratify: bool, group: bool) -> _Facts:
    texts, wholes, groups = array.array("Q"), array.array("Q"), array.array("Q")
    label_rows, label_codes, scores = array.array("q"), array.array("q"), array.array("d")
    codes: dict[str, int] = {}
    near = NearDuplicates()
    row = 0
    for batch in in_batches(factory()):
        near.add(batch)
        for sample in batch:
            asked, whole = both_hashes(sample)
            texts.append(asked)
            wholes.append(whole)
            if group:
                groups.append(_group_hash(sample, row))
            if stratify and isinstance(sample.target, tuple) and sample.target and isinstance(sample.target[0], float):
                scores.append(sample.target[0])
            else:
                for name in _labels_of(sample) if stratify else ("",):
                    label_rows.append(row)
                    label_codes.append(codes.setdefault(name, len(codes)))
            row += 1
    rows, names = np.frombuffer(label_rows, np.int64), np.frombuffer(label_codes, np.int64)
    if scores and len(scores) == row:
        rows, names = np.arange(row), _bins(np.frombuffer(scores, np.float64))
    return _Facts(
        row,
        np.frombuffer(texts, np.uint64),
        np.frombuffer(wholes, np.uint64),
        np.frombuffer(groups, np.uint64) if group else None,
        rows,
        names,
        int(names.max(initial=0)) + 1,
        near,
    )


def _bins(scores: NDArray[np.float64]) -> Ints:
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, scores, side="right").astype(np.int64)


def _group_hash(sample: Sample, row: int) -> int:
    """A row without a group is a group of its own."""
    name = f"row {row}" if sample.group is None else f"group {sample.group}"
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _assign(facts: _Facts, cluster_of: Ints, clusters: int, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which clusters go to validation."""
    random = np.random.default_rng(seed)
    priority = random.permutation(clusters)
    weight = np.bincount(cluster_of, minlength=clusters)  # rows
    # (label, cluster) pairs with the number of rows in each, in order of label
    keys, rows = np.unique(facts.label_codes * clusters + cluster_of[facts.label_rows], return_counts=True)
    label, cluster = np.divmod(keys, clusters)
    begin = np.searchsorted(label, np.arange(facts.labels + 1))
    totals = np.bincount(label, weights=rows, minlength=facts.labels).astype(np.int64)
    side = np.full(clusters, -1, dtype=np.int8)
    target = max(1, round(fraction * facts.rows))
    owed = 0.0  # what rounding left over goes to the next label, so that the whole keeps its share
    for code in np.argsort(totals, kind="stable").tolist():
        part = slice(begin[code], begin[code + 1])
        own, own_rows = cluster[part], rows[part]
        free = side[own] < 0
        held = int(own_rows[side[own] == 1].sum())
        wish = fraction * totals[code] + owed - held
        order = np.argsort(priority[own[free]])
        own, own_rows = own[free][order], own_rows[free][order]
        room = len(own) - (0 if (side[cluster[part]] == 0).any() else 1)  # one cluster stays in train
        taken = _fill(own_rows[: max(room, 0)], wish)
        side[own] = 0
        side[own[: len(taken)][taken]] = 1
        owed = min(max(wish - int(own_rows[: len(taken)][taken].sum()), -1.0), 1.0)
    side[side < 0] = 0
    _keep_each_label(side, label, cluster, facts.labels)
    if not (side == 1).any() and clusters > 1:
        _take_one(side, label, cluster, weight, facts.labels, priority, target)
    chosen: NDArray[np.bool_] = side == 1
    return chosen


def _fill(rows: Ints, wish: float) -> NDArray[np.bool_]:
    """Which of the clusters, in order, add up to `wish` rows as nearly as greed can."""
    taken = np.cumsum(rows) <= wish + 0.5
    left = wish - int(rows[taken].sum())
    for k in np.flatnonzero(~taken)[:1000].tolist():  # smaller clusters further on may still fit
        if left < 0.5:
            break
        if rows[k] <= left + 0.5:
            taken[k] = True
            left -= int(rows[k])
    return taken


def _keep_each_label(side: NDArray[np.int8], label: Ints, cluster: Ints, labels: int) -> None:
    """A row with several labels may have taken a label's last cluster: give one back to train."""
    while True:
        in_train = np.bincount(label[side[cluster] == 0], minlength=labels)
        lost = np.setdiff1d(label, np.flatnonzero(in_train))
        if len(lost) == 0:
            return
        side[cluster[label == lost[0]].min()] = 0


def _take_one(
    side: NDArray[np.int8], label: Ints, cluster: Ints, weight: Ints, labels: int, priority: Ints, target: int
) -> None:
    """Few rows of many labels leave validation empty: take the fitting cluster that no label misses."""
    clusters_per_label = np.bincount(label, minlength=labels)
    needed = np.zeros(len(side), dtype=bool)
    needed[cluster[clusters_per_label[label] < 2]] = True
    spare = np.flatnonzero(~needed)
    if len(spare):
        best = np.lexsort((priority[spare], np.abs(weight[spare] - target)))[0]
        side[spare[best]] = 1
