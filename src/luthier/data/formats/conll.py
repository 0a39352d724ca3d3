"""CoNLL columns: a token and its tag per line, a blank line after each sentence.

Tags as in CoNLL-2003 (Tjong Kim Sang and De Meulder): B- begins, I- goes on, O is outside; IOB1,
BIOES and BILOU are read as well. Text is rebuilt with one space between tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from luthier.data.formats.base import Row, problem
from luthier.data.formats.lines import LINE_CAP, read_lines
from luthier.data.samples import Finding

_TAG = re.compile(r"O|[BIESLUM]-\S+")
_NEW = frozenset("BSU")
_ENDINGS = (".conll", ".bio", ".iob", ".iob2")


def _fields(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _is_comment(line: str) -> bool:
    """As in CoNLL-U; a token may be "#" as well, and then a tag follows."""
    return line.startswith("#") and "\t" not in line and _TAG.fullmatch(line.split()[-1]) is None


def looks_like_conll(name: str, lines: list[str]) -> bool:
    """Whether nearly all sampled lines are columns that end in a tag."""
    kept = [line for line in lines if line.strip() and not line.startswith("-DOCSTART-")]
    rows = [_fields(line.rstrip()) for line in kept if not _is_comment(line)]
    if not rows:
        return False
    tagged = sum(len(row) >= 2 and _TAG.fullmatch(row[-1]) is not None for row in rows)
    entities = any(row[-1] != "O" for row in rows if len(row) >= 2 and _TAG.fullmatch(row[-1]))
    return tagged >= 0.95 * len(rows) and (entities or name.endswith(_ENDINGS))


def to_spans(tokens: list[str], tags: list[str]) -> list[dict[str, int | str]]:
    """Character spans in ``" ".join(tokens)``.

    A tag that goes on with a label that is not open begins a span, as `seqeval` reads it by default.
    """
    spans: list[dict[str, int | str]] = []
    at, label = 0, ""
    for token, tag in zip(tokens, tags, strict=True):
        prefix, _, kind = tag.partition("-")
        if tag == "O":
            label = ""
        elif kind == label and prefix not in _NEW:
            spans[-1]["end"] = at + len(token)
        else:
            spans.append({"start": at, "end": at + len(token), "label": kind})
            label = kind
        if prefix in ("E", "S", "L", "U"):
            label = ""
        at += len(token) + 1
    return spans


class Conll:
    """Sentences as rows with `text` and `spans`; the line is that of the first token."""

    name = "conll"

    def __init__(self, path: str) -> None:
        self.path = path

    def header(self) -> list[str]:
        return ["text", "spans"]

    def rows(self) -> Iterator[Row | Finding]:
        tokens: list[str] = []
        tags: list[str] = []
        first, size, whole = 0, 0, True
        for number, line in read_lines(self.path):
            if isinstance(line, Finding):
                yield line
                whole = False
                continue
            if not line.strip() or line.startswith("-DOCSTART-"):
                if tokens and whole:
                    yield self._sentence(tokens, tags, first)
                tokens, tags, first, size, whole = [], [], 0, 0, True
                continue
            if _is_comment(line):
                continue
            fields = _fields(line.rstrip())
            first = first or number
            if not whole:
                continue
            finding = self._wrong(fields, number)
            size += len(fields[0]) + 1
            if finding is None and size > LINE_CAP:
                finding = problem(
                    "line_too_long",
                    f"this sentence is longer than {LINE_CAP:,} characters.",
                    "Put a blank line after each sentence.",
                    first,
                    self.path,
                )
            if finding is not None:
                yield finding
                whole = False
                continue
            tokens.append(fields[0])
            tags.append(fields[-1])
        if tokens and whole:
            yield self._sentence(tokens, tags, first)

    def _sentence(self, tokens: list[str], tags: list[str], first: int) -> Row:
        return Row({"text": " ".join(tokens), "spans": to_spans(tokens, tags)}, first, self.path)

    def _wrong(self, fields: list[str], number: int) -> Finding | None:
        if len(fields) < 2:
            return problem(
                "column_count",
                "this line has one column; a token and a tag are needed.",
                "Write token, tab, tag; leave a line blank only after a sentence.",
                number,
                self.path,
            )
        if not fields[0].strip():
            return problem("empty_text", "this line has a tag but no token.", "Remove the line.", number, self.path)
        if not _TAG.fullmatch(fields[-1]):
            return problem("bad_tag", f"{fields[-1]!r} is no tag.", "Write O, B-Label or I-Label.", number, self.path)
        return None
