"""Bytes become lines of text: bounded, counted as an editor counts, UTF-8 or a clear no."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator

from luthier.core.errors import DataError
from luthier.data.formats.base import problem
from luthier.data.samples import Finding
from luthier.data.sources import open_bytes

LINE_CAP = 4 * 1024 * 1024
"""Bytes. No sample is that long; a file without line ends is."""
HEAD = 65_536
CONVERT = "Convert it: iconv -f {encoding} -t UTF-8 FILE > NEW, or save it as UTF-8."

_WIDE = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_MAGIC = (
    (b"PK\x03\x04", "a zip or Excel file", "Export the sheet as CSV (UTF-8), or unpack it."),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", "Export it as CSV (UTF-8)."),
    (b"%PDF", "a PDF file", "Extract its text first."),
    (b"SQLite format 3\0", "an SQLite database", "Export the table as CSV."),
    (b"BZh", "a bzip2 file", "Unpack it (bunzip2), or compress it with gzip."),
    (b"\xfd7zXZ", "an xz file", "Unpack it (unxz), or compress it with gzip."),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "Unpack it (unzstd), or compress it with gzip."),
    (b"\x89PNG", "a picture", "Give a file of texts."),
)


def head(path: str) -> bytes:
    """The first 64 KiB of `path`, unpacked.

    Raises:
        DataError: `empty_file`; `binary_file`; `wrong_encoding` for UTF-16 and UTF-32.
    """
    with open_bytes(path) as stream:
        try:
            start: bytes = stream.read(HEAD)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"the compressed file is damaged: {error}.",
                where=path,
                remedy="Compress or download it again.",
                code="broken_gzip",
            ) from None
    if not start:
        raise DataError("this file is empty.", where=path, remedy="Give a file with rows in it.", code="empty_file")
    return start


def check_text(path: str, start: bytes) -> None:
    """Refuse what cannot be UTF-8 text at all, as `head` gave it."""
    for mark, encoding in _WIDE:
        if start.startswith(mark):
            raise _wide(path, encoding, 0, 1)
    for mark, what, remedy in _MAGIC:
        if start.startswith(mark):
            raise DataError(f"this is {what}, not text.", where=path, remedy=remedy, code="binary_file")
    zero = start.find(b"\0")
    if zero >= 0:
        even, odd = start[0::2].count(0), start[1::2].count(0)
        if max(even, odd) > 10 * (min(even, odd) + 1) and max(even, odd) > len(start) // 8:
            raise _wide(path, "UTF-16LE" if odd > even else "UTF-16BE", zero, start.count(b"\n", 0, zero) + 1)
        raise DataError(
            f"this is a binary file, not text (a zero byte at byte {zero}).",
            where=path,
            remedy="Give JSON lines, CSV, TSV, Parquet, CoNLL columns or a folder of text files.",
            code="binary_file",
        )


def _wide(path: str, encoding: str, byte: int, line: int) -> DataError:
    return DataError(
        f"this is {encoding}, not UTF-8 (byte {byte}).",
        where=f"{path}:{line}",
        remedy=CONVERT.format(encoding=encoding),
        code="wrong_encoding",
    )


def head_lines(start: bytes) -> list[str]:
    """The whole lines of a `head`, without the last one if it may be torn; wrong bytes replaced."""
    text = start.decode("utf-8-sig", errors="replace")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if len(lines) > 1 and (len(start) == HEAD or not lines[-1]) else lines


def read_lines(path: str) -> Iterator[tuple[int, str | Finding]]:
    """Lines with their numbers from 1, without line end and byte order mark; only ``\\n`` ends a line.

    A line that is too long or not UTF-8 comes as a `Finding`; the next one is read all the same.
    """
    with open_bytes(path) as stream:
        number, offset = 0, 0
        while True:
            number += 1
            try:
                data = stream.readline(LINE_CAP + 1)
                length = len(data)
                if length > LINE_CAP:
                    while data and not data.endswith(b"\n"):
                        data = stream.readline(HEAD)
                        length += len(data)
                    yield (
                        number,
                        problem(
                            "line_too_long",
                            f"this line has {length:,} bytes; the limit is {LINE_CAP:,}.",
                            "Split the text into several rows; check that the file has line ends.",
                            number,
                            path,
                        ),
                    )
                    offset += length
                    continue
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                yield (
                    number,
                    problem(
                        "broken_gzip",
                        f"the compressed file is damaged from here: {error}.",
                        "Compress or download it again.",
                        number,
                        path,
                    ),
                )
                return
            if not data:
                return
            yield number, _decode(data, number, offset, path)
            offset += length


def _decode(data: bytes, number: int, offset: int, path: str) -> str | Finding:
    if number == 1:
        data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        shown = data[error.start]
        return problem(
            "wrong_encoding",
            f"this line is not UTF-8: byte 0x{shown:02x} at byte {offset + error.start} of the file.",
            CONVERT.format(encoding="WINDOWS-1252") + " (WINDOWS-1252 is the usual one; yours may differ.)",
            number,
            path,
        )
    if text.endswith("\n"):
        text = text[:-1]
    return text.removesuffix("\r")
