"""Groups in the data before training: which are rare, and which labels go with which group.

Sources: Pearson's chi-square and Fisher's exact test, corrected for their number (Holm 1979); effect size Cramér's V
(1946), from 0 (none) to 1 (the group tells the label).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from luthier.core.words import plural
from luthier.data.checks.base import short
from luthier.data.checks.labels import names_of
from luthier.data.dataset import Dataset
from luthier.data.groups import NO_GROUP, GroupReader, known_columns
from luthier.data.prepare import View
from luthier.data.samples import Finding, Sample, Severity

RARE, RATIO = 30, 10
"""A group is rare below so many rows, or where the largest has so many times as many."""
FEW_TO_JUDGE = 10
"""Test rows below which a group is not judged."""
SIGNIFICANCE, WEAK, STRONG = 0.05, 0.1, 0.3
"""P-value, and Cramér's V from which an association is told, and warned of (Cohen 1988 for 2 x 2 tables)."""
MOST_GROUPS, MOST_LABELS, MOST_TOLD = 200, 200, 5
_EXPECTED = 5  # rows that a cell must be expected to have for chi-square (Cochran 1954)


@dataclass
class GroupTable:
    """Rows by group and by (group, label) of one column."""

    column: str
    rows: Counter[str] = field(default_factory=Counter)
    cells: dict[str, Counter[str]] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    several: bool = False

    def add(self, group: str, sample: Sample) -> None:
        """Count one row."""
        self.rows[group] += 1
        names = names_of(sample)
        self.several = self.several or len(names) != 1
        for name in names:
            self.labels[name] += 1
            self.cells.setdefault(name, Counter())[group] += 1
        target = sample.target
        if isinstance(target, tuple) and target and isinstance(target[0], float):
            self.scores.setdefault(group, []).append(target[0])

    @property
    def is_id(self) -> bool:
        """Whether each row, or nearly, has a group of its own."""
        return len(self.rows) > 1 and len(self.rows) >= 0.9 * self.rows.total()

    def matrix(self) -> tuple[list[str], list[str], np.ndarray[Any, np.dtype[np.int64]]]:
        """(groups, labels, rows [groups, labels]), the most frequent ones."""
        groups = [name for name, _ in self.rows.most_common(MOST_GROUPS)]
        labels = [name for name, _ in self.labels.most_common(MOST_LABELS)]
        counts = [[self.cells[label][group] for label in labels] for group in groups]
        return groups, labels, np.array(counts, dtype=np.int64).reshape(len(groups), len(labels))

    def to_dict(self) -> dict[str, Any]:
        """For the report's stats."""
        return {"rows": dict(self.rows.most_common(MOST_GROUPS)), "num_groups": len(self.rows)}


def read_groups(dataset: Dataset, samples: Iterable[Sample], columns: Sequence[str]) -> list[GroupTable]:
    """Count the groups of `samples`, which come from `dataset` in its order."""
    reader = GroupReader(dataset, columns)
    tables = [GroupTable(column) for column in columns]
    for sample in samples:
        for table, group in zip(tables, reader(sample), strict=True):
            table.add(group, sample)
    return tables


def group_findings(train: View, test: View | None, columns: Sequence[str]) -> Iterator[Finding]:
    """What a training says of the groups that it will be judged by; a column that train has not is passed over."""
    there = known_columns(train.dataset, columns)
    tested: dict[str, Counter[str]] = {}
    if test is not None:
        tested = {table.column: table.rows for table in read_groups(test.dataset, test, there)}
    for table in read_groups(train.dataset, train, there):
        yield from findings_of(table, train.dataset.sources[0], tested.get(table.column))


def findings_of(table: GroupTable, where: str, tested: Mapping[str, int] | None = None) -> Iterator[Finding]:
    """Everything that one column shows; `tested` are the rows of each group in the test data."""

    def finding(code: str, severity: Severity, message: str, remedy: str, **more: Any) -> Finding:
        return Finding(code, severity, message, remedy, 0, where, {"column": table.column, **more})

    rows, column = table.rows, repr(table.column)
    if table.is_id:
        yield finding(
            "group_is_id", "warning",
            f"{column} has {len(rows):,} different values in {rows.total():,} rows: it is an id, not a group.",
            "Name a column in which many rows share a value.",
        )  # fmt: skip
        return
    if len(rows) == 1:
        yield finding(
            "one_group", "warning", f"all rows are of one group of {column}, {short(next(iter(rows)))}.",
            "There is nothing to compare it with: name another column, or collect rows of other groups.",
        )  # fmt: skip
        return
    if rows[NO_GROUP]:
        yield finding(
            "no_group", "info", f"{plural(rows[NO_GROUP], 'row')} of {rows.total():,} have no {column}; they count as "
            f"the group {NO_GROUP!r}.", "Fill the cells where it is known.", rows=rows[NO_GROUP],
        )  # fmt: skip
    yield from _rare(table, finding)
    if tested is not None:
        few = [name for name in rows if tested.get(name, 0) < FEW_TO_JUDGE]
        if few:
            yield finding(
                "group_not_tested", "info",
                f"{plural(len(few), 'group')} of {column} {'has' if len(few) == 1 else 'have'} fewer than "
                f"{FEW_TO_JUDGE} test rows, so nothing will be known of them: {_named(few)}.",
                "Add test rows of them.",
            )  # fmt: skip
    yield from _scores(table, finding)
    yield from _labels(table, finding)


def _named(names: Sequence[str]) -> str:
    return ", ".join(short(name) for name in names[:MOST_TOLD]) + (", …" if len(names) > MOST_TOLD else "")


def _rare(table: GroupTable, finding: Any) -> Iterator[Finding]:
    rows = table.rows
    largest, most = rows.most_common(1)[0]
    rare = [(name, count) for name, count in reversed(rows.most_common()) if count < RARE or most >= RATIO * count]
    for name, count in rare[:MOST_TOLD]:
        yield finding(
            "rare_group",
            "warning",
            f"the group {short(name)} of {table.column!r} has {plural(count, 'row')} of {rows.total():,} "
            f"({count / rows.total():.1%}); {short(largest)} has {most:,}.",
            "Collect more of it, or repeat its rows: a model learns little of what it seldom sees.",
            group=name,
            rows=count,
        )
    if len(rare) > MOST_TOLD:
        yield finding(
            "rare_group", "warning",
            f"{len(rare) - MOST_TOLD:,} more groups of {table.column!r} are rare; there are {len(rows):,} in all.",
            "Join small groups, or write ranges instead of numbers.",
        )  # fmt: skip


def _holm(p_values: Sequence[float]) -> list[float]:
    found, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        found[index] = largest
    return found


def association(counts: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[float, float, str]:
    """(Cramér's V, p-value, which test) of a table [groups, labels] of rows; NaN where one side has one value."""
    from scipy.stats import chi2_contingency, fisher_exact

    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(counts.shape, default=0) < 2:
        return float("nan"), 1.0, ""
    found = chi2_contingency(counts, correction=False)
    strength = float(np.sqrt(found.statistic / counts.sum() / (min(counts.shape) - 1)))
    if counts.shape == (2, 2):
        return strength, float(fisher_exact(counts).pvalue), "Fisher's exact test"
    if (found.expected_freq >= _EXPECTED).mean() >= 0.8 and (found.expected_freq >= 1).all():  # Cochran's rule
        return strength, float(found.pvalue), "chi-square test"
    return strength, _shuffled(counts, float(found.statistic)), "chi-square test, shuffled"


def _shuffled(counts: np.ndarray[Any, np.dtype[np.int64]], statistic: float, shuffles: int = 1999) -> float:
    """P-value of the statistic among tables with the same margins (Patefield's algorithm, in SciPy)."""
    from scipy.stats import random_table

    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    drawn = random_table(rows, columns, seed=np.random.default_rng(0)).rvs(size=shuffles)
    expected = np.outer(rows, columns) / counts.sum()
    larger = ((drawn - expected) ** 2 / expected).sum(axis=(1, 2)) >= statistic * (1 - 1e-9)
    return float((larger.sum() + 1) / (shuffles + 1))


def _labels(table: GroupTable, finding: Any) -> Iterator[Finding]:
    """The whole table where each row has one label, else each label by itself; then the cells that stand out."""
    groups, labels, counts = table.matrix()
    if len(labels) < (1 if table.several else 2) or len(groups) < 2:
        return
    rows = np.array([table.rows[name] for name in groups])
    if not table.several:
        strength, p_value, test = association(counts)
    else:
        each = [association(np.column_stack([counts[:, k], rows - counts[:, k]])) for k in range(len(labels))]
        p_values = _holm([item[1] for item in each])
        best = int(np.argmin(p_values))
        strength, p_value, test = each[best][0], p_values[best], each[best][2]
    if not (p_value < SIGNIFICANCE and strength >= WEAK):
        return
    cells = _cells(counts, rows)
    told = "; ".join(
        f"of {short(groups[g])} {counts[g, k] / rows[g]:.0%} are {short(labels[k])}, of the others "
        f"{(counts[:, k].sum() - counts[g, k]) / (rows.sum() - rows[g]):.0%}"
        for g, k in cells[:3]
    )
    yield finding(
        "label_goes_with_group",
        "warning" if strength >= STRONG else "info",
        f"labels go with {table.column!r} (Cramér's V {strength:.2f}, {test}, "
        f"p {'< 0.001' if p_value < 0.001 else f'= {p_value:.2g}'}){': ' + told if told else ''}.",
        "Is it so where the model will be used? Else collect the missing pairs: a model learns the group instead.",
        cramers_v=round(strength, 4),
        p_value=p_value,
    )


def _cells(counts: np.ndarray[Any, np.dtype[np.int64]], rows: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    """(group, label) pairs that are more frequent than chance explains, the most surprising first (Holm)."""
    from scipy.stats import fisher_exact

    pairs: list[tuple[int, int]] = []
    p_values: list[float] = []
    for g in range(len(rows)):
        for k in range(counts.shape[1]):
            inside, outside = int(counts[g, k]), int(counts[:, k].sum() - counts[g, k])
            other = int(rows.sum() - rows[g])
            if inside * other > outside * int(rows[g]) and len(pairs) < 2000:
                pairs.append((g, k))
                table = [[inside, int(rows[g]) - inside], [outside, other - outside]]
                p_values.append(float(fisher_exact(table).pvalue))
    corrected = _holm(p_values)
    order = np.argsort(p_values, kind="stable").tolist()
    return [pairs[i] for i in order if corrected[i] < SIGNIFICANCE]


def _scores(table: GroupTable, finding: Any) -> Iterator[Finding]:
    """Numbers that differ between groups: Kruskal and Wallis' test (1952), and the variance that they explain."""
    from scipy.stats import kruskal

    values = [np.array(item) for item in table.scores.values() if len(item) >= 5]
    if len(values) < 2:
        return
    everything = np.concatenate(values)
    if np.ptp(everything) == 0:
        return
    p_value = float(kruskal(*values).pvalue)
    between = sum(len(item) * (item.mean() - everything.mean()) ** 2 for item in values)
    explained = float(between / ((everything - everything.mean()) ** 2).sum())
    if not (p_value < SIGNIFICANCE and explained >= WEAK**2):
        return
    means = {name: float(np.mean(item)) for name, item in table.scores.items() if len(item) >= 5}
    low, high = min(means, key=lambda name: means[name]), max(means, key=lambda name: means[name])
    yield finding(
        "score_goes_with_group",
        "warning" if explained >= STRONG**2 else "info",
        f"scores go with {table.column!r}: on average {means[low]:.3g} in {short(low)} and {means[high]:.3g} in "
        f"{short(high)} (groups explain {explained:.0%} of the variance; Kruskal-Wallis test, "
        f"p {'< 0.001' if p_value < 0.001 else f'= {p_value:.2g}'}).",
        "Is it so where the model will be used? Else collect what is missing: a model learns the group instead.",
        explained=round(explained, 4),
        p_value=p_value,
    )
