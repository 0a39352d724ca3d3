"""Labels that are probably one label written in two ways."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from luthier.core.words import plural
from luthier.data.checks.base import Context, short
from luthier.data.samples import Finding, Sample

LONGEST = 64
COMPARED = 5000
TYPO_LENGTH = 5
TYPO_SHARE = 0.05
"""A typo is rare: the other spelling has at least 20 times as many rows (or the typo one row)."""

_FILL = re.compile(r"[\s_\-\u200b-\u200d\u2060\ufeff]+")
_EDGE = re.compile(r"^[\s\u200b-\u200d\u2060\ufeff]|[\s\u200b-\u200d\u2060\ufeff]$")


class LabelLookalikes:
    """Looks at the labels that `Labels` counted."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def see(self, index: int, sample: Sample) -> None:
        pass

    def stats(self) -> dict[str, Any]:
        return {}

    def finish(self) -> Iterator[Finding]:
        counts = {name: sum(facts.rows.values()) for name, facts in self._context.labels.items()}
        names = sorted(counts, key=lambda name: (-counts[name], name))[:COMPARED]
        for name in names:
            if _EDGE.search(name):
                yield self._context.table.finding(
                    self._context.labels[name].first,
                    "label_whitespace",
                    "warning",
                    f"the label {name!a} begins or ends with white space or an invisible character.",
                    "Remove it; it makes another class.",
                )
        yield from self._same_but_for_case(names, counts)
        yield from self._typos(names, counts)

    def _lookalike(self, name: str, usual: str, counts: dict[str, int], difference: str) -> Finding:
        labels = self._context.labels
        return self._context.table.finding(
            labels[name].first,
            "label_lookalike",
            "warning",
            f"the label {short(name)} ({plural(counts[name], 'row')}) differs from {short(usual)} "
            f"({plural(counts[usual], 'row')}) only by {difference}.",
            f"If they mean the same, write {short(usual)} throughout.",
            labels[usual].first,
        )

    def _same_but_for_case(self, names: list[str], counts: dict[str, int]) -> Iterator[Finding]:
        usual: dict[str, str] = {}
        for name in names:  # the most frequent spelling comes first
            key = _FILL.sub("", name).casefold()
            if key and key in usual:
                yield self._lookalike(name, usual[key], counts, "case, spaces or hyphens")
            else:
                usual[key] = name

    def _typos(self, names: list[str], counts: dict[str, int]) -> Iterator[Finding]:
        """Pairs one edit apart share a string with one letter deleted (SymSpell, W. Garbe 2012)."""
        seen: dict[str, list[str]] = {}
        for name in names:
            folded = name.casefold()
            if not TYPO_LENGTH <= len(folded) <= LONGEST:
                continue
            forms = {folded, *(folded[:k] + folded[k + 1 :] for k in range(len(folded)))}
            found: str | None = None
            for form in forms:
                for other in seen.get(form, ()):
                    rare = counts[name] == 1 < counts[other] or counts[name] <= TYPO_SHARE * counts[other]
                    if rare and one_letter_apart(folded, other.casefold()):
                        found = other if found is None else min(found, other, key=lambda item: (-counts[item], item))
            if found is not None:
                yield self._lookalike(name, found, counts, "one letter")
            for form in forms:
                seen.setdefault(form, []).append(name)


def one_letter_apart(one: str, other: str) -> bool:
    """Whether one letter was added, lost, changed, or swapped with its neighbour; digits do not count."""
    if one == other:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    first, second = one[start : len(one) - end], other[start : len(other) - end]
    if not (first + second).isalpha():
        return False
    swapped = len(first) == len(second) == 2 and first == second[::-1]
    return swapped or max(len(first), len(second)) == 1
