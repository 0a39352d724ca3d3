"""Knowledge in files: read as text, cut into passages that fit into a prompt."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luthier.approaches.index import Passage
from luthier.core.errors import DataError

SUFFIXES = frozenset(
    {".txt", ".md", ".markdown", ".rst", ".html", ".htm", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml"}
)
LARGEST = 50 * 2**20
"""Bytes of one file."""
CHUNKS = (400, 1200)
"""Lengths of passages to choose from, in characters."""
_COLUMNS = (("question", "answer"), ("prompt", "completion"), ("instruction", "output"), ("title", "text"))
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_TAGS = re.compile(r"(?is)<(script|style)\b.*?</\1>|<!--.*?-->|<[^>]+>")


def read_documents(places: Sequence[str | Path]) -> tuple[list[tuple[str, str]], list[str]]:
    """((name, text) of each file, what was passed over and why). Folders are read with everything below them.

    Raises:
        DataError: a place that is not there, or no file that holds text.
    """
    found: list[tuple[str, str]] = []
    notes: list[str] = []
    for place in places:
        root = Path(place).expanduser()
        if not root.exists():
            raise DataError(
                "there is no such file or folder.", where=str(place), remedy="Look at the path of the knowledge.",
                code="knowledge_missing", param="knowledge",
            )  # fmt: skip
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if not path.is_file() or any(part.startswith(".") for part in path.relative_to(root).parts):
                continue
            name = str(path.relative_to(root)) if root.is_dir() else path.name
            text, why = _text(path)
            if why:
                notes.append(f"{name}: {why}")
            elif text.strip():
                found.append((name, text))
    if not found:
        told = "; ".join(notes[:3]) or "it is empty"
        raise DataError(
            f"there is no text in the knowledge ({told}).",
            where=", ".join(str(place) for place in places)[:200],
            remedy="Give plain text, Markdown, HTML, CSV or JSON; convert PDF and Word files to text first.",
            code="no_knowledge",
            param="knowledge",
        )
    return found, notes


def _text(path: Path) -> tuple[str, str]:
    if path.suffix.lower() not in SUFFIXES:
        return "", f"files of the kind {path.suffix or 'without a suffix'} are not read"
    try:
        if path.stat().st_size > LARGEST:
            return "", f"it is larger than {LARGEST // 2**20} MB"
        raw = path.read_bytes()
    except OSError as error:
        return "", f"it cannot be read ({error.strerror})"
    if b"\0" in raw[:8192]:
        return "", "it is no text"
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "", "it is not UTF-8"
    if path.suffix.lower() in (".html", ".htm"):
        text = html.unescape(_TAGS.sub(" ", text))
    return text, ""


def passages_of(documents: Sequence[tuple[str, str]], longest: int) -> list[Passage]:
    """Passages of at most `longest` characters, at paragraphs where that is possible, then at sentences; 0: each
    a sentence.

    A table of questions and answers (CSV, JSON lines) gives one passage for each row: found by its question, it
    shows its answer.
    """
    found = []
    for name, text in documents:
        rows = _questions(name, text)
        pieces = _sentences(text) if longest == 0 else _pieces(text, longest)
        for number, (key, shown) in enumerate(rows or ((piece, piece) for piece in pieces), start=1):
            found.append(Passage(key, shown, f"{name}#{number}"))
    return found


def _questions(name: str, text: str) -> list[tuple[str, str]]:
    """(question, answer) of each row of a table that has such columns; none for any other file."""
    rows: list[dict[str, Any]] = []
    try:
        if name.lower().endswith((".csv", ".tsv")):
            rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if name.lower().endswith(".tsv") else ","))
        elif name.lower().endswith(".jsonl"):
            rows = [row for row in map(json.loads, filter(str.strip, text.split("\n"))) if isinstance(row, dict)]
    except (ValueError, csv.Error, RecursionError):
        return []
    for asked, answered in _COLUMNS:
        found = [(row.get(asked), row.get(answered)) for row in rows]
        whole = [(q, a) for q, a in found if isinstance(q, str) and isinstance(a, str) and q.strip() and a.strip()]
        if whole:
            return whole
    return []


def _sentences(text: str) -> Iterator[str]:
    for paragraph in _PARAGRAPH.split(text):
        for sentence in _SENTENCE.split(" ".join(paragraph.split())):
            if sentence:
                yield sentence


def _pieces(text: str, longest: int) -> Iterator[str]:
    waiting = ""
    for part in _parts(text, longest):
        if waiting and len(waiting) + len(part) + 1 > longest:
            yield waiting
            waiting = ""
        waiting = f"{waiting}\n{part}" if waiting else part
    if waiting:
        yield waiting


def _parts(text: str, longest: int) -> Iterator[str]:
    for paragraph in _PARAGRAPH.split(text):
        paragraph = paragraph.strip()
        if len(paragraph) <= longest:
            if paragraph:
                yield paragraph
            continue
        for sentence in _SENTENCE.split(paragraph):
            for begin in range(0, len(sentence), longest):
                yield sentence[begin : begin + longest]
