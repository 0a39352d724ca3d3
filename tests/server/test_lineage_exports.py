"""Where a model comes from, its exports, and the traffic of its endpoints."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scripted import ScriptedEngine, add_model, fails, says, scripted_wire
from wire import Wire, class_rows

from luthier.core import clock
from luthier.jobs.ids import new_id
from luthier.jobs.model_export import pack
from luthier.jobs.page_records import ModelExport, TrafficRow
from luthier.jobs.records import Endpoint
from luthier.server import data_children
from luthier.server.errors import ApiError
from luthier.server.traffic import Traffic, bucket_of, in_steps, quantile

TUNED = "ft:luthier-nano:local:mine:abcdefgh"
EXPORTS = f"/luthier/v1/models/{TUNED}/exports"


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Wire, ScriptedEngine]]:
    with scripted_wire(tmp_path) as it:
        add_model(it[0], TUNED, "chat", "luthier-nano")
        yield it


@pytest.fixture
def wire(both: tuple[Wire, ScriptedEngine]) -> Wire:
    return both[0]


def ask(wire: Wire, method: str, path: str, body: Any = None, project: str | None = None) -> Any:
    headers = {"authorization": f"Bearer {wire.key('write', project)}"}
    return wire.http.request(method, path, json=body, headers=headers)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# ---- lineage


def test_lineage_goes_from_the_data_to_the_endpoint(wire: Wire) -> None:
    headers = {"authorization": f"Bearer {wire.key()}"}
    file = wire.http.post(
        "/v1/files", headers=headers, data={"purpose": "fine-tune"}, files={"file": ("a.csv", class_rows())}
    ).json()
    data = ask(wire, "POST", "/luthier/v1/datasets", {"file_id": file["id"], "name": "shop"}).json()
    made = ask(wire, "POST", "/luthier/v1/jobs", {
        "recipe": {"model": "minilm", "task": "classify", "data": {"train": file["id"], "validation": 0.1}},
    }).json()  # fmt: skip
    wire.store.jobs.validated(made["id"], {}, [])
    claim = wire.queue.claim()
    assert claim is not None
    name, ckpt = "ft:minilm:local:x:11111111", "ft:minilm:local:x:11111111:ckpt-step-4"
    from luthier.jobs.records import Model

    models = [Model(one, wire.project, claim.job.id, "minilm", "classify", "full", "models/x/final", 5, step)
              for one, step in ((name, None), (ckpt, 4))]  # fmt: skip
    wire.queue.finish(claim, "succeeded", events=[], models=models, result={"metrics": {"accuracy": 0.9}})
    endpoint = Endpoint(new_id("ep_"), wire.project, "mine", name, "stopped", 60, 1)
    wire.store.endpoints.create(endpoint)
    told = ask(wire, "GET", f"/luthier/v1/models/{name}/lineage").json()
    assert told["data"] == [{
        "role": "train", "file_id": file["id"], "filename": "a.csv", "dataset": data["id"], "dataset_name": "shop",
        "version": 1, "rows": 12,
    }]  # fmt: skip
    assert (told["run"]["id"], told["run"]["metrics"]) == (made["id"], {"accuracy": 0.9})
    assert told["checkpoints"] == [ckpt]
    assert told["endpoints"] == [{"id": endpoint.id, "name": "mine", "state": "stopped"}]
    assert told["parents"] == []


def test_lineage_of_what_is_not_there_or_not_ours(wire: Wire) -> None:
    other = wire.store.projects.create("other").id
    for name in ("luthier-nano", "ft:luthier-nano:local:mine:00000000", "../x"):
        assert ask(wire, "GET", f"/luthier/v1/models/{name}/lineage").status_code == 404, name
    assert ask(wire, "GET", f"/luthier/v1/models/{TUNED}/lineage", project=other).status_code == 404
    assert ask(wire, "GET", EXPORTS, project=other).status_code == 404
    wire.store.permissions.create(wire.project, TUNED, [other])
    assert ask(wire, "GET", f"/luthier/v1/models/{TUNED}/lineage", project=other).status_code == 404
    assert code(ask(wire, "POST", EXPORTS, {"to": "merged"}, other)) == (403, "model_not_exportable")


# ---- exports


def answering(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Let exports end with an answer, and the files of one that is not an error."""
    asked: list[dict[str, Any]] = []

    async def ask(module: str, request: dict[str, Any], **_: Any) -> dict[str, Any]:
        asked.append({"module": module, **request})
        if "error" not in answer:
            out = Path(request["out"])
            (out / "inner").mkdir(parents=True)
            (out / "model.gguf").write_bytes(b"weights")
            (out / "inner" / "x.json").write_bytes(b"{}")
            pack(out, Path(request["archive"]), request["top"])
        return answer

    monkeypatch.setattr(data_children, "ask", ask)
    return asked


def ended(wire: Wire, export: dict[str, Any]) -> dict[str, Any]:
    for _ in range(400):
        told: dict[str, Any] = ask(wire, "GET", f"{EXPORTS}/{export['id']}").json()
        if told["status"] != "running":
            return told
        clock.sleep(0.02)
    raise AssertionError("it did not end")


def test_an_export_is_made_and_downloaded(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, {"form": "gguf"})
    begun = ask(wire, "POST", EXPORTS, {"to": "gguf", "dtype": "q8_0"})
    assert begun.status_code == 200, begun.text
    export = ended(wire, begun.json())
    assert (export["status"], export["to"], export["dtype"]) == ("succeeded", "gguf", "q8_0")
    assert export["filename"] == "ft-luthier-nano-local-mine-abcdefgh-gguf-q8_0.tar"
    assert asked[0]["module"] == "luthier.jobs.model_export"
    got = ask(wire, "GET", f"{EXPORTS}/{export['id']}/content")
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"].startswith("attachment;")
    assert len(got.content) == export["bytes"]
    with tarfile.open(fileobj=io.BytesIO(got.content)) as packed:
        top = export["filename"].removesuffix(".tar")
        assert sorted(packed.getnames()) == [f"{top}/inner/x.json", f"{top}/model.gguf"]
        assert all((one.uid, one.uname) == (0, "") for one in packed.getmembers())
    assert [one["id"] for one in ask(wire, "GET", EXPORTS).json()["data"]] == [export["id"]]
    assert ask(wire, "DELETE", f"{EXPORTS}/{export['id']}").json()["deleted"] is True
    assert ask(wire, "GET", f"{EXPORTS}/{export['id']}").status_code == 404
    assert list((wire.settings.home / "artefacts" / "exports").iterdir()) == []


def test_an_export_that_fails_says_why(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {"error": {"code": "parity", "message": "It answers otherwise.", "param": None}})
    export = ended(wire, ask(wire, "POST", EXPORTS, {"to": "onnx"}).json())
    assert (export["status"], export["error"]) == ("failed", {"code": "parity", "message": "It answers otherwise."})
    assert code(ask(wire, "GET", f"{EXPORTS}/{export['id']}/content")) == (409, "export_not_ready")

    async def broken(*_: Any, **__: Any) -> dict[str, Any]:
        raise ApiError(400, "It broke down.", code="export_failed")

    monkeypatch.setattr(data_children, "ask", broken)
    assert ended(wire, ask(wire, "POST", EXPORTS, {"to": "merged"}).json())["error"]["code"] == "export_failed"
    for body in ({}, {"to": "zip"}, {"to": "gguf", "dtype": "int1"}, {"to": "gguf", "out": "/etc"}):
        assert ask(wire, "POST", EXPORTS, body).status_code == 400
    assert ask(wire, "POST", "/luthier/v1/models/luthier-nano/exports", {"to": "gguf"}).status_code == 404


def test_what_an_earlier_server_had_begun_has_failed(tmp_path: Path) -> None:
    first = Wire(tmp_path)
    export = ModelExport(new_id("exp_"), first.project, TUNED, {"to": "merged", "dtype": None}, "running", "a.tar", 0,
                         None, 1, None)  # fmt: skip
    first.store.exports.create(export)
    with first.running():
        assert first.store.exports.get(first.project, export.id).error == {
            "code": "interrupted", "message": "The server stopped before the export was done.",
        }  # fmt: skip


# ---- the room of a project


def with_weights(home: Path, room: int) -> Wire:
    """A server whose project may store so many bytes, with a tuned model of 10,000 weights."""
    wire = Wire(home, max_project_bytes=room)
    model = add_model(wire, TUNED, "chat", "luthier-nano")
    folder = home / "tuned"
    folder.mkdir()
    save_file({"a": np.zeros((100, 100), dtype=np.float32)}, folder / "model.safetensors")
    (folder / "luthier.json").write_text(json.dumps({"layout": "transformers", "base": {"name": "x", "path": ""}}))
    wire.artefacts.put_folder(model.artefact, folder)
    return wire


def stored(wire: Wire) -> tuple[int, int]:
    limits = ask(wire, "GET", "/luthier/v1/system").json()["limits"]
    return limits["used_project_bytes"], limits["exported_project_bytes"]


def test_an_export_that_surely_does_not_fit_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch, {"form": "merged"})
    with with_weights(tmp_path, 30_000).running() as wire:
        refused = ask(wire, "POST", EXPORTS, {"to": "merged"})
        assert code(refused) == (413, "project_storage_full")
        assert "30,000 are left, and this export needs 36,000 or more" in refused.json()["error"]["message"]
        assert ask(wire, "GET", EXPORTS).json()["data"] == []
        assert asked == []
        assert ended(wire, ask(wire, "POST", EXPORTS, {"to": "gguf", "dtype": "f16"}).json())["status"] == "succeeded"


def test_the_bytes_of_an_export_count_until_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {"form": "adapter"})
    with with_weights(tmp_path, 25_000).running() as wire:
        export = ended(wire, ask(wire, "POST", EXPORTS, {"to": "adapter"}).json())
        assert stored(wire) == (export["bytes"], export["bytes"])
        second = ended(wire, ask(wire, "POST", EXPORTS, {"to": "adapter"}).json())
        third = ended(wire, ask(wire, "POST", EXPORTS, {"to": "adapter"}).json())
        assert [one["status"] for one in (export, second, third)] == ["succeeded", "succeeded", "failed"]
        assert third["error"]["code"] == "project_storage_full"
        assert len(list((wire.settings.home / "artefacts" / "exports").iterdir())) == 2
        assert stored(wire) == (2 * export["bytes"],) * 2
        headers = {"authorization": f"Bearer {wire.key()}"}
        too_large = wire.http.post(
            "/v1/files", headers=headers, data={"purpose": "fine-tune"}, files={"file": ("a.csv", b"a" * 10_000)}
        )
        assert code(too_large) == (413, "project_storage_full")
        ask(wire, "DELETE", f"{EXPORTS}/{export['id']}")
        assert stored(wire) == (export["bytes"],) * 2
        assert ask(wire, "DELETE", f"/v1/models/{TUNED}").json()["deleted"] is True
        assert stored(wire) == (0, 0)
        assert list((wire.settings.home / "artefacts" / "exports").iterdir()) == []


# ---- traffic


def test_calls_by_an_endpoints_name_are_counted(both: tuple[Wire, ScriptedEngine]) -> None:
    wire, engine = both
    endpoint = Endpoint(new_id("ep_"), wire.project, "helper", TUNED, "running", 60, 1)
    wire.store.endpoints.create(endpoint)
    client = wire.client("write")
    turn: Any = [{"role": "user", "content": "Hi"}]
    engine.script = says("Hello", prompt_tokens=7)
    client.chat.completions.create(model="helper", messages=turn)
    list(client.chat.completions.create(model="helper", messages=turn, stream=True))
    client.chat.completions.create(model="luthier-nano", messages=turn)  # by another name
    engine.script = fails("bad")
    with pytest.raises(Exception, match="it does not go"):
        client.chat.completions.create(model="helper", messages=turn)
    path = f"/luthier/v1/endpoints/{endpoint.id}/traffic"
    told = ask(wire, "GET", path).json()
    total = told["total"]
    assert (total["requests"], total["errors"], total["prompt_tokens"]) == (3, 1, 14)
    assert total["completion_tokens"] == 6
    assert 0 < total["seconds_p50"] <= total["seconds_p99"] < 60
    assert sum(point["requests"] for point in told["data"]) == 3
    assert told["data"][0]["seconds_p50"] is None
    wire.http.portal.call(Traffic.of(wire.state).flush, wire.state)  # type: ignore[union-attr]
    assert Traffic.of(wire.state).minutes == {}
    assert ask(wire, "GET", path).json()["total"] == total
    short = ask(wire, "GET", f"{path}?seconds=60&points=1").json()
    assert (short["step_seconds"], short["total"]["requests"] <= 3) == (60, True)
    assert ask(wire, "GET", path, project=wire.store.projects.create("other").id).status_code == 404


def test_the_store_keeps_what_it_could_not_take(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.jobs.errors import Unavailable
    from luthier.server.traffic import Call

    traffic = Traffic.of(wire.state)
    traffic.record(Call("ep_x", 1, 2), 0.1, failed=False)

    def away(*_: Any) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(wire.store.traffic, "add", away)
        with pytest.raises(Unavailable):
            wire.http.portal.call(traffic.flush, wire.state)  # type: ignore[union-attr]
    assert [row.requests for row in traffic.minutes.values()] == [1]


def test_quantiles_are_near_the_truth() -> None:
    latencies: dict[str, int] = {}
    for number in range(1, 1001):
        bucket = str(bucket_of(number / 1000))
        latencies[bucket] = latencies.get(bucket, 0) + 1
    for share in (0.5, 0.95, 0.99):
        assert quantile(latencies, share) == pytest.approx(share, rel=0.2)
    assert quantile({}, 0.5) is None
    assert bucket_of(0.0) == 0
    assert bucket_of(1e9) == 39
    assert quantile({"39": 1}, 1.0) is not None


def test_minutes_become_steps() -> None:
    rows = [TrafficRow("ep", start, 1, 0, 2, 3, {"4": 1}) for start in (0, 60, 120, 600)]
    steps = in_steps(rows, 0, 120, 3)
    assert [(one.start, one.requests, one.prompt_tokens) for one in steps] == [(0, 2, 4), (120, 1, 2), (240, 0, 0)]
    assert steps[0].latencies == {"4": 2}
