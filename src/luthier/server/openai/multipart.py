"""One file out of a multipart body, passed on piece by piece as it comes: memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from luthier.server.errors import ApiError

PIECE = 1 << 20
"""Bytes that are passed on at once."""
_SLICE = 256 * 1024
LONGEST_FIELD = 4096
"""Bytes of a field that is no file."""
LONGEST_NAME = 1024
"""Bytes of a file's name."""
MOST_BESIDE = 256 * 1024
"""Bytes of a body that are not the file's: headers, fields and boundaries."""

_MISPLACED = "it ends too early, or a boundary or a part's header is not where it must be"

Sink = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Received:
    """What came: the file's name (empty when it had none), its size, and the other fields."""

    filename: str = ""
    bytes: int = 0
    fields: dict[str, str] = field(default_factory=dict)


def form_schema(
    file: str, required: dict[str, Any], optional: dict[str, Any], together: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What an OpenAPI document says of a route that `receive`s `file` and other fields (JSON schemas by name).

    Args:
        together: optional fields of which a request has all or none.
    """
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "required": [file, *required],
        "properties": {**required, **optional, file: {"type": "string", "format": "binary", "minLength": 1}},
    }
    if together:
        schema["dependentRequired"] = {name: [other for other in together if other != name] for name in together}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


class _Form:
    """The parser's callbacks. They only collect; `receive` passes the file on between them."""

    def __init__(self, boundary: bytes, file: str, known: Collection[str]) -> None:
        self.received = Received()
        self.waiting = bytearray()
        self.whole = False
        self.has_file = False
        self._file, self._known = file, known
        self._headers: list[tuple[bytes, bytes]] = []
        self._header = (bytearray(), bytearray())
        self._name = ""
        self._value = bytearray()
        self._opening: bytes | None = b"--" + boundary
        self._head = b""
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._over,
            },
        )

    def write(self, data: bytes) -> None:
        """Parse more of the body. It begins with its boundary, after blank lines at most: what the parser makes of
        anything else depends on where the body was cut into pieces."""
        if self._opening is None:
            self.parser.write(data)
            return
        self._head = (self._head + data).lstrip(b"\r\n")
        begin = self._head[: len(self._opening)]
        if not self._opening.startswith(begin):
            raise _broken(_MISPLACED)
        if begin == self._opening:
            self._opening = None
            self.parser.write(self._head)

    def _begin(self) -> None:
        self._headers = []
        self._value = bytearray()

    def _header_end(self) -> None:
        name, value = self._header
        self._headers.append((bytes(name).lower(), bytes(value)))
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        headers = dict(self._headers)
        kind, options = parse_options_header(headers.get(b"content-disposition", b"").decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            raise _broken("a part has no name")
        if headers.get(b"content-transfer-encoding", b"binary").lower() not in (b"binary", b"8bit", b"7bit"):
            raise ApiError(415, "A part is encoded; send the file's own bytes.", code="unsupported_encoding")
        self._name = _text(options[b"name"], "a field's name", LONGEST_FIELD)
        if self._name == self._file:
            if self.has_file:
                raise ApiError(400, f"'{self._file}' was sent twice.", param=self._file, code="duplicate_parameter")
            self.has_file = True
            self.received.filename = _text(options.get(b"filename", b""), "the file's name", LONGEST_NAME)
        elif self._name not in self._known:
            raise ApiError(
                400, f"Unknown parameter: '{self._name[:100]}'.", param=self._name[:100], code="unknown_parameter"
            )
        elif self._name in self.received.fields:
            raise ApiError(400, f"'{self._name}' was sent twice.", param=self._name, code="duplicate_parameter")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._file:
            self.waiting += data[start:end]
            self.received.bytes += end - start
            return
        if len(self._value) + end - start > LONGEST_FIELD:
            raise ApiError(400, f"'{self._name}' is too long.", param=self._name, code="string_above_max_length")
        self._value += data[start:end]

    def _end(self) -> None:
        if self._name != self._file:
            self.received.fields[self._name] = _text(bytes(self._value), f"'{self._name}'", LONGEST_FIELD)

    def _over(self) -> None:
        self.whole = True


async def receive(
    request: Request, sink: Sink, *, file: str, fields: Collection[str], largest: int, too_large: ApiError
) -> Received:
    """Read the body and give `sink` the file's bytes in order.

    Args:
        file: the field that holds the file.
        fields: the other fields that may be sent.
        largest: bytes; the reading ends with `too_large` as soon as the file has more.

    Raises:
        ApiError: 400 for a body that is no such form, 413, 415.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ApiError(415, "Send the file as multipart/form-data, with a boundary.", code="not_multipart")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "Compressed bodies are not read; send the file's own bytes.", code="unsupported_encoding")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdecimal() and len(length) < 20 and int(length) > largest + MOST_BESIDE:
        raise too_large
    taken = 0
    try:
        form = _Form(options[b"boundary"], file, fields)
        async for chunk in request.stream():
            for start in range(0, len(chunk), _SLICE):
                piece = chunk[start : start + _SLICE]
                taken += len(piece)
                form.write(piece)
                if form.received.bytes > largest:
                    raise too_large
                if taken - form.received.bytes > MOST_BESIDE:
                    raise _broken("it holds too much beside the file")
                if len(form.waiting) >= PIECE:
                    await _flush(form, sink)
        form.parser.finalize()
    except FormParserError:  # its words hold places within a chunk, which the client does not know
        raise _broken(_MISPLACED) from None
    if not form.whole:
        raise _broken(_MISPLACED)
    if not form.has_file:
        raise ApiError(400, f"Missing required parameter: '{file}'.", param=file, code="missing_required_parameter")
    await _flush(form, sink)
    return form.received


async def _flush(form: _Form, sink: Sink) -> None:
    if form.waiting:
        piece, form.waiting = form.waiting, bytearray()
        await sink(bytes(piece))


def _broken(why: str) -> ApiError:
    return ApiError(400, f"The body is not a multipart form: {why[:200]}.", code="invalid_multipart")


def _text(value: bytes, what: str, longest: int) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or len(value) > longest:
        raise ApiError(400, f"The body is not a multipart form: {what} cannot be read.", code="invalid_multipart")
    return text
