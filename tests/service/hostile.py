"""Bytes that somebody may upload: good conversations with one or more things wrong, and broken multipart bodies."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import strategies as st

WORDS = st.text(st.sampled_from("ab \u00e9\u4e2d\U0001f600\u2028\u0085\t"), min_size=1, max_size=12)
MEGABYTE = 1 << 20


def conversation(question: str = "q", answer: str = "a") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def good_lines(count: int) -> list[bytes]:
    return [json.dumps(conversation(f"question {n}", f"answer {n}")).encode() for n in range(count)]


good_rows = st.builds(conversation, WORDS, WORDS).map(lambda row: json.dumps(row, ensure_ascii=False).encode())
_CHAT = '{"messages": [{"role": "user", "content": %s}, {"role": "assistant", "content": "a"}]}'


def _with_content(text: str) -> bytes:
    return (_CHAT % text).encode("utf-8", errors="surrogatepass")


def deep(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    """One row with a value nested so deep."""
    return b'{"messages": ' + (opening * levels + closing * levels).encode() + b"}"


def many_keys(count: int, twice: bool) -> bytes:
    """One object with many keys, the last of them twice."""
    keys = [f'"k{n}":0' for n in range(count)] + ([f'"k{count - 1}":1'] if twice else [])
    return ("{" + ",".join(keys) + "}").encode()


WRONG_LINES = {
    "nan": _with_content("NaN"),
    "infinity": _with_content("-Infinity"),
    "1e400": _with_content("1e400"),
    "5000 digits": _with_content("9" * 5000),
    "lone surrogate, escaped": _with_content('"\\ud800"'),
    "lone surrogate, encoded": _with_content('"\ud800"'),
    "nul, escaped": _with_content('"a\\u0000b"'),
    "nul": _with_content('"a\0b"'),
    "u2028": _with_content('"a\u2028b\u0085c"'),
    "duplicate key": b'{"messages": [], "messages": []}',
    "duplicate role": b'{"messages": [{"role": "user", "role": "user", "content": "q"}]}',
    "depth 1k": deep(1000),
    "depth 100k": deep(100_000),
    "depth 1M": deep(1_000_000),
    "objects 100k deep": deep(100_000, '{"a":', "}"),
    "wrong role": b'{"messages": [{"role": "wizard", "content": "x"}]}',
    "role is a number": b'{"messages": [{"role": 7, "content": "x"}]}',
    "no answer": b'{"messages": [{"role": "user", "content": "x"}]}',
    "weight 2": b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "weight": 2}]}',
    "messages is a text": b'{"messages": "hello"}',
    "a list": b"[1, 2]",
    "a number": b"17",
    "nothing": b"{}",
    "empty": b"",
    "blanks": b"   \t ",
    "lone cr": _with_content('"a"').replace(b", ", b",\r"),
    "torn": b'{"messages": [{"role": "user", "con',
    "latin-1": b'{"messages": [{"role": "user", "content": "caf\xe9"}]}',
    "overlong": b'{"messages": "\xc0\xaf"}',
    "truncated utf-8": b'{"messages": "\xf0\x9f\x98',
    "bom inside": b"\xef\xbb\xbf" + _with_content('"a"'),
    "script": _with_content('"<script>alert(1)</script>{{7*7}}${7*7}"'),
    "many keys": many_keys(200_000, twice=False),
    "many keys, one twice": many_keys(200_000, twice=True),
    "8 MB line": _with_content('"' + "x" * (8 * MEGABYTE) + '"'),
    "tool call without answer": (
        b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"id": "1", "type": '
        b'"function", "function": {"name": "f", "arguments": "{"}}]}]}'
    ),
    "image": b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]}',
}  # fmt: skip
SMALL_WRONG_LINES = sorted(name for name, line in WRONG_LINES.items() if len(line) < 10_000)


def _encoded(lines: list[bytes], ending: bytes, last: bool, shape: str) -> bytes:
    body = ending.join(lines) + (ending if last else b"")
    if shape == "bom":
        return b"\xef\xbb\xbf" + body
    if shape.startswith("utf-"):
        return body.decode("utf-8", errors="replace").encode(shape)
    if shape == "torn":
        return body[: len(body) * 2 // 3]
    return body


@st.composite
def training_files(draw: st.DrawFn) -> bytes:
    """A training file, mostly good, with something wrong in it."""
    lines = draw(st.lists(good_rows, min_size=8, max_size=14))
    for name in draw(st.lists(st.sampled_from(SMALL_WRONG_LINES), max_size=3)):
        lines.insert(draw(st.integers(0, len(lines))), WRONG_LINES[name])
    ending = draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r", b"\n\n"]))
    shape = draw(st.sampled_from(["", "", "", "bom", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "torn"]))
    return _encoded(lines, ending, draw(st.booleans()), shape)


BOUNDARY = "luthier-boundary"


def part(headers: str, content: bytes, boundary: str = BOUNDARY) -> bytes:
    return f"--{boundary}\r\n{headers}\r\n\r\n".encode() + content + b"\r\n"


def form(content: bytes, purpose: str = "fine-tune", filename: str = "train.jsonl") -> bytes:
    """A sound multipart body."""
    return (
        part('Content-Disposition: form-data; name="purpose"', purpose.encode())
        + part(
            f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: application/jsonl',
            content,
        )
        + f"--{BOUNDARY}--\r\n".encode()
    )


_HEADERS = st.sampled_from([
    'Content-Disposition: form-data; name="purpose"',
    'Content-Disposition: form-data; name="file"; filename="a.jsonl"',
    'Content-Disposition: form-data; name="file"; filename="../../a.jsonl"',
    'Content-Disposition: form-data; name="file"; filename="\\"; x=\\""',
    "Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''%2e%2e%2fa",
    'Content-Disposition: form-data; name="file',
    'Content-Disposition: form-data; name="f\0ile"; filename="a"',
    'Content-Disposition: form-data; name="expires_after[seconds]"',
    'Content-Disposition: form-data; name="expires_after[anchor]"',
    'Content-Disposition: form-data; name="unknown"',
    "Content-Disposition: attachment",
    "Content-Type: text/plain",
    "Content-Transfer-Encoding: base64",
    "X: " + "y" * 9000,
    "no colon",
    "",
    ": ",
    "\u00e9: \u00e9",
])  # fmt: skip
_CONTENTS = st.one_of(
    st.sampled_from([b"fine-tune", b"batch", b"x", b"", b"created_at", b"3600", b"9" * 400, b"-1", b"\0", b"\xff\xfe"]),
    st.just(b"\n".join(good_lines(12))),
    st.binary(max_size=60),
    st.just(f"\r\n--{BOUNDARY}".encode()),
)


@st.composite
def multipart_bodies(draw: st.DrawFn) -> bytes:
    """Bodies that are nearly forms."""
    boundary = draw(st.sampled_from([BOUNDARY] * 6 + ["other", ""]))
    body = b"".join(part(draw(_HEADERS), draw(_CONTENTS), boundary) for _ in range(draw(st.integers(0, 4))))
    if draw(st.booleans()):
        body += form(draw(_CONTENTS))
    else:
        body += f"--{boundary}--\r\n".encode() * draw(st.integers(0, 2))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.sampled_from([b"\r", b"\n", b"--", b"\0", b'"', b";", b"\xff"])) + body[at:]
    return body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 4)) == 0 else body


def chunked(body: bytes, cuts: list[int]) -> list[bytes]:
    """`body` in pieces that end at `cuts` (any numbers)."""
    places = sorted({cut % (len(body) + 1) for cut in cuts} | {0, len(body)})
    return [body[start:end] for start, end in itertools.pairwise(places)] or [b""]
