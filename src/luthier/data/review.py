"""The review of doubtful rows: a CSV file for people, which comes back with decisions.

Every row says where it stands, what was given, what is suggested and why; the column `decision` is empty:
``keep``, ``drop``, or the right answer. The name of the last column holds the hash of the data, so that it
survives a spreadsheet and a review is never applied to other data.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.core.errors import DataError, LuthierError, nearest
from luthier.data.formats.lines import check_text, head
from luthier.data.samples import Target
from luthier.data.sources import open_bytes
from luthier.data.targets import Wrong, parse_label, parse_score

COLUMNS = ("line", "text", "given_label", "suggested_label", "confidence", "reason", "decision", "file")
KEEP, DROP, LABEL = "keep", "drop", "label:"
_ROW = re.compile(r"\s*row of data sha256 ([0-9a-f]{64})\s*")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")
_FORMULA = ("=", "+", "-", "@", "\t")
TEXT_SHOWN = 500
"""Characters of a text in the review; the data keeps the whole."""


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a review; `row` counts from 1 over all files."""

    line: int
    row: int
    source: str
    text: str
    given: Target
    suggested: Target
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided of `row`: drop it, or give it `target`."""

    row: int
    action: Literal["drop", "label"]
    target: Target = None


def told(target: Target) -> str:
    """An answer in a cell: a label as it is, several or none as a JSON list, a number as digits."""
    if target is None:
        return ""
    if isinstance(target, str):
        return target
    values: list[Any] = list(target)  # type: ignore[arg-type]
    if len(values) == 1 and isinstance(values[0], float):
        return f"{values[0]:g}"
    return json.dumps(values, ensure_ascii=False)


def write_review(items: Iterable[Item], sha256: str) -> str:
    """The CSV file's text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*COLUMNS, f"row of data sha256 {sha256}"])
    for item in items:
        text = item.text if len(item.text) <= TEXT_SHOWN else item.text[: TEXT_SHOWN - 1] + "…"
        cells = [text, told(item.given), told(item.suggested), f"{item.confidence:.3f}", item.reason, "", item.source]
        writer.writerow([item.line, *map(_inert, cells), item.row])
    return "\ufeff" + stream.getvalue()  # without the mark Excel takes UTF-8 for something else


def _inert(cell: str) -> str:
    """A spreadsheet would run a cell that begins like a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell


def read_review(
    path: str, *, sha256: str, rows: int, task: str, labels: Sequence[str], several_labels: bool
) -> tuple[list[Decision], dict[str, int]]:
    """The decisions of a review, and how many rows were kept, dropped, relabelled or left open.

    Raises:
        DataError: `not_a_review`; `review_of_other_data`; `bad_decision` with the line in the review; a row
            that is decided twice.
    """
    check_text(path, head(path))
    with open_bytes(path) as stream:
        text = stream.read().decode("utf-8-sig", errors="replace")
    lines = list(_records(text))
    header = [cell.strip() for cell in lines[0][1]] if lines else []
    places = [i for i, name in enumerate(header) if _ROW.fullmatch(name)]
    if not places or "decision" not in header:
        raise DataError(
            "this is no review: it lacks the column 'decision' or the one with the data's hash.", where=path,
            remedy="Give the file that luthier triage wrote, with its header as it was.", code="not_a_review",
        )  # fmt: skip
    match = _ROW.fullmatch(header[places[0]])
    if match is None or match[1] != sha256:
        raise DataError(
            "the data is not what was reviewed: it has changed since.", where=path,
            remedy="Give the data as it was, or run luthier triage again.", code="review_of_other_data",
        )  # fmt: skip
    decide = _Reader(task, labels, several_labels)
    counts = {"kept": 0, "dropped": 0, "relabelled": 0, "open": 0}
    decisions: dict[int, Decision] = {}
    at_row, at_decision = places[0], header.index("decision")
    for line, cells in lines[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path}:{line}"
        row = _row_number(cells, at_row, rows, where)
        word = cells[at_decision].strip() if at_decision < len(cells) else ""
        if row in decisions:
            raise DataError(
                f"row {row} of the data is decided twice.", where=where, remedy="Keep one of the two lines.",
                code="bad_decision",
            )  # fmt: skip
        if not word:
            counts["open"] += 1
        elif word.lower() == KEEP:
            counts["kept"] += 1
        elif word.lower() == DROP:
            counts["dropped"] += 1
            decisions[row] = Decision(row, "drop")
        else:
            counts["relabelled"] += 1
            decisions[row] = Decision(row, "label", decide(word, where))
    return sorted(decisions.values(), key=lambda one: one.row), counts


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells); spreadsheets of some countries save with semicolons or tabs."""
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    line = 1
    for cells in reader:
        yield line, cells
        line = reader.line_num + 1


def _row_number(cells: Sequence[str], place: int, rows: int, where: str) -> int:
    cell = cells[place].strip() if place < len(cells) else ""
    if not cell.isdecimal() or not 1 <= int(cell) <= rows:
        raise DataError(
            f"{cell!r} is no row of the data, which has {rows:,}.", where=where,
            remedy="Leave the last column as it was.", code="bad_decision",
        )  # fmt: skip
    return int(cell)


class _Reader:
    """A decision that is an answer."""

    def __init__(self, task: str, labels: Sequence[str], several_labels: bool) -> None:
        self._task, self._labels, self._several = task, labels, several_labels

    def __call__(self, word: str, where: str) -> Target:
        if word.startswith("'") and word[1:].startswith(_FORMULA):
            word = word[1:]
        fresh = word.lower().startswith(LABEL)
        word = word[len(LABEL) :].strip() if fresh else word
        try:
            if self._task == "regress":
                return self._scores(word, where)
            target = parse_label(word, "decision")
        except Wrong as wrong:
            raise self._bad(wrong.message, wrong.remedy, where) from None
        names = (target,) if isinstance(target, str) else target
        if not self._several and not isinstance(target, str):
            raise self._bad(f"{word!r} is a list, and every row has one label.", "Give one label.", where)
        for name in names:
            if name not in self._labels and not fresh:
                hint = nearest(name, (*self._labels, KEEP, DROP))
                raise self._bad(
                    f"{name!r} is neither keep nor drop nor a label of the data.",
                    f"{hint} A new label is written {LABEL}{name}.", where,
                )  # fmt: skip
        return names if self._several else target

    def _scores(self, word: str, where: str) -> Target:
        try:
            values = json.loads(word) if word.startswith("[") else [word]
        except ValueError:
            raise self._bad(f"{word!r} is no JSON list.", "Write [1.5, 2].", where) from None
        if len(values) != len(self._labels):
            raise self._bad(
                f"{word!r} has {len(values)} numbers, not {len(self._labels)}.", "Write them as a JSON list.", where
            )
        return tuple(parse_score(value, "decision") for value in values)

    @staticmethod
    def _bad(message: str, remedy: str, where: str) -> LuthierError:
        return DataError(message, where=where, remedy=remedy, code="bad_decision", param="decision")
