"""Every format that rows come in, and which one a file is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.data.formats.base import Format, Row, problem, to_error
from luthier.data.formats.code import SourceCode
from luthier.data.formats.conll import Conll, looks_like_conll
from luthier.data.formats.delimited import NO_DELIMITER, Delimited, find_dialect
from luthier.data.formats.folder import TextLines, WholeText
from luthier.data.formats.jsonl import JsonArray, JsonLines
from luthier.data.formats.lines import check_text, head, head_lines
from luthier.data.formats.parquet import MAGIC, Parquet
from luthier.data.formats.prose import Prose
from luthier.data.sources import PROSE_ENDINGS, TEXT_ENDINGS, plain_name

__all__ = ["Format", "Prose", "Row", "SourceCode", "WholeText", "problem", "recognise", "to_error"]

_JSON = (".jsonl", ".ndjson", ".json")
_CONLL = (".conll", ".bio", ".iob", ".iob2")
_PARQUET = (".parquet", ".pq")


def recognise(path: str, columns: Mapping[str, Any], known: set[str], *, prose: bool = False) -> Format:
    """The format of a file, by its ending and then by its content.

    Args:
        path: one file, as `sources.expand` gives it.
        columns: the user's mapping; numbers in it say that the file has no header.
        known: column names that are understood, in lower case; a first row with one is a header.
        prose: whether a text file is one text to go on with, and not a text per line.

    Raises:
        DataError: empty, binary, or in an encoding that is not UTF-8.
    """
    name = plain_name(path)
    start = head(path)
    if start.startswith(MAGIC) or name.endswith(_PARQUET):
        return Parquet(path)
    check_text(path, start)
    lines = head_lines(start)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if name.endswith(_JSON):
        return JsonArray(path) if text.startswith(b"[") else JsonLines(path)
    if text.startswith((b'{"', b"{ ")):
        return JsonLines(path)
    if name.endswith(_CONLL) or looks_like_conll(name, lines):
        return Conll(path)
    if prose and name.endswith(PROSE_ENDINGS) and not columns:
        return Prose(path)
    filled = [line for line in lines if line.strip()]
    if name.endswith(TEXT_ENDINGS) and filled and not columns:
        dialect = find_dialect(filled, name)
        cells = next(dialect.reader(iter(filled)))
        if dialect.delimiter == NO_DELIMITER or not any(cell.strip().lower() in known for cell in cells):
            return TextLines(path)
    return Delimited(path, columns, known)
