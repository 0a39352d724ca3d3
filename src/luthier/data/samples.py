"""The first stage of the data: what a row says, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.core.conversation import Completion, Conversation
from luthier.core.predictor import TextInput

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Span:
    """A labelled stretch of text: characters `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int
    label: str


Target = str | tuple[str, ...] | tuple[float, ...] | tuple[Span, ...] | Conversation | Completion | None
"""One class; several classes; one or more numbers; spans; a conversation or completion, whose `text` is
then what the model is asked, for people; None where the row has no answer."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row, understood.

    `line` counts from 1 as an editor shows it (the first line of the row in its file; the row
    number in a Parquet file); `source` is the file.
    """

    text: str
    text_pair: str | None = None
    target: Target = None
    group: str | None = None
    line: int = 0
    source: str = ""

    @property
    def input(self) -> TextInput:
        """What the model is asked."""
        return self.text if self.text_pair is None else (self.text, self.text_pair)

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of the data, with its place and its remedy."""

    code: str
    severity: Severity
    message: str
    remedy: str
    line: int = 0
    source: str = ""
    other: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The finding as `luthier check --json` prints it."""
        return {
            "line": self.line,
            "source": self.source,
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "remedy": self.remedy,
            **self.other,
        }
