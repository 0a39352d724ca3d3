"""Files over OpenAI's wire: uploaded in a stream, listed in pages, given back, deleted."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import FileDeleted, FileObject
from wire import Wire, chat_rows, refused, strictly

from luthier.jobs.records import Job
from luthier.server.errors import ApiError
from luthier.server.openai.downloads import _range
from luthier.server.openai.multipart import receive


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with Wire(tmp_path, max_file_bytes=1_000_000, max_project_bytes=3_000_000).running() as it:
        yield it


def upload(client: openai.OpenAI, content: bytes = b'{"a": 1}\n', name: str = "train.jsonl", **fields: Any) -> Any:
    return client.files.create(file=(name, content), purpose=fields.pop("purpose", "fine-tune"), **fields)


def raw(wire: Wire, body: bytes, boundary: str = "XX", **headers: str) -> Any:
    """A body as somebody wrote it by hand."""
    kind = f"multipart/form-data; boundary={boundary}"
    return wire.http.post(
        "/v1/files", content=body, headers={"authorization": f"Bearer {wire.key()}", "content-type": kind} | headers
    )


def form(*parts: tuple[str, bytes]) -> bytes:
    """A form of parts, each with the value of its Content-Disposition."""
    return b"".join(b"--XX\r\nContent-Disposition: " + head.encode() + b"\r\n\r\n" + body + b"\r\n"
                    for head, body in parts) + b"--XX--\r\n"  # fmt: skip


FILE = ('form-data; name="file"; filename="a.jsonl"', b"{}\n")
PURPOSE = ('form-data; name="purpose"', b"fine-tune")


def test_a_file_comes_back_as_it_was_sent(wire: Wire) -> None:
    client = wire.client()
    content = chat_rows() * 400
    made = upload(client, content)
    strictly(FileObject, made)
    assert (made.bytes, made.filename, made.purpose, made.status) == (
        len(content), "train.jsonl", "fine-tune", "processed",
    )  # fmt: skip
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == content
    stored = wire.store.files.get(wire.project, made.id)
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    gone = client.files.delete(made.id)
    strictly(FileDeleted, gone)
    assert gone.deleted
    assert refused(lambda: client.files.retrieve(made.id), openai.NotFoundError)["code"] == "file_not_found"
    assert not list((wire.settings.home / "artefacts" / "files").iterdir())


def test_lists_go_page_by_page_in_both_orders(wire: Wire) -> None:
    client = wire.client()
    ids = [upload(client, name=f"{i}.jsonl", purpose=("fine-tune", "user_data")[i % 2]).id for i in range(7)]
    assert [file.id for file in client.files.list(limit=2)] == ids[::-1]
    assert [file.id for file in client.files.list(limit=3, order="asc")] == ids
    page = client.files.list(limit=2)
    assert page.has_more
    assert [file.id for file in page.data] == ids[:-3:-1]
    assert [file.id for file in client.files.list(purpose="user_data", order="asc")] == ids[1::2]
    assert refused(lambda: client.files.list(after="file-" + "a" * 24), openai.NotFoundError)["param"] == "after"
    assert refused(lambda: client.files.list(limit=0), openai.BadRequestError)["param"] == "limit"


def test_a_stranger_sees_what_an_unknown_id_shows(wire: Wire) -> None:
    mine, stranger = upload(wire.client()), wire.stranger()
    calls: list[Any] = [stranger.files.retrieve, stranger.files.delete, stranger.files.content]
    calls.append(lambda id: stranger.files.list(after=id))
    for call in calls:
        told = refused(lambda call=call: call(mine.id), openai.NotFoundError)
        unknown = refused(lambda call=call: call("file-" + "0" * 24), openai.NotFoundError)
        odd = refused(lambda call=call: call("file-\x7fé"), openai.NotFoundError)
        assert told["message"].replace(mine.id, "ID") == unknown["message"].replace("file-" + "0" * 24, "ID")
        assert {**told, "message": ""} == {**unknown, "message": ""} == {**odd, "message": ""}
    assert list(stranger.files.list()) == []


def test_what_is_no_usable_file_is_refused(wire: Wire) -> None:
    client = wire.client()
    assert refused(lambda: upload(client, b""), openai.BadRequestError)["code"] == "empty_file"
    assert refused(lambda: upload(client, purpose="vision"), openai.BadRequestError)["param"] == "purpose"
    told = refused(lambda: upload(client, purpose="fine-tune-results"), openai.BadRequestError)
    assert "fine-tune, batch, user_data" in told["message"]
    for start in (b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh9", b"\x28\xb5\x2f\xfd", b"\0" * 257 + b"ustar"):
        told = refused(lambda start=start: upload(client, start + b"x" * 600), openai.APIStatusError)
        assert told["code"] == "unsupported_file_type"
    assert list(client.files.list()) == []
    assert not list((wire.settings.home / "artefacts" / "files").iterdir())


def test_a_file_is_counted_while_it_comes(wire: Wire) -> None:
    client = wire.client()
    told = refused(lambda: upload(client, b"x" * 1_000_001), openai.APIStatusError)
    assert told["code"] == "file_too_large"
    assert upload(client, b"x" * 1_000_000).bytes == 1_000_000
    for _ in range(2):
        upload(client, b"x" * 999_000)
    assert refused(lambda: upload(client, b"x" * 3000), openai.APIStatusError)["code"] == "project_storage_full"
    assert upload(wire.stranger(), b"x" * 3000).bytes == 3000


def test_files_expire(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    client = wire.client()
    made = upload(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert made.expires_at == made.created_at + 3600
    assert upload(client, purpose="batch").expires_at == made.created_at + 30 * 24 * 3600
    assert upload(client).expires_at is None
    for wrong in ({"anchor": "created_at", "seconds": 3599}, {"anchor": "now", "seconds": 3600}):
        told = refused(lambda wrong=wrong: upload(client, expires_after=wrong), openai.BadRequestError)
        assert told["param"].startswith("expires_after.")
    monkeypatch.setattr("luthier.server.openai.files.now", lambda: made.created_at + 3600)
    refused(lambda: client.files.content(made.id), openai.NotFoundError)
    assert made.id not in [file.id for file in client.files.list()]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\rows.csv", "rows.csv"),
        ("a\u202eb.jsonl", "ab.jsonl"),
        ("Ünïcode 😀.jsonl", "Ünïcode 😀.jsonl"),
        ("x" * 400, "x" * 255),
    ],
)
def test_a_name_is_only_a_name(wire: Wire, sent: str, kept: str) -> None:
    made = upload(wire.client(), name=sent)
    assert made.filename == kept
    answer = wire.client().files.with_raw_response.content(made.id)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [path.name for path in (wire.settings.home / "artefacts" / "files").iterdir()] == [made.id]


def test_a_file_that_a_job_needs_stays_until_the_job_is_over(wire: Wire) -> None:
    client = wire.client()
    train, test = upload(client), upload(client)
    job = Job(
        id="ftjob-" + "a" * 24, project_id=wire.project, kind="recipe", status="queued", model="luthier-nano",
        base_model="luthier-nano", task="chat", training_file=train.id, created_at=1, seed=1,
        recipe={"data": {"train": train.id, "test": [test.id]}, "train": {}},
    )  # fmt: skip
    wire.store.jobs.create(job, ())
    for file in (train, test):
        told = refused(lambda file=file: client.files.delete(file.id), openai.ConflictError)
        assert told["code"] == "file_in_use"
        assert client.files.content(file.id).read()
    wire.store.jobs.cancel(wire.project, job.id)
    assert all(client.files.delete(file.id).deleted for file in (train, test))


def test_one_range_is_given_and_many_are_not(wire: Wire) -> None:
    made = upload(wire.client(), b"0123456789")

    def get(header: str) -> Any:
        return wire.http.get(
            f"/v1/files/{made.id}/content", headers={"authorization": f"Bearer {wire.key()}", "range": header}
        )

    assert (get("bytes=2-4").status_code, get("bytes=2-4").content) == (206, b"234")
    assert get("bytes=2-4").headers["content-range"] == "bytes 2-4/10"
    assert get("bytes=-3").content == b"789"
    assert get("bytes=8-").content == b"89"
    assert get("bytes=10-").status_code == 416
    for whole in ("bytes=0-1,3-4", "bytes=" + ",".join(f"{i}-{i}" for i in range(100_000)), "lines=1-2", "bytes=5-2"):
        assert (get(whole).status_code, get(whole).content) == (200, b"0123456789")


@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.integers(1, 500))
def test_a_range_lies_inside_of_the_file(header: str, size: int) -> None:
    try:
        found = _range(header, size)
    except ApiError as error:
        found = None if error.status_code == 416 else (-1, -1)
    assert found is None or 0 <= found[0] <= found[1] < size


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        b"--XX\r\n",
        form(PURPOSE),
        form(FILE),
        form(PURPOSE, FILE)[:-10],
        form(PURPOSE, FILE, FILE),
        form(PURPOSE, PURPOSE, FILE),
        form(PURPOSE, FILE, ('form-data; name="other"', b"1")),
        form(PURPOSE, ('form-data; name="file"', b"{}")),
        form(('form-data; name="purpose"', b"fine-tune" * 1000), FILE),
        form(('form-data; name="purpose"', b"\xff"), FILE),
        form(PURPOSE, ('form-data; name="file"; filename="a\0"', b"{}")),
        form(("attachment", b"1"), FILE),
        form(*[(f'form-data; name="x{i}"', b"1") for i in range(10_000)]),
        b"x" * 600_000 + form(PURPOSE, FILE),
        form((f'form-data; name="file"; filename="{"n" * 6000}"', b"{}"), PURPOSE),
    ],
    ids=range(17),
)
def test_a_broken_form_is_a_clear_400(shared: Wire, body: bytes) -> None:
    answer = raw(shared, body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]
    assert list(shared.client().files.list()) == []


def test_other_encodings_are_not_read(wire: Wire) -> None:
    body = form(PURPOSE, FILE)
    assert raw(wire, body).status_code == 200
    assert raw(wire, body, **{"content-encoding": "gzip"}).status_code == 415
    assert raw(wire, body, **{"content-type": "application/json"}).status_code == 415
    assert raw(wire, body, **{"content-type": "multipart/form-data"}).status_code in (400, 415)
    assert raw(wire, body, boundary="Y" * 300).status_code == 400


class Spoken:
    """Stands for a request: its body comes in the given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.headers = {"content-type": "multipart/form-data; boundary=XX"}
        self._pieces = pieces

    async def stream(self) -> Any:
        for piece in self._pieces:
            yield piece


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300) | st.sampled_from([b"\r\n--XX\r\n", b"\r\n--X", b"--XX", b"\r\n\r\n--XX--"]),
    st.lists(st.integers(1, 40), max_size=30),
)
def test_the_same_bytes_give_the_same_file_however_they_are_cut(content: bytes, cuts: list[int]) -> None:
    def read(pieces: list[bytes]) -> Any:
        taken: list[bytes] = []

        async def sink(piece: bytes) -> None:
            taken.append(piece)

        async def run() -> Any:
            return await receive(Spoken(pieces), sink, file="file", fields=("purpose",), largest=10**6,
                                 too_large=RuntimeError())  # type: ignore[arg-type]  # fmt: skip

        try:
            received = asyncio.run(run())
        except Exception as error:
            return getattr(error, "status_code", repr(error))
        return received.fields, received.filename, received.bytes, b"".join(taken)

    body = form(PURPOSE, (FILE[0], content))
    pieces, rest = [], body
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert read([*pieces, rest]) == read([body])
    if b"--XX" not in content:
        assert read([body]) == ({"purpose": "fine-tune"}, "a.jsonl", len(content), content)


def growth_of_an_upload(wire: Wire, size: int) -> int:
    """Bytes by which this process grows while a file of `size` comes in pieces of 64 KiB."""
    resident = Path("/proc/self/statm")

    def now() -> int:
        return int(resident.read_text().split()[1]) * 4096

    head = form(PURPOSE)[: -len(b"--XX--\r\n")] + b'--XX\r\nContent-Disposition: form-data; name="file"; ' \
        b'filename="big.jsonl"\r\n\r\n'  # fmt: skip
    tail = b"\r\n--XX--\r\n"
    piece = b'{"messages": []}\n' * 3855
    key = wire.key()
    peak = 0
    answers: list[Any] = []

    async def run() -> None:
        nonlocal peak
        sent = 0

        async def receive_() -> dict[str, Any]:
            nonlocal sent, peak
            peak = max(peak, now())
            if sent == 0:
                sent = 1
                return {"type": "http.request", "body": head, "more_body": True}
            if sent - 1 < size:
                sent += len(piece)
                return {"type": "http.request", "body": bytes(bytearray(piece)), "more_body": True}
            return {"type": "http.request", "body": tail, "more_body": False}

        async def send(message: Any) -> None:
            answers.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/v1/files",
            "raw_path": b"/v1/files", "query_string": b"", "scheme": "http", "root_path": "",
            "server": ("localhost", 80), "client": ("127.0.0.1", 1),
            "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {key}".encode()),
                        (b"content-type", b"multipart/form-data; boundary=XX")],
        }  # fmt: skip
        await wire.app(scope, receive_, send)

    before = now()
    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()
    assert answers[0]["status"] == 200, answers
    return peak - before


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    with Wire(tmp_path, max_file_bytes=2**31, max_project_bytes=2**31).running() as wire:
        growth_of_an_upload(wire, 2_000_000)
        assert growth_of_an_upload(wire, 100_000_000) < 16 * 2**20


@pytest.mark.slow
def test_memory_does_not_grow_with_a_gigabyte(tmp_path: Path) -> None:
    with Wire(tmp_path, max_file_bytes=2**31, max_project_bytes=2**31).running() as wire:
        growth_of_an_upload(wire, 2_000_000)
        assert growth_of_an_upload(wire, 2**30) < 16 * 2**20
