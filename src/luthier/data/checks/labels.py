"""Classes and span labels: how many rows each has, and labels that training never sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import nearest
from luthier.core.words import plural
from luthier.data.checks.base import TRAIN, Context, LabelFacts, short
from luthier.data.samples import Finding, Sample, Span

SINGLE, FEW = 2, 8
"""Below the first a class cannot be split, below the second it is hardly learned."""
RATIO = 10
"""Largest to smallest class, from which classes count as out of balance."""
DISTINCT = 20_000
"""Different labels that are counted."""
LISTED = 1000
HINTS = 50
"""Unknown labels for which the nearest known one is looked up, which takes a while with many labels."""
MANY = 50
FEW_ROWS = 32


def names_of(sample: Sample) -> tuple[str, ...]:
    """The classes or span labels of a sample, each once."""
    target = sample.target
    if isinstance(target, str):
        return (target,)
    if isinstance(target, Conversation | Completion):
        return ()
    found = (item.label if isinstance(item, Span) else item for item in target or ())
    return tuple(dict.fromkeys(name for name in found if isinstance(name, str)))


class Labels:
    """Counts labels; needs the rows of train before those of the other parts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: dict[str, int] = {}
        self._hints: dict[str, str] = {}
        self._same_target = True
        self._first_target: object = None

    def see(self, index: int, sample: Sample) -> None:
        context = self._context
        part = context.part
        self._rows[part] = self._rows.get(part, 0) + 1
        if part == TRAIN and self._same_target and not context.generative:
            if self._rows[part] == 1:
                self._first_target = sample.target
            self._same_target = sample.target == self._first_target
        labels = context.labels
        for name in names_of(sample):
            facts = labels.get(name)
            if facts is None:
                if len(labels) >= DISTINCT:
                    continue
                facts = labels[name] = LabelFacts(index)
            facts.rows[part] = facts.rows.get(part, 0) + 1
            if part != TRAIN and TRAIN not in facts.rows:
                self._unknown(index, name)

    def _unknown(self, index: int, name: str) -> None:
        if name not in self._hints:
            known = [label for label, facts in self._context.labels.items() if TRAIN in facts.rows]
            hint = nearest(name, known) if len(self._hints) < HINTS else ""
            self._hints[name] = hint + " " if hint.startswith("Did") else ""
        self._context.report(
            self._context.table.finding(
                index,
                "unknown_label",
                "error",
                f"the label {short(name)} is in {self._context.part} but not in train.",
                f"{self._hints[name]}Correct it, or add rows with it to train.",
            )
        )

    def finish(self) -> Iterator[Finding]:
        rows = self._rows.get(TRAIN, 0)
        yield from self._too_few(rows)
        if rows < 2 or self._context.task == "regress" or self._context.generative:
            return
        counts = self._counts()
        if self._context.task == "extract":
            if not counts:
                yield self._whole(
                    "no_spans", "no row has a span, so there is nothing to learn.", "Mark spans in some rows."
                )
        elif not counts or (len(counts) == 1 and not (self._context.several_labels and not self._same_target)):
            only = f"only one class, {short(next(iter(counts)))}" if counts else "no class"
            yield self._whole(
                "one_class",
                f"there is {only}; a classifier needs at least two.",
                "Add rows of another class, or check which column is the label.",
            )
        if len(counts) > max(MANY, rows // 2):
            more = "more than " if len(counts) >= DISTINCT else ""
            yield Finding(
                "label_is_no_class",
                "warning",
                f"there are {more}{len(counts):,} different labels in {rows:,} rows.",
                "Check that the label column holds classes and not names, ids or free text.",
                0,
                self._context.where,
            )
            return
        yield from self._rare(counts)
        if self._context.task == "classify":
            yield from self._imbalance(counts)
        yield from self._untested(counts)

    def _counts(self) -> dict[str, int]:
        """Rows of train by label, most frequent first."""
        found = {name: facts.rows[TRAIN] for name, facts in self._context.labels.items() if TRAIN in facts.rows}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def _whole(self, code: str, message: str, remedy: str) -> Finding:
        return Finding(code, "error", message, remedy, 0, self._context.where)

    def _too_few(self, rows: int) -> Iterator[Finding]:
        if rows < 2:
            some = f"there is only {rows} usable row" if rows else "there is no usable row"
            yield self._whole("too_few_rows", f"{some}; training needs at least two.", "Add rows.")
        elif rows < FEW_ROWS:
            begins = "" if self._context.generative else "; from some 20 per class on it begins to pay"
            yield Finding(
                "few_rows",
                "warning",
                f"there are only {rows} rows, so no result will be certain.",
                f"Collect a few hundred rows{begins}.",
                0,
                self._context.where,
            )

    def _rare(self, counts: dict[str, int]) -> Iterator[Finding]:
        for name, count in reversed(counts.items()):
            if count >= FEW:
                return
            first = self._context.labels[name].first
            if count < SINGLE:
                message = f"the label {short(name)} has a single row, so it can be learned or tested but not both."
            else:
                message = f"the label {short(name)} has only {count} rows; most models miss such a class."
            remedy = f"Collect {FEW} rows or more, or join it with another label."
            yield self._context.table.finding(first, "rare_label", "warning", message, remedy, rows=count)

    def _imbalance(self, counts: dict[str, int]) -> Iterator[Finding]:
        if len(counts) < 2:
            return
        (most, large), (least, small) = next(iter(counts.items())), next(reversed(counts.items()))
        if large >= RATIO * small:
            yield self._context.table.finding(
                self._context.labels[least].first,
                "imbalance",
                "warning",
                f"{short(most)} has {large / small:.0f} times as many rows as {short(least)} "
                f"({large:,} and {small:,}).",
                "Set head.class_weights=balanced, or collect more of the rare classes; judge by macro F1.",
                ratio=round(large / small, 2),
            )

    def _untested(self, counts: dict[str, int]) -> Iterator[Finding]:
        """A class that a part never asks for is not measured there."""
        for part in self._context.table.parts[1:]:
            if part not in self._rows:
                continue
            missing = [name for name in counts if part not in self._context.labels[name].rows]
            if missing:
                names = ", ".join(short(name) for name in missing[:3]) + (", …" if len(missing) > 3 else "")
                yield Finding(
                    "label_not_in_" + part,
                    "info",
                    f"{plural(len(missing), 'label')} of train "
                    f"{'is' if len(missing) == 1 else 'are'} not in {part}: {names}.",
                    f"Add rows of them to {part}; what is not there is not measured.",
                    0,
                    self._context.where,
                )

    def stats(self) -> dict[str, Any]:
        if self._context.task == "regress" or self._context.generative:
            return {}
        rows = max(self._rows.get(TRAIN, 0), 1)
        counts = self._counts()
        listed = list(counts.items())[:LISTED]
        return {
            "labels": {name: {"rows": count, "share": round(count / rows, 6)} for name, count in listed},
            "num_labels": len(counts),
        }
