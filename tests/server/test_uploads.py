"""Uploads in parts over OpenAI's wire."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Upload
from openai.types.uploads import UploadPart
from wire import Wire, refused, strictly

from luthier.server.openai import expiry, uploads

CONTENT = b"".join(b'{"row": %d}\n' % i for i in range(5000))


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with Wire(tmp_path, max_project_bytes=10_000_000).running() as it:
        yield it


def begin(client: openai.OpenAI, size: int = len(CONTENT), **fields: Any) -> Upload:
    values = {"bytes": size, "filename": "big.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune", **fields}
    return client.uploads.create(**values)


def stored(wire: Wire, folder: str) -> list[str]:
    place = wire.settings.home / "artefacts" / folder
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def test_parts_become_the_file_in_the_order_that_is_named(wire: Wire) -> None:
    client = wire.client()
    begun = begin(client, expires_after={"anchor": "created_at", "seconds": 7200})
    strictly(Upload, begun)
    assert (begun.status, begun.bytes, begun.expires_at - begun.created_at) == ("pending", len(CONTENT), 3600)
    second = client.uploads.parts.create(begun.id, data=CONTENT[40_000:])
    first = client.uploads.parts.create(begun.id, data=CONTENT[:40_000])
    strictly(UploadPart, first)
    md5 = hashlib.md5(CONTENT).hexdigest()
    done = client.uploads.complete(begun.id, part_ids=[first.id, second.id], md5=md5)
    strictly(Upload, done)
    assert done.status == "completed"
    assert done.file is not None
    assert done.file.expires_at == done.file.created_at + 7200
    assert client.files.content(done.file.id).read() == CONTENT
    assert wire.store.files.get(wire.project, done.file.id).sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert stored(wire, "uploads") == []
    again = client.uploads.complete(begun.id, part_ids=[first.id, second.id], md5=md5)
    assert again == done
    assert len(list(client.files.list())) == 1


def test_the_clients_own_way_of_sending_parts(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(CONTENT)
    done = wire.client().uploads.upload_file_chunked(
        file=path, mime_type="text/jsonl", purpose="fine-tune", part_size=20_000
    )
    assert done.file is not None
    assert (done.file.filename, done.file.bytes) == ("rows.jsonl", len(CONTENT))


def test_what_does_not_fit_together_is_refused_and_can_be_put_right(wire: Wire) -> None:
    client = wire.client()
    begun = begin(client)
    part = client.uploads.parts.create(begun.id, data=CONTENT[:40_000])
    finish = client.uploads.complete
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("size_mismatch", {"part_ids": [part.id]}),
        ("duplicate_part", {"part_ids": [part.id, part.id]}),
        ("invalid_value", {"part_ids": [part.id], "md5": "xyz"}),
    ]
    for code, fields in wrong:
        told = refused(lambda fields=fields: finish(begun.id, **fields), openai.BadRequestError)
        assert told["code"] == code, told
    missing = refused(lambda: finish(begun.id, part_ids=["part_" + "0" * 24]), openai.NotFoundError)
    assert missing["param"] == "part_ids"
    too_much = refused(lambda: client.uploads.parts.create(begun.id, data=CONTENT), openai.APIStatusError)
    assert too_much["code"] == "part_too_large"
    rest = client.uploads.parts.create(begun.id, data=CONTENT[40_000:])
    ids = [part.id, rest.id]
    told = refused(lambda: finish(begun.id, part_ids=ids, md5="0" * 32), openai.BadRequestError)
    assert told["code"] == "checksum_mismatch"
    assert stored(wire, "files") == []
    assert finish(begun.id, part_ids=ids).status == "completed"


def test_a_part_has_at_most_64_megabytes(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    assert uploads.LARGEST_PART == 64 * 2**20
    monkeypatch.setattr(uploads, "LARGEST_PART", 1000)
    client = wire.client()
    begun = begin(client)
    client.uploads.parts.create(begun.id, data=b"x" * 1000)
    told = refused(lambda: client.uploads.parts.create(begun.id, data=b"x" * 1001), openai.APIStatusError)
    assert told["code"] == "part_too_large"
    assert len(stored(wire, "uploads")) == 1


def test_an_upload_that_is_over_takes_nothing_more(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    client = wire.client()
    begun = begin(client)
    part = client.uploads.parts.create(begun.id, data=b"x")
    cancelled = client.uploads.cancel(begun.id)
    strictly(Upload, cancelled)
    assert cancelled.status == "cancelled"
    assert client.uploads.cancel(begun.id) == cancelled
    assert stored(wire, "uploads") == []
    for call in (
        lambda: client.uploads.parts.create(begun.id, data=b"x"),
        lambda: client.uploads.complete(begun.id, part_ids=[part.id]),
    ):
        assert refused(call, openai.BadRequestError)["code"] == "upload_cancelled"
    late = begin(client)
    monkeypatch.setattr(uploads, "now", lambda: late.expires_at)
    told = refused(lambda: client.uploads.parts.create(late.id, data=b"x"), openai.BadRequestError)
    assert told["code"] == "upload_expired"


def test_what_has_expired_is_swept(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    client = wire.client()
    late = begin(client)
    client.uploads.parts.create(late.id, data=b"x")
    brief = client.files.create(
        file=("a.jsonl", CONTENT), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=brief.id)
    kept = client.files.create(file=("b.jsonl", CONTENT), purpose="fine-tune")
    monkeypatch.setattr(expiry, "now", lambda: late.expires_at + 1)
    expiry.sweep(wire.state)
    assert stored(wire, "uploads") == []
    assert stored(wire, "files") == sorted([brief.id, kept.id])  # the job needs it
    client.fine_tuning.jobs.cancel(job.id)
    expiry.sweep(wire.state)
    assert stored(wire, "files") == [kept.id]
    assert wire.store.uploads.get(wire.project, late.id).status == "expired"


def test_too_much_is_told_before_it_is_sent(wire: Wire) -> None:
    client = wire.client()
    assert refused(lambda: begin(client, 10_000_001), openai.APIStatusError)["code"] == "project_storage_full"
    assert refused(lambda: begin(client, 2**33 + 1), openai.BadRequestError)["param"] == "bytes"
    assert refused(lambda: begin(client, purpose="vision"), openai.BadRequestError)["param"] == "purpose"
    archive = begin(client, 8)
    part = client.uploads.parts.create(archive.id, data=b"PK\x03\x04zzzz")
    told = refused(lambda: client.uploads.complete(archive.id, part_ids=[part.id]), openai.APIStatusError)
    assert told["code"] == "unsupported_file_type"


def test_a_stranger_sees_what_an_unknown_id_shows(wire: Wire) -> None:
    client, stranger = wire.client(), wire.stranger()
    mine = begin(client)
    part = client.uploads.parts.create(mine.id, data=b"x")
    calls: list[Any] = [
        lambda id: stranger.uploads.parts.create(id, data=b"x"),
        lambda id: stranger.uploads.complete(id, part_ids=[part.id]),
        stranger.uploads.cancel,
    ]
    for call in calls:
        told = refused(lambda call=call: call(mine.id), openai.NotFoundError)
        unknown = refused(lambda call=call: call("upload_" + "0" * 24), openai.NotFoundError)
        assert told["message"].replace(mine.id, "ID") == unknown["message"].replace("upload_" + "0" * 24, "ID")
    own = begin(stranger, 1)
    told = refused(lambda: stranger.uploads.complete(own.id, part_ids=[part.id]), openai.NotFoundError)
    assert told["code"] == "part_not_found"
