"""Dedicated endpoints: a name for a model, loaded, stopped, scaled to zero, and loaded again by a call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from scripted import ScriptedEngine, add_model, fails, says, scripted_wire
from wire import Wire, refused

from luthier.core.answering import EngineRequest
from luthier.server.luthier_api.endpoints import scale_to_zero, watch_endpoints

NANO = "luthier-nano"
TUNED = "ft:luthier-nano:local:mine:abcdefgh"


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Wire, ScriptedEngine]]:
    with scripted_wire(tmp_path) as it:
        add_model(it[0], TUNED, "chat", NANO)
        it[1].script = Models()
        yield it


class Models:
    """An engine's memory: models that are loaded, and for how long they have been idle."""

    def __init__(self) -> None:
        self.idle: dict[str, float] = {}
        self.active: set[str] = set()

    def __call__(self, request: EngineRequest) -> Any:
        if request.op == "status":
            models = [
                {"name": name, "base": NANO, "idle_seconds": idle, "bytes": 1, "active": int(name in self.active)}
                for name, idle in self.idle.items()
            ]
            return [("status", {"models": models}), ("end", {})]
        assert request.model is not None
        if request.op == "unload":
            self.idle.pop(request.model.name, None)
            return [("end", {})]
        self.idle[request.model.name] = 0.0
        return says("Hello")(request) if request.op == "generate" else [("end", {"seconds": 0.1})]


class Http:
    def __init__(self, wire: Wire, project: str | None = None) -> None:
        self.wire, self.headers = wire, {"authorization": f"Bearer {wire.key('write', project)}"}

    def __call__(self, method: str, path: str = "", **body: Any) -> Any:
        options = {"json": body} if body else {}
        answer = self.wire.http.request(method, f"/luthier/v1/endpoints{path}", headers=self.headers, **options)
        return answer.json() | {"status": answer.status_code}


@pytest.fixture
def http(both: tuple[Wire, ScriptedEngine]) -> Http:
    return Http(both[0])


@pytest.fixture
def models(both: tuple[Wire, ScriptedEngine]) -> Models:
    assert isinstance(both[1].script, Models)
    return both[1].script


def say(wire: Wire, model: str) -> str:
    messages: Any = [{"role": "user", "content": "Hi"}]
    return str(wire.client().chat.completions.create(model=model, messages=messages).choices[0].message.content)


def test_an_endpoint_lives(both: tuple[Wire, ScriptedEngine], http: Http, models: Models) -> None:
    wire, engine = both
    made = http("POST", name="support", model=TUNED, idle_seconds=60)
    assert {key: made[key] for key in ("status", "object", "name", "model", "state", "idle_seconds", "loaded")} == {
        "status": 200, "object": "endpoint", "name": "support", "model": TUNED, "state": "running",
        "idle_seconds": 60, "loaded": True,
    }  # fmt: skip
    assert set(models.idle) == {TUNED}
    place = f"/{made['id']}"
    assert http("GET", place) == made
    assert [one["id"] for one in http("GET")["data"]] == [made["id"]]
    assert say(wire, "support") == "Hello"
    assert engine.asked[-1].model is not None
    assert engine.asked[-1].model.name == TUNED

    stopped = http("POST", f"{place}/stop")
    assert (stopped["state"], stopped["loaded"]) == ("stopped", False)
    assert models.idle == {}
    told = refused(lambda: say(wire, "support"), openai.ConflictError)
    assert told["code"] == "endpoint_stopped"
    assert f"{made['id']}/start" in told["message"]
    assert say(wire, TUNED) == "Hello"
    assert http("POST", f"{place}/start")["state"] == "running"
    assert say(wire, "support") == "Hello"
    assert http("DELETE", place)["deleted"] is True
    assert http("GET", place)["status"] == 404
    refused(lambda: say(wire, "support"), openai.NotFoundError)


def test_an_endpoint_is_its_projects(both: tuple[Wire, ScriptedEngine], http: Http) -> None:
    wire, _ = both
    made = http("POST", name="support", model=NANO)
    other = wire.store.projects.create("other").id
    stranger = Http(wire, other)
    assert stranger("GET")["data"] == []
    for method, path in (("GET", ""), ("POST", "/start"), ("POST", "/stop"), ("DELETE", "")):
        assert stranger(method, f"/{made['id']}{path}")["status"] == 404
    messages: Any = [{"role": "user", "content": "Hi"}]
    client = wire.client(project=other)
    refused(lambda: client.chat.completions.create(model="support", messages=messages), openai.NotFoundError)
    assert stranger("POST", name="support", model=TUNED)["status"] == 404
    assert stranger("POST", name="support", model=NANO)["status"] == 200


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"name": "Support"}, 400, "name"),
        ({"name": "../x"}, 400, "name"),
        ({"name": NANO}, 409, "name"),
        ({"name": "there"}, 409, "name"),
        ({"model": "there"}, 400, "model"),
        ({"model": "no-such"}, 404, "model"),
        ({"idle_seconds": 5}, 400, "idle_seconds"),
        ({"idle_seconds": -1}, 400, "idle_seconds"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
def test_what_is_refused_says_where(http: Http, fields: dict[str, Any], status: int, param: str) -> None:
    http("POST", name="there", model=NANO)
    answer = http("POST", **({"name": "support", "model": NANO} | fields))
    assert (answer["status"], answer["error"]["param"]) == (status, param), answer
    assert len(http("GET")["data"]) == 1


def test_a_model_that_does_not_load_makes_no_endpoint(both: tuple[Wire, ScriptedEngine], http: Http) -> None:
    both[1].script = fails("canary_failed", message="its answers differ from those after training")
    answer = http("POST", name="support", model=NANO)
    assert (answer["status"], answer["error"]["code"]) == (400, "canary_failed")
    both[1].is_running = False
    assert http("GET")["data"] == []


def test_idle_models_are_unloaded_and_loaded_again(
    both: tuple[Wire, ScriptedEngine], http: Http, models: Models
) -> None:
    wire, engine = both
    made = http("POST", name="support", model=TUNED, idle_seconds=60)
    http("POST", name="slow", model=TUNED, idle_seconds=90)
    http("POST", name="kept", model=NANO, idle_seconds=0)
    models.idle |= {TUNED: 89.0, NANO: 10_000.0, "ft:another": 10_000.0}
    assert asyncio.run(scale_to_zero(wire.state)) == []
    models.idle[TUNED] = 90.0
    models.active = {TUNED}
    assert asyncio.run(scale_to_zero(wire.state)) == []
    models.active = set()
    assert asyncio.run(scale_to_zero(wire.state)) == [TUNED]
    assert http("GET", f"/{made['id']}")["loaded"] is False
    assert http("GET", f"/{made['id']}")["state"] == "running"
    assert say(wire, "support") == "Hello"
    assert TUNED in models.idle
    engine.is_running = False
    asked = len(engine.asked)
    assert asyncio.run(scale_to_zero(wire.state)) == []
    assert len(engine.asked) == asked


def test_what_another_endpoint_uses_stays_loaded(http: Http, models: Models) -> None:
    first = http("POST", name="first", model=NANO)
    second = http("POST", name="second", model=NANO)
    http("POST", f"/{first['id']}/stop")
    assert NANO in models.idle
    http("DELETE", f"/{second['id']}")
    assert NANO not in models.idle


def test_the_watch_goes_on_after_an_error(both: tuple[Wire, ScriptedEngine], http: Http, models: Models) -> None:
    wire, engine = both
    http("POST", name="support", model=TUNED, idle_seconds=60)
    models.idle[TUNED] = 100.0
    engine.script = fails("boom", "internal")

    async def watch() -> None:
        task = asyncio.ensure_future(watch_endpoints(wire.state, 0.01))
        before = len(engine.asked)
        while len(engine.asked) < before + 2:
            await asyncio.sleep(0.01)
        engine.script = models
        while TUNED in models.idle:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(watch(), 20))


def test_the_server_starts_the_watch(
    both: tuple[Wire, ScriptedEngine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = []

    async def watch(state: Any) -> None:
        started.append(state)

    monkeypatch.setattr("luthier.server.luthier_api.endpoints.watch_endpoints", watch)
    (tmp_path / "again").mkdir()
    with scripted_wire(tmp_path / "again") as (wire, _):
        wire.http.get("/healthz")
        assert started == [wire.state]
