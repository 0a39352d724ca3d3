"""Rows of validation or test that training has seen: gate G9 of the pitfalls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from luthier.core.words import plural
from luthier.data.checks.base import Context
from luthier.data.checks.similar import Similar
from luthier.data.samples import Finding, Sample

FEW_GROUPS, LARGE_GROUP = 50, 10
"""At most so many groups, of at least so many training rows on average, are taken for groups of people."""
CODES = {"exact": "leak", "normalised": "leak_normalised", "near": "leak_near"}


class Leaks:
    """Texts and groups that are in more than one part, each with both places."""

    def __init__(self, context: Context, similar: Similar) -> None:
        self._context, self._similar = context, similar
        self._counts: dict[str, dict[str, int]] = {}

    def see(self, index: int, sample: Sample) -> None:
        pass

    def finish(self) -> Iterator[Finding]:
        parts = self._context.table.parts
        if len(parts) < 2:
            return
        self._counts = {part: {"exact": 0, "normalised": 0, "near": 0, "group": 0} for part in parts[1:]}
        alike, self._targets = self._similar.alike(), self._context.table.targets
        leaks = (alike.normalised_leak >= 0) | (alike.near_leak >= 0)
        what = "question" if self._context.generative and not self._context.plain else "text"
        for row in np.flatnonzero(leaks).tolist():
            if alike.exact_leak[row] >= 0:
                yield self._text(row, int(alike.exact_leak[row]), "exact", f"has the same {what} as")
            elif alike.normalised_leak[row] >= 0:
                how = f"has, but for case, spaces or punctuation, the same {what} as"
                yield self._text(row, int(alike.normalised_leak[row]), "normalised", how)
            else:
                measured = float(alike.leak_similarity[row])
                how = f"is nearly the same ({measured:.0%}) as" if measured else "is, through like rows, like"
                yield self._text(row, int(alike.near_leak[row]), "near", how)
        yield from self._groups()

    def _text(self, row: int, other: int, kind: str, how: str) -> Finding:
        table = self._context.table
        part, earlier = table.part_of(row), table.part_of(other)
        self._counts[part][kind] += 1
        more: dict[str, Any] = {}
        if self._context.generative and kind != "near":
            more["answer"] = "same" if self._targets[row] == self._targets[other] else "another"
            self._counts[part]["whole"] = self._counts[part].get("whole", 0) + (more["answer"] == "same")
        return table.finding(
            row,
            CODES[kind],
            "warning",
            f"{part} {table.name(row, row)} {how} {earlier} {table.name(other, row)}.",
            f"Remove it from {earlier}: what was seen before measures nothing.",
            other,
            part=part,
            other_part=earlier,
            **more,
        )

    def _groups(self) -> Iterator[Finding]:
        """One finding per group and part that it should not be in."""
        table = self._context.table
        groups, parts, column = table.groups, table.part_numbers, self._context.columns.group
        if groups is None:
            return
        order = np.argsort(groups, kind="stable")
        ordered = groups[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        owner = np.empty(len(groups), np.int64)
        owner[order] = np.repeat(order[starts], np.diff(np.append(starts, len(groups))))
        leaking = np.flatnonzero((groups != 0) & (parts[owner] != parts))
        if self._are_of_people(groups, parts, leaking):
            yield self._both_sides(groups, parts, leaking)
            return
        keys = np.stack([owner[leaking], parts[leaking].astype(np.int64)])
        _, first, counts = np.unique(keys, axis=1, return_index=True, return_counts=True)
        for at, count in sorted(zip(first.tolist(), counts.tolist(), strict=True)):
            row, other = int(leaking[at]), int(owner[leaking[at]])
            part, earlier = table.part_of(row), table.part_of(other)
            self._counts[part]["group"] += count
            yield table.finding(
                row,
                "leak_group",
                "warning",
                f"{part} {table.name(row, row)} is of the same {column!r} as {earlier} "
                f"{table.name(other, row)}, as are {plural(count, 'row')} of {part} in all.",
                f"Keep the rows of one {column!r} on one side: the model knows it from {earlier}.",
                other,
                part=part,
                other_part=earlier,
                rows=count,
            )

    def _are_of_people(self, groups: Any, parts: Any, leaking: Any) -> bool:
        """Few large groups, nearly all of them in every part: regions or ages, rather than users or documents."""
        in_train = np.unique(groups[(parts == 0) & (groups != 0)])
        outside = int(((parts != 0) & (groups != 0)).sum())
        train_rows = int(((parts == 0) & (groups != 0)).sum())
        few = 0 < len(in_train) <= FEW_GROUPS and train_rows >= LARGE_GROUP * len(in_train)
        return few and len(leaking) >= 0.9 * outside > 0

    def _both_sides(self, groups: Any, parts: Any, leaking: Any) -> Finding:
        for part in range(1, len(self._context.table.parts)):
            self._counts[self._context.table.parts[part]]["group"] += int((parts[leaking] == part).sum())
        return Finding(
            "group_on_both_sides",
            "info",
            f"the {len(np.unique(groups[groups != 0])):,} groups of {self._context.columns.group!r} are in train and "
            f"in what is held out ({plural(len(leaking), 'row')} of it).",
            "Right for regions, ages or products. Where they are users or documents, keep each on one side.",
            0,
            self._context.where,
        )

    def stats(self) -> dict[str, Any]:
        return {"leaks": self._counts} if self._counts else {}
