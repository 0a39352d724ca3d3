"""Plain text to go on with: a file is one sample, a very long one several, cut between paragraphs."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.core.errors import DataError
from luthier.data.formats.base import Row, problem
from luthier.data.formats.lines import check_text, head, read_lines
from luthier.data.samples import Finding

PIECE = 65_536
"""Characters from which a new sample begins at the next blank line: so a book can be split into train
and validation, and one sample at a time is in memory. Far above the context of the models we train."""
LONGEST = 2 * PIECE
"""Characters at which it begins at the next line, blank or not."""


class Prose:
    """A text file; the line of a row is that of its first character."""

    name = "text"

    def __init__(self, path: str) -> None:
        self.path = path

    def header(self) -> list[str]:
        return ["text"]

    def rows(self) -> Iterator[Row | Finding]:
        try:
            check_text(self.path, head(self.path))
        except DataError as error:  # one bad file of many is a finding
            code = "empty_text" if error.code == "empty_file" else error.code
            yield problem(code, error.message, error.remedy, 1, self.path)
            return
        lines: list[str] = []
        size, first, given = 0, 1, False
        for number, line in read_lines(self.path):
            if isinstance(line, Finding):
                yield line
                return
            if (size >= PIECE and not line.strip()) or size >= LONGEST:
                yield Row({"text": "\n".join(lines)}, first, self.path)
                lines, size, given = [], 0, True
            if not lines and not line.strip():
                continue  # a piece begins with its first word
            first = number if not lines else first
            lines.append(line)
            size += len(line) + 1
        if lines:
            yield Row({"text": "\n".join(lines).rstrip()}, first, self.path)
        elif not given:
            yield problem("empty_text", "this file holds nothing but blank lines.", "Leave it out.", 1, self.path)
