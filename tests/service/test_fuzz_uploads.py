"""F6: whatever bytes are uploaded, the answer is a yes or a named no, soon, and the same for any chunking."""

from __future__ import annotations

import time

import pytest
from hostile import (
    BOUNDARY,
    MEGABYTE,
    WRONG_LINES,
    chunked,
    form,
    good_lines,
    multipart_bodies,
    part,
    training_files,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inside import inside

import luthier
from luthier.core.errors import DataError

LONGEST = 2.0
"""Seconds of computing for an answer; until it is there, other programs may take ten times as long."""
TRIES = 3
"""What hangs does so each time; a machine that is busy with other tests does not."""
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
MANY = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CUTS = st.lists(st.integers(0, 10_000_000), max_size=12)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with inside(tmp_path_factory.mktemp("home")) as found:
        yield found


def judged(answer):
    """What an answer says, without what differs each time."""
    body = answer.json
    if answer.status == 200:
        return answer.status, body["bytes"], body["filename"], body["purpose"]
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    assert body["error"]["code"]
    return answer.status, body["error"]["code"], body["error"]["param"], body["error"]["message"]


def soon(call, *arguments):
    for _ in range(TRIES):
        began, before = time.perf_counter(), time.process_time()
        found = call(*arguments)
        took, computed = time.perf_counter() - began, time.process_time() - before
        if computed < LONGEST and took < 10 * LONGEST:
            return found
    raise AssertionError(f"an answer took {took:.1f} s each time, {computed:.1f} s of computing")


def check_form(server, body, cuts):
    whole = judged(soon(server.post_form, body, BOUNDARY))
    assert whole[0] in (200, 400, 413, 415), whole
    assert judged(server.post_form(body, BOUNDARY, chunked(body, cuts))) == whole
    if len(body) < 3000:
        assert judged(server.post_form(body, BOUNDARY, [body[at : at + 1] for at in range(len(body))])) == whole


@FEW
@given(body=multipart_bodies(), cuts=CUTS)
def test_broken_forms(server, body, cuts):
    check_form(server, body, cuts)


@pytest.mark.slow
@MANY
@given(body=multipart_bodies(), cuts=CUTS)
def test_many_broken_forms(server, body, cuts):
    check_form(server, body, cuts)


def stored(server, answer):
    return server.ask("GET", f"/v1/files/{answer.json['id']}/content")


def check_file(server, content, cuts, path):
    """The upload is stored as it came, and the check of the data gives one verdict."""
    body = form(content)
    for chunks in ([body], chunked(body, cuts)):
        answer = soon(server.post_form, body, BOUNDARY, chunks)
        assert answer.status == 200, answer.body
        assert stored(server, answer).body == content
    path.write_bytes(content)
    verdict = soon(verdict_of, path)
    assert verdict == verdict_of(path)


def verdict_of(path):
    try:
        report = luthier.check(path, task="chat", like="openai")
    except DataError as error:
        return error.code
    assert all(finding.code and finding.message for finding in report.findings)
    return [(finding.line, finding.code) for finding in report.findings]


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Imports and the tokenizer take their time once."""
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    path.write_bytes(b"\n".join(good_lines(12)))
    verdict_of(path)
    return path


@settings(FEW, max_examples=25)
@given(content=training_files(), cuts=CUTS)
def test_wrong_training_files(server, warm, content, cuts):
    check_file(server, content, cuts, warm)


@pytest.mark.slow
@settings(MANY, max_examples=600)
@given(content=training_files(), cuts=CUTS)
def test_many_wrong_training_files(server, warm, content, cuts):
    check_file(server, content, cuts, warm)


HARMLESS = {"blanks", "empty", "lone cr", "script", "u2028", "nul, escaped"}
"""Rows that are sound, or no rows at all; the check may warn of what is in them."""


@pytest.mark.parametrize("name", sorted(WRONG_LINES))
def test_each_wrong_line_is_named_with_its_number(server, warm, name):
    lines = [*good_lines(12)[:6], WRONG_LINES[name], *good_lines(12)[6:]]
    content = b"\n".join(lines)
    assert soon(server.post_form, form(content), BOUNDARY).status == 200
    warm.write_bytes(content)
    verdict = soon(verdict_of, warm)
    if isinstance(verdict, str):
        assert (name, verdict) == ("nul", "binary_file")
    elif name not in HARMLESS:
        assert 7 in {line for line, _ in verdict}


MEASURED = {
    "no boundary in the header": ("multipart/form-data", form(b"x"), 415),
    "another boundary": ("multipart/form-data; boundary=other", form(b"x"), 400),
    "an empty boundary": ("multipart/form-data; boundary=", form(b"x"), 415),
    "a boundary of 10,000 letters": (f"multipart/form-data; boundary={'b' * 10_000}", form(b"x"), 400),
    "json": ("application/json", b"{}", 415),
    "nothing": (f"multipart/form-data; boundary={BOUNDARY}", b"", 400),
    "10,000 parts": (
        f"multipart/form-data; boundary={BOUNDARY}",
        part('Content-Disposition: form-data; name="purpose"', b"fine-tune") * 10_000 + form(b"x"),
        400,
    ),
    "10,000 empty parts": (f"multipart/form-data; boundary={BOUNDARY}", f"--{BOUNDARY}\r\n\r\n".encode() * 10_000, 400),
    "a header of 1 MB": (
        f"multipart/form-data; boundary={BOUNDARY}",
        part('Content-Disposition: form-data; name="purpose"\r\nX: ' + "y" * MEGABYTE, b"fine-tune"),
        400,
    ),
    "1,000 headers": (
        f"multipart/form-data; boundary={BOUNDARY}",
        part('Content-Disposition: form-data; name="purpose"' + "\r\nX: y" * 100_000, b"fine-tune"),
        400,
    ),
    "a field of 20 MB": (
        f"multipart/form-data; boundary={BOUNDARY}",
        part('Content-Disposition: form-data; name="purpose"', b"x" * 20 * MEGABYTE),
        400,
    ),
    "a body of dashes": (f"multipart/form-data; boundary={BOUNDARY}", b"-" * 2 * MEGABYTE, 400),
    "a file of line ends": (f"multipart/form-data; boundary={BOUNDARY}", form(b"\r\n" * MEGABYTE), 200),
    "a file of beginnings of the boundary": (
        f"multipart/form-data; boundary={BOUNDARY}", form(f"\r\n--{BOUNDARY[:-1]}".encode() * 100_000), 200,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASURED)
def test_hard_forms_are_answered_soon(server, name):
    kind, body, status = MEASURED[name]
    chunks = chunked(body, [at * 65_536 for at in range(len(body) // 65_536)])
    answer = soon(lambda: server.ask("POST", "/v1/files", chunks, {"content-type": kind}))
    assert answer.status == status, answer.body


@pytest.mark.parametrize("start", [b"\r\x00\r--", b"x--", b"\r\n\r\n-- "])
def test_what_does_not_begin_with_its_boundary_is_one_verdict(server, start):
    part = b"luthier-boundary\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n--"
    check_form(server, start + part + part, [])


def test_a_refused_upload_leaves_nothing_behind(server):
    folder = server.wire.settings.home / "artefacts"
    before = {path for path in folder.rglob("*") if path.is_file()}
    used = server.wire.store.files.usage(server.wire.project)
    for body in (form(b"x" * 3 * MEGABYTE)[:-20], form(b"x" * 3 * MEGABYTE, purpose="nothing"), form(b"PK\x03\x04x")):
        assert server.post_form(body, BOUNDARY, chunked(body, [MEGABYTE, 2 * MEGABYTE])).status in (400, 415)
    assert {path for path in folder.rglob("*") if path.is_file()} == before
    assert server.wire.store.files.usage(server.wire.project) == used


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../../b", "C:\\x\\y.jsonl", "a\u0000b", ".", "..", "\u202ea"])
def test_names_of_files_are_shown_and_never_used(server, name):
    answer = server.post_form(form(b"x", filename=name), BOUNDARY)
    if answer.status == 200:
        assert "/" not in answer.json["filename"]
        assert "\\" not in answer.json["filename"]
        assert answer.json["id"].startswith("file-")
    else:
        assert answer.status == 400
    home = server.wire.settings.home
    assert all(path.is_relative_to(home / "artefacts" / "files") for path in home.rglob("*passwd*"))
