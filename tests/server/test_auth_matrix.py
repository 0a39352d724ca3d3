"""F9: every route that the app has, asked by everybody; the table of who gets in is `auth_matrix.txt`.

A new route fails here until its line is in the table: run with WRITE_AUTH_MATRIX=1, and read the difference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import Wire

from luthier.core import clock
from luthier.jobs.ids import new_id
from luthier.jobs.page_records import Dataset, DatasetVersion, ModelExport
from luthier.jobs.records import Endpoint, Job, NewEvent, StoredFile, Upload
from luthier.server.auth import open_to_all_paths, require, routes_of

TABLE = Path(__file__).with_name("auth_matrix.txt")
IDENTITIES = ("none", "garbage", "revoked", "expired", "read", "write", "other", "admin")
PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


class Crowd:
    """Everybody who may ask, and what project A has."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        keys, now = wire.store.keys, int(clock.now().timestamp())
        self.project = wire.store.projects.create("a").id
        self.other = wire.store.projects.create("b").id
        revoked, secret = keys.create(self.project, "revoked", "admin")
        wire.store.keys.authenticate(secret)  # the store remembers it before it ends
        keys.revoke(self.project, revoked.id)
        self.secrets = {
            "none": None,
            "garbage": "lu-" + "x" * 43,
            "revoked": secret,
            "expired": keys.create(self.project, "expired", "admin", now - 1)[1],
            "read": keys.create(self.project, "read", "read")[1],
            "write": keys.create(self.project, "write", "write")[1],
            "other": keys.create(self.other, "other", "write")[1],
            "other admin": keys.create(self.other, "other admin", "admin")[1],
            "admin": keys.create(self.project, "admin", "admin")[1],
        }

    def ask(self, who: str, method: str, path: str, body: Any = None) -> Any:
        secret = self.secrets[who]
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        return self.wire.http.request(method, path, headers=headers, json=body)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """One server for this file: nobody's test ends a key, or counts things, of another's."""
    with Wire(tmp_path_factory.mktemp("matrix")).running() as wire:
        yield Crowd(wire)


def verdict(status: int) -> str:
    """What the door said; what a room said to somebody who came in is its own matter."""
    assert status < 500, status
    return str(status) if status in (401, 403) else "in"


def table_of(crowd: Crowd) -> Iterator[str]:
    for _, path, method in sorted(routes_of(crowd.wire.app), key=lambda route: route[1:]):
        address = PARAMETER.sub("unknown", path)
        body = {} if method in ("POST", "PUT", "PATCH") else None
        cells = [f"{who}:{verdict(crowd.ask(who, method, address, body).status_code)}" for who in IDENTITIES]
        yield " ".join([method.ljust(6), path, *cells])


def test_every_route_lets_in_whom_the_table_says(crowd: Crowd) -> None:
    found = "\n".join(table_of(crowd)) + "\n"
    if os.environ.get("WRITE_AUTH_MATRIX"):
        TABLE.write_text(found)
    assert found == TABLE.read_text(), "a route is new or changed who may call it: see the head of this file"


OPEN = {("/healthz", "GET"), ("/session", "POST"), ("/session", "DELETE")}
"""Who logs in has no session yet; who logs out gives the cookie, which the route itself looks at."""


def test_few_routes_need_no_key(crowd: Crowd) -> None:
    assert open_to_all_paths(crowd.wire.app) == OPEN
    for line in TABLE.read_text().splitlines():
        method, path = line.split()[:2]
        if (path, method) not in OPEN:
            assert "none:401 garbage:401 revoked:401 expired:401" in line, line


def test_a_reading_key_changes_nothing() -> None:
    for line in TABLE.read_text().splitlines():
        method, path = line.split()[:2]
        assert ("read:403" in line) or method == "GET" or (path, method) in OPEN, line


def test_every_route_depends_on_the_check(crowd: Crowd) -> None:
    """Routes of another kind (mounts, WebSockets, plain functions) would be served without the app's dependency."""
    for route, path, _ in routes_of(crowd.wire.app):
        calls = [dependency.call for dependency in route.dependant.dependencies]
        assert require in calls, path


def test_unknown_addresses_and_methods_are_hidden_too(crowd: Crowd) -> None:
    for method, path in (("GET", "/"), ("GET", "/v1/nothing"), ("PUT", "/v1/files"), ("HEAD", "/healthz"),
                         ("GET", "/healthz/"), ("GET", "//healthz"), ("GET", "/v1/%2e%2e/healthz"),
                         ("POST", "/healthz"),
                         ("GET", "/docs"), ("GET", "/HEALTHZ"), ("OPTIONS", "/v1/files")):  # fmt: skip
        assert crowd.ask("none", method, path).status_code == 401, path
        assert crowd.ask("admin", method, path).status_code in (404, 405), path


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic {}", "Bearer  {}", "Bearer {} ", "{}", "Bearer {}x", "Bearer x{}"]
)
def test_a_key_that_is_nearly_right_is_wrong(crowd: Crowd, header: str) -> None:
    text = header.format(crowd.secrets["admin"])
    answer = crowd.wire.http.get("/v1/models", headers={"authorization": text})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert crowd.secrets["admin"] not in answer.text


def test_a_key_elsewhere_is_no_key(crowd: Crowd) -> None:
    secret = crowd.secrets["admin"]
    for headers in ({"api-key": secret}, {"cookie": f"key={secret}"}, {"x-api-key": secret}):
        assert crowd.wire.http.get("/v1/models", headers=headers).status_code == 401
    assert crowd.wire.http.get(f"/v1/models?api_key={secret}").status_code == 401


def test_a_revoked_key_ends_with_the_revocation(crowd: Crowd) -> None:
    key, crowd.secrets["short"] = crowd.wire.store.keys.create(crowd.project, "short", "read")
    assert crowd.ask("short", "GET", "/v1/models").status_code == 200
    assert crowd.ask("admin", "DELETE", f"/luthier/v1/keys/{key.id}").status_code == 200
    assert crowd.ask("short", "GET", "/v1/models").status_code == 401


def test_a_body_is_not_read_of_somebody_without_a_key(crowd: Crowd) -> None:
    read = []

    def body() -> Iterator[bytes]:
        read.append(1)
        yield b"{}"

    answer = crowd.wire.http.post("/v1/chat/completions", content=body())
    assert answer.status_code == 401
    assert answer.headers["connection"] == "close"


# ---- things of another project


def belongings(crowd: Crowd) -> dict[str, str]:
    """One of everything that project A has, by the names that paths call it."""
    store, project, now = crowd.wire.store, crowd.project, int(clock.now().timestamp())
    file_id = new_id("file-")
    with crowd.wire.artefacts.writer(f"files/{file_id}") as writer:
        writer.write(b'{"a": 1}\n')
        size, digest = writer.commit()
    store.files.add(StoredFile(file_id, project, "a.jsonl", "fine-tune", size, digest, f"files/{file_id}", now))
    upload = store.uploads.add(
        Upload(new_id("upload_"), project, "b.jsonl", "fine-tune", 10, "text/plain", "pending", now, now + 3600)
    )
    job = Job(
        new_id("ftjob-"), project, "openai", "validating_files", "luthier-nano", "luthier-nano", "chat", file_id, now,
        1, {"model": "luthier-nano"},
    )  # fmt: skip
    store.jobs.create(job, [NewEvent("created", "Created")])
    parts = {kind: Job(new_id(f"{kind}-"), project, kind, "paused", "minilm", "minilm", "classify", file_id, now, 1,
                       {"data": {"train": file_id}, "train": {"epochs": {"search": [1, 2]}}})
             for kind in ("search", "decision", "auto")}  # fmt: skip
    for part in parts.values():
        store.jobs.create(part, [NewEvent("created", "Created")])
    endpoint = store.endpoints.create(Endpoint(new_id("ep_"), project, new_id("e"), "luthier-nano", "stopped", 60, now))
    export = store.exports.create(ModelExport(
        new_id("exp_"), project, f"ft:luthier-nano:local::{job.id[-8:]}", {"to": "merged", "dtype": None}, "running",
        "a.tar", 0, None, now, None,
    ))  # fmt: skip
    dataset = Dataset(new_id("ds_"), project, new_id("d"), 10, now)
    origin = {"kind": "file", "filename": "a.jsonl"}
    store.datasets.create(
        dataset, DatasetVersion(dataset.id, 10, file_id, None, "jsonl", "", 1, size, digest, ["a"], origin, now)
    )
    [key] = [key for key in store.keys.list(project) if key.name == "admin"]
    return {
        "file_id": file_id,
        "dataset_id": dataset.id,
        "version": "10",
        "upload_id": upload.id,
        "job_id": job.id,
        "search_id": parts["search"].id,
        "decision_id": parts["decision"].id,
        "auto_id": parts["auto"].id,
        "number": "777",
        "endpoint_id": endpoint.id,
        "key_id": key.id,
        "model": f"ft:luthier-nano:local::{job.id[-8:]}",
        "checkpoint": f"ft:luthier-nano:local::{job.id[-8:]}:ckpt-step-1",
        "permission_id": new_id("cp_"),
        "export_id": export.id,
    }


def masked(answer: Any, ids: dict[str, str]) -> tuple[int, str]:
    text = answer.text
    for name, value in sorted(ids.items(), key=lambda pair: -len(pair[1])):  # a checkpoint's name holds its model's
        text = text.replace(value, f"<{name}>")
    return answer.status_code, text


@pytest.mark.parametrize("who", ["other", "other admin"])
def test_a_thing_of_another_project_looks_like_one_that_never_was(crowd: Crowd, who: str) -> None:
    mine = belongings(crowd)
    never = {name: re.sub(r"[0-9a-zA-Z](?=[^_:-]*$)", "0", value) for name, value in mine.items()}
    never = {name: value if value != mine[name] else value[:-1] + "1" for name, value in never.items()}
    asked = 0
    for _, path, method in routes_of(crowd.wire.app):
        names = PARAMETER.findall(path)
        assert set(names) <= set(mine), f"{path} has a parameter that this test does not know"
        if not names:
            continue
        asked += 1
        body = {} if method == "POST" else None
        answers = [
            masked(crowd.ask(who, method, PARAMETER.sub(lambda found, ids=ids: ids[found[1]], path), body), ids)
            for ids in (mine, never)
        ]
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] >= 400, (method, path)
    assert asked > 15
    store, project = crowd.wire.store, crowd.project
    assert store.files.get(project, mine["file_id"]).status == "processed"
    assert store.uploads.get(project, mine["upload_id"]).status == "pending"
    assert store.jobs.get(project, mine["job_id"]).status == "validating_files"
    assert store.endpoints.get(project, mine["endpoint_id"]).state == "stopped"
    assert crowd.ask("admin", "GET", "/v1/models").status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/fine_tuning/jobs", {"model": "luthier-nano", "training_file": "{file_id}"}),
        ("/v1/fine_tuning/jobs", {"model": "{model}", "training_file": "{file_id}"}),
        ("/luthier/v1/jobs", {"recipe": {"model": "luthier-nano", "data": {"train": "{file_id}"}}}),
        ("/luthier/v1/check", {"file": "{file_id}"}),
        ("/luthier/v1/datasets", {"file_id": "{file_id}"}),
        ("/v1/chat/completions", {"model": "{model}", "messages": [{"role": "user", "content": "x"}]}),
        ("/v1/chat/completions", {"model": "{checkpoint}", "messages": [{"role": "user", "content": "x"}]}),
        ("/v1/completions", {"model": "{model}", "prompt": "x"}),
        ("/v1/embeddings", {"model": "{model}", "input": "x"}),
        ("/v1/responses", {"model": "{model}", "input": "x"}),
        ("/luthier/v1/predict", {"model": "{model}", "texts": ["x"]}),
        ("/luthier/v1/endpoints", {"name": "theirs", "model": "{model}"}),
    ],
)
def test_an_id_in_a_body_opens_nothing(crowd: Crowd, path: str, body: dict[str, Any]) -> None:
    mine = belongings(crowd)
    never = {**mine, "file_id": "file-" + "0" * 32, "model": "ft:luthier-nano:local::00000000",
             "checkpoint": "ft:luthier-nano:local::00000000:ckpt-step-1"}  # fmt: skip

    def filled(value: Any, ids: dict[str, str]) -> Any:
        if isinstance(value, dict):
            return {name: filled(item, ids) for name, item in value.items()}
        if isinstance(value, list):
            return [filled(item, ids) for item in value]
        return value.format(**ids) if "{" in value else value

    answers = [masked(crowd.ask("other", "POST", path, filled(body, ids)), ids) for ids in (mine, never)]
    assert answers[0] == answers[1]
    assert answers[0][0] in (400, 404)


@pytest.mark.parametrize("path", ["/v1/files", "/v1/fine_tuning/jobs", "/luthier/v1/jobs"])
def test_a_foreign_cursor_is_an_unknown_one(crowd: Crowd, path: str) -> None:
    mine = belongings(crowd)
    cursor = mine["file_id"] if "files" in path else mine["job_id"]
    unknown = cursor.rpartition("-")[0] + "-" + "0" * 32
    answers = [masked(crowd.ask("other", "GET", f"{path}?after={name}"), {"id": name}) for name in (cursor, unknown)]
    assert answers[0] == answers[1]
    assert crowd.ask("other", "GET", path).json()["data"] == []


# ---- keys make keys


def test_a_key_never_grants_more_than_itself(crowd: Crowd) -> None:
    ask = crowd.ask
    for who in ("read", "write"):
        for method, path, body in (
            ("POST", "/luthier/v1/keys", {"role": "admin"}),
            ("POST", "/luthier/v1/projects", {"name": "x"}),
            ("DELETE", "/luthier/v1/keys/key_x", None),
            ("GET", "/luthier/v1/keys", None),
            ("GET", "/luthier/v1/projects", None),
        ):
            assert ask(who, method, path, body).status_code == 403, (who, method, path)
    # An admin of a project that is not the first looks after that project alone.
    assert ask("admin", "POST", "/luthier/v1/keys", {"project": crowd.other}).status_code == 403
    assert ask("admin", "POST", "/luthier/v1/keys", {"project": crowd.wire.project}).status_code == 403
    assert ask("admin", "POST", "/luthier/v1/projects", {"name": "x"}).status_code == 403
    assert {key["project"] for key in ask("admin", "GET", "/luthier/v1/keys").json()["data"]} == {crowd.project}
    assert [project["id"] for project in ask("admin", "GET", "/luthier/v1/projects").json()["data"]] == [crowd.project]
    made = ask("admin", "POST", "/luthier/v1/keys", {"role": "admin", "name": "mine", "expires_in": 60}).json()
    assert (made["project"], made["role"]) == (crowd.project, "admin")
    assert made["secret"].startswith("lu-")
    assert "secret" not in ask("admin", "GET", "/luthier/v1/keys").text


def test_an_admin_of_the_first_project_looks_after_all(crowd: Crowd) -> None:
    crowd.secrets["operator"] = crowd.wire.key("admin")
    project = crowd.ask("operator", "POST", "/luthier/v1/projects", {"name": "new"}).json()
    made = crowd.ask("operator", "POST", "/luthier/v1/keys", {"project": project["id"], "role": "write"}).json()
    assert made["project"] == project["id"]
    listed = crowd.ask("operator", "GET", "/luthier/v1/keys").json()["data"]
    assert {key["project"] for key in listed} > {project["id"], crowd.project, crowd.other}
    ended = crowd.ask("operator", "DELETE", f"/luthier/v1/keys/{made['id']}")
    assert ended.json()["revoked_at"] is not None
    assert crowd.ask("operator", "DELETE", "/luthier/v1/keys/key_nothing").status_code == 404
