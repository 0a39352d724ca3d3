"""What a check is, and what all checks share: the rows' facts in arrays, never the rows."""

from __future__ import annotations

import array
import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.core.conversation import Completion, Conversation
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.core.text import TextEncoder
from luthier.data.columns import Columns
from luthier.data.duplicates import exact_hash, normalise, normalised_hash
from luthier.data.language_text import answer_text, texts_of
from luthier.data.samples import Finding, Sample, Severity, Span, Target
from luthier.data.templates.renderer import Renderer

TRAIN = "train"
CODES = 100_000
"""So many different targets have a number of their own; further ones are told apart by hash."""


class Check(Protocol):
    """One kind of problem. `see` gets every usable row in order and reports what a row alone shows;
    `finish` gives what only all rows together show; `stats` what belongs into the report."""

    def see(self, index: int, sample: Sample) -> None: ...

    def finish(self) -> Iterator[Finding]: ...

    def stats(self) -> dict[str, Any]: ...


class RowTable:
    """Some 36 bytes per row: place, hashes, target. Rows of all parts count on from 0."""

    def __init__(self) -> None:
        self._lines = array.array("I")
        self._exact, self._normalised = array.array("Q"), array.array("Q")
        self._targets, self._groups = array.array("q"), array.array("q")
        self._scores = array.array("d")
        self._source_starts: list[int] = []
        self._sources: list[str] = []
        self.part_starts: list[int] = []
        self.parts: list[str] = []
        self._codes: dict[Target, int] = {}
        self._has_groups = False

    def __len__(self) -> int:
        return len(self._lines)

    def begin(self, part: str) -> None:
        """What is added from here on belongs to `part`."""
        self.parts.append(part)
        self.part_starts.append(len(self))

    def add(self, sample: Sample) -> int:
        """Keep the row's facts; its index."""
        index = len(self._lines)
        if not self._sources or self._sources[-1] != sample.source:
            self._sources.append(sample.source)
            self._source_starts.append(index)
        self._lines.append(sample.line)
        self._exact.append(exact_hash(sample))
        self._normalised.append(normalised_hash(sample))
        self._targets.append(self._code(sample.target))
        if sample.group is not None or self._has_groups:
            if not self._has_groups:
                self._groups.extend([0] * index)
                self._has_groups = True
            self._groups.append(0 if sample.group is None else hash(sample.group) or 1)
        return index

    def _code(self, target: Target) -> int:
        if isinstance(target, Conversation | Completion):
            return hash(normalise(answer_text(target)))
        if isinstance(target, tuple):
            if target and isinstance(target[0], float):
                self._scores.extend(item for item in target if isinstance(item, float))
                return 0
            if target and isinstance(target[0], Span):
                return hash(target)
            target = tuple(sorted(item for item in target if isinstance(item, str)))
        code = self._codes.get(target)
        if code is None:
            if len(self._codes) >= CODES:
                return hash(target) | CODES
            code = self._codes[target] = len(self._codes)
        return code

    @property
    def exact(self) -> NDArray[np.uint64]:
        """Hash of the text as it stands, shape (rows,)."""
        return np.array(self._exact, dtype=np.uint64)

    @property
    def normalised(self) -> NDArray[np.uint64]:
        """Hash of the normalised text, shape (rows,)."""
        return np.array(self._normalised, dtype=np.uint64)

    @property
    def targets(self) -> NDArray[np.int64]:
        """A number per row, equal where the targets are (0 throughout for numbers), shape (rows,)."""
        return np.array(self._targets, dtype=np.int64)

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """A hash per row, 0 for a row without a group, shape (rows,); None where no row has one."""
        return np.array(self._groups, dtype=np.int64) if self._has_groups else None

    @property
    def scores(self) -> NDArray[np.float64]:
        """Numbers to learn, shape (rows, targets)."""
        return np.array(self._scores, dtype=np.float64).reshape(len(self), -1)

    @property
    def part_numbers(self) -> NDArray[np.int8]:
        """Which part each row is in, shape (rows,)."""
        ends = [*self.part_starts[1:], len(self)]
        sizes = [end - start for start, end in zip(self.part_starts, ends, strict=True)]
        return np.repeat(np.arange(len(self.parts), dtype=np.int8), sizes)

    def part_of(self, index: int) -> str:
        """The name of the row's part."""
        return self.parts[bisect.bisect_right(self.part_starts, index) - 1]

    def place(self, index: int) -> tuple[str, int]:
        """File and line of a row."""
        return self._sources[bisect.bisect_right(self._source_starts, index) - 1], self._lines[index]

    def name(self, index: int, seen_from: int) -> str:
        """``line 7``, with the file's name where it is another one than that of the row `seen_from`."""
        (source, line), (here, _) = self.place(index), self.place(seen_from)
        if source == here:
            return f"line {line}"
        base = source.rsplit("/", 1)[-1]
        return f"line {line} of {source if base == here.rsplit('/', 1)[-1] else base}"

    def finding(
        self,
        index: int,
        code: str,
        severity: Severity,
        message: str,
        remedy: str,
        other: int | None = None,
        **more: Any,
    ) -> Finding:
        """A finding at a row's place, with the place of the `other` row that it is about."""
        source, line = self.place(index)
        if other is not None:
            other_source, other_line = self.place(other)
            more = {"other_line": other_line, "other_source": other_source, **more}
        return Finding(code, severity, message, remedy, line, source, more)


@dataclass
class Context:
    """What a check may use.

    Attributes:
        part: the part that is being read: train, validation or test.
        is_code: whether each row is a source file.
        labels: rows per part of each class or span label; filled while reading.
        max_length: tokens that the model will read, None where the encoder's own limit holds.
    """

    task: str
    columns: Columns
    several_labels: bool
    report: Callable[[Finding], None]
    table: RowTable
    encoder: TextEncoder | None = None
    renderer: Renderer | None = None
    is_code: bool = False
    max_length: int | None = None
    seed: int = 0
    part: str = TRAIN
    where: str = ""
    labels: dict[str, LabelFacts] = field(default_factory=dict)

    @property
    def generative(self) -> bool:
        """Whether the rows are conversations or completions."""
        return self.task in LANGUAGE_TASKS

    @property
    def plain(self) -> bool:
        """Whether the rows are plain text to go on with, without questions."""
        return self.generative and bool(self.columns.text)

    def texts(self, sample: Sample) -> Iterator[tuple[str, str]]:
        """Each text with the name of its column, or of its message."""
        if isinstance(sample.target, Conversation | Completion):
            yield from texts_of(sample.target)
            return
        yield self.columns.text, sample.text
        if sample.text_pair is not None:
            yield self.columns.text_pair or "text_pair", sample.text_pair


@dataclass(slots=True)
class LabelFacts:
    """Rows per part, and the first row that has the label."""

    first: int
    rows: dict[str, int] = field(default_factory=dict)


def short(text: str, length: int = 60) -> str:
    """A label or a piece of text, quoted, in one line."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")
