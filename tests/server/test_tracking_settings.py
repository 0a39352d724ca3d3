"""Mirrors of jobs: whoever runs the server says where, and what a client may ask for."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from wire import Wire

from luthier.core.errors import UsageError
from luthier.core.recipe import Recipe
from luthier.jobs.children import computing_environment, tracking_environment
from luthier.jobs.recipes import worker_recipe
from luthier.jobs.telling import Telling
from luthier.server.settings import from_sources

ROWS = "".join(
    json.dumps({"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "yes"}]}) + "\n"
    for n in range(12)
).encode()


def job(**recipe: Any) -> Any:
    return SimpleNamespace(recipe={"data": {"train": "file-a"}, "task": "chat", **recipe}, seed=1)


def test_the_operators_mlflow_is_part_of_every_job(tmp_path: Path):
    settings = from_sources({"track_mlflow": "http://mlflow:5000/"}, {"LUTHIER_TRACK_EXPERIMENT": "team"})
    assert settings.track == {"mlflow": "http://mlflow:5000", "experiment": "team"}
    assert from_sources({}, {}).track == {}
    paths = {"file-a": tmp_path / "a.jsonl"}
    asked = job(track={"wandb": {"project": "p"}})
    found = worker_recipe(asked, paths, "luthier-nano", tmp_path, {}, settings.track)
    track = Recipe.build(found).track
    assert track is not None
    assert (track.mlflow, track.experiment, track.wanted) == ("http://mlflow:5000", "team", ("mlflow", "wandb"))
    assert "track" not in worker_recipe(job(), paths, "luthier-nano", tmp_path, {})


@pytest.mark.parametrize("url", ["mlflow:5000", "file:///tmp/x", "http://me:secret@mlflow"])
def test_a_wrong_address_is_told_at_the_start(url: str):
    with pytest.raises(UsageError) as caught:
        from_sources({"track_mlflow": url}, {})
    assert "track" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_logins_reach_only_a_worker_that_mirrors(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "sesame")
    monkeypatch.setenv("WANDB_API_KEY", "open")
    assert tracking_environment() == {"MLFLOW_TRACKING_TOKEN": "sesame", "WANDB_API_KEY": "open"}
    assert not set(computing_environment("cpu")) & set(tracking_environment())


def test_an_event_says_where_the_mirror_is():
    telling = Telling(str)
    tracking = {"kind": "MLflow", "place": "http://mlflow/#/runs/1"}
    telling.take({"kind": "message", "message": "Mirrored to MLflow", "data": {"tracking": tracking}})
    (event,) = telling.taken()
    assert event.data == {"tracking": tracking}


def test_a_client_cannot_have_the_server_send_elsewhere(shared: Wire):
    file = shared.client().files.create(file=("a.jsonl", ROWS), purpose="fine-tune").id
    told = shared.http.post(
        "/luthier/v1/jobs", headers={"Authorization": f"Bearer {shared.key('write')}"},
        json={"recipe": {"data": {"train": file}, "track": {"mlflow": "http://169.254.169.254"}}},
    )  # fmt: skip
    assert told.status_code == 400
    assert told.json()["error"]["param"] == "recipe.track"


def test_wandb_where_it_is_set_up(shared: Wire, monkeypatch):
    client = shared.client()
    file = client.files.create(file=("a.jsonl", ROWS), purpose="fine-tune").id

    def create(*wandb: dict[str, Any]) -> Any:
        integrations: Any = [{"type": "wandb", "wandb": one} for one in wandb]
        return client.fine_tuning.jobs.create(model="luthier-nano", training_file=file, integrations=integrations)

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: name == "wandb" or real(name, *more))
    with pytest.raises(openai.BadRequestError, match="WANDB_API_KEY"):
        create({"project": "p"})
    monkeypatch.setenv("WANDB_API_KEY", "open")
    made = create({"project": "p", "tags": ["a"]})
    assert made.integrations[0].wandb.project == "p"
    assert made.integrations[0].wandb.tags == ["a"]
    again = client.fine_tuning.jobs.retrieve(made.id)
    assert again.integrations == made.integrations
    with pytest.raises(openai.BadRequestError) as caught:
        create({"name": "without project"})
    assert caught.value.param == "integrations[0].wandb"
    with pytest.raises(openai.BadRequestError):
        create({"project": "p"}, {"project": "q"})
    client.fine_tuning.jobs.cancel(made.id)
