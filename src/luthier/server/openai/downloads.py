"""A stored file goes out in pieces, always as a download and never as something that a browser shows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import BinaryIO

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from luthier.server import store_call
from luthier.server.errors import ApiError
from luthier.server.headers import download_headers
from luthier.server.state import AppState

PIECE = 64 * 1024
"""Bytes in memory of each download, two or three times over while its client takes nothing."""
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


async def download(request: Request, state: AppState, artefact: str, filename: str, size: int) -> Response:
    """The artefact, or the one range of it that the request names; several ranges are answered with the whole.

    Raises:
        ApiError: 416 for a range outside of the file.
    """
    wanted = None if "if-range" in request.headers else request.headers.get("range")
    first, last = _range(wanted, size) or (0, size - 1)
    stream = await store_call.run(state.artefacts.open_read, artefact)
    if first:
        await store_call.run(stream.seek, first)
    headers = {**download_headers(filename, last - first + 1), "accept-ranges": "bytes"}
    partial = wanted is not None and last - first + 1 < size
    if partial:
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    return StreamingResponse(_pieces(stream, last - first + 1), 206 if partial else 200, headers)


async def _pieces(stream: BinaryIO, left: int) -> AsyncIterator[bytes]:
    try:
        while left > 0:
            piece = await store_call.run(stream.read, min(PIECE, left))
            if not piece:
                raise EOFError("the artefact is shorter than the store says")
            left -= len(piece)
            yield piece
    finally:
        stream.close()


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first, last) byte, or None for the whole file (RFC 9110, section 14)."""
    found = _RANGE.fullmatch(header) if header is not None and len(header) < 64 else None
    if found is None or found.group(0) == "bytes=-":
        return None
    start, end = found.groups()
    if not start:
        first, last = max(0, size - int(end)), size - 1
    else:
        first, last = int(start), min(int(end) if end else size - 1, size - 1)
        if end and int(end) < int(start):
            return None  # no valid range: as if it had not been sent
    if first >= size or last < first:
        raise ApiError(
            416, "The range is outside of the file.", code="range_not_satisfiable",
            headers={"content-range": f"bytes */{size}"},
        )  # fmt: skip
    return first, last
