"""Models over OpenAI's wire: what may be called, what may be deleted, and who else may use a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import openai
import pytest
from openai.types import Model as OpenAIModel
from openai.types import ModelDeleted
from openai.types.fine_tuning.checkpoints import PermissionCreateResponse, PermissionListResponse
from wire import Wire, refused, strictly

from luthier.jobs.records import Job, Model
from luthier.jobs.tuned_names import checkpoint_name, tuned_name
from luthier.server.errors import ApiError
from luthier.server.names import find, find_base

JOB = "ftjob-" + "a" * 24
NAME = tuned_name("luthier-nano", "acme", "s", JOB)
POINT = checkpoint_name(NAME, 40)


def a_folder_base(home: Path, name: str, architecture: str = "LlamaForCausalLM", **config: Any) -> Path:
    folder = home / "models" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture], **config}))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with Wire(tmp_path, organisation="acme").running() as it:
        a_folder_base(tmp_path, "own-base")
        yield it


@pytest.fixture
def tuned(wire: Wire) -> list[str]:
    """A tuned model and a checkpoint of it, with their weights."""
    job = Job(
        id=JOB, project_id=wire.project, kind="openai", status="queued", model="luthier-nano",
        base_model="luthier-nano", task="chat", training_file="file-x", created_at=1, seed=1,
        recipe={"data": {"train": "file-x"}},
    )  # fmt: skip
    wire.store.jobs.create(job, ())
    claim = wire.queue.claim()
    assert claim is not None
    models = []
    for name, place, step in ((NAME, "final", None), (POINT, "step-40", 40)):
        source = wire.settings.home / "made" / place
        source.mkdir(parents=True)
        (source / "adapter_model.safetensors").write_bytes(place.encode())
        wire.artefacts.put_folder(f"models/{JOB}/{place}", source)
        models.append(Model(name, wire.project, JOB, "luthier-nano", "chat", "lora", f"models/{JOB}/{place}", 7, step))
    wire.queue.finish(claim, "succeeded", events=[], models=models, fine_tuned_model=NAME)
    return [NAME, POINT]


def names(client: openai.OpenAI) -> list[str]:
    return [model.id for model in client.models.list()]


def test_a_name_says_base_organisation_suffix_and_job() -> None:
    first, second = NAME.split(":"), tuned_name("luthier-nano", "acme", None, "ftjob-" + "b" * 24).split(":")
    assert first[:4] == ["ft", "luthier-nano", "acme", "s"]
    assert len(first[4]) == 8
    assert second[3] == ""
    assert first[4] != second[4]
    assert f"{NAME}:ckpt-step-40" == POINT


def test_the_list_has_bases_folders_and_tuned_models(wire: Wire, tuned: list[str]) -> None:
    client = wire.client("read")
    found = {model.id: model for model in client.models.list()}
    for model in found.values():
        strictly(OpenAIModel, model)
    assert {"minilm", "luthier-nano", "own-base", *tuned} == set(found)
    assert (found["luthier-nano"].owned_by, found["own-base"].owned_by) == ("luthier", "operator")
    assert (found[NAME].owned_by, found[NAME].created) == ("acme", 7)
    assert set(names(wire.stranger())) == {"minilm", "luthier-nano", "own-base"}


def test_names_with_colons_are_found_however_they_are_written(wire: Wire, tuned: list[str]) -> None:
    client = wire.client()
    for name in ("luthier-nano", *tuned):
        found = client.models.retrieve(name)
        strictly(OpenAIModel, found)
        assert found.id == name
        for written in (name, quote(name, safe="")):
            answer = wire.http.get(f"/v1/models/{written}", headers={"authorization": f"Bearer {wire.key()}"})
            assert answer.json()["id"] == name


@pytest.mark.parametrize(
    "name",
    ["gpt-4o", "sentence-transformers/all-MiniLM-L6-v2", "models/own-base", "../own-base", "/etc", "own-base/",
     "ft:luthier-nano:acme:s:zzzzzzzz", "ft:", "ft:" + "x" * 900, "ft:\u2028", "x" * 900],
)  # fmt: skip
def test_anything_else_is_not_found(shared: Wire, name: str) -> None:
    answer = shared.http.get(f"/v1/models/{quote(name, safe='')}", headers={"authorization": f"Bearer {shared.key()}"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] in ("model_not_found", "not_found")


def test_folders_that_bring_code_or_no_weights_are_no_models(wire: Wire) -> None:
    home = wire.settings.home
    (a_folder_base(home, "with-code") / "modeling.py").write_text("")
    a_folder_base(home, "with-map", auto_map={"AutoModel": "x.Y"})
    a_folder_base(home, ".hidden")
    a_folder_base(home, "minilm")  # the catalogue's own name
    (a_folder_base(home, "empty") / "model.safetensors").unlink()
    a_folder_base(home, "an-encoder", "BertModel")
    assert set(names(wire.client())) == {"minilm", "luthier-nano", "own-base", "an-encoder"}
    encoder, generative = find_base(home, "an-encoder"), find_base(home, "own-base")
    assert encoder is not None
    assert generative is not None
    assert (encoder.kind, generative.kind) == ("encoder", "generative")
    assert "classify" in encoder.tasks
    assert generative.place == str(home / "models" / "own-base")
    nano = find_base(home, "luthier-nano")
    assert nano is not None
    assert nano.place == "luthier-nano"


def test_a_name_is_resolved_to_what_the_engine_loads(wire: Wire, tuned: list[str]) -> None:
    caller = wire.store.keys.authenticate(wire.key())
    assert caller is not None
    found = find(wire.state, caller, POINT, to_answer=True)
    assert (found.ref.name, found.ref.base, found.task, found.kind) == (POINT, "luthier-nano", "chat", "generative")
    assert found.ref.folder is not None
    assert (Path(found.ref.folder) / "adapter_model.safetensors").read_bytes() == b"step-40"
    base = find(wire.state, caller, "own-base", to_answer=True)
    assert (base.ref.base, base.ref.folder, base.task) == (str(wire.settings.home / "models" / "own-base"), None, "")
    stranger = wire.store.keys.authenticate(wire.key(project=wire.store.projects.create("other").id))
    assert stranger is not None
    with pytest.raises(ApiError) as told:
        find(wire.state, stranger, POINT)
    assert told.value.status_code == 404


def test_only_own_tuned_models_are_deleted(wire: Wire, tuned: list[str]) -> None:
    client = wire.client()
    for base in ("luthier-nano", "own-base"):
        told = refused(lambda base=base: client.models.delete(base), openai.PermissionDeniedError)
        assert told["code"] == "model_not_deletable"
    assert refused(lambda: client.models.delete("unknown"), openai.NotFoundError)["code"] == "model_not_found"
    refused(lambda: wire.client("read").models.delete(NAME), openai.PermissionDeniedError)
    gone = client.models.delete(NAME)
    strictly(ModelDeleted, gone)
    assert (gone.id, gone.deleted) == (NAME, True)
    assert [(asked.op, asked.model.name) for asked in wire.engine.asked if asked.model] == [("unload", NAME)]
    assert sorted(path.name for path in (wire.settings.home / "artefacts" / "models" / JOB).iterdir()) == ["step-40"]
    assert NAME not in names(client)
    assert POINT in names(client)
    refused(lambda: client.models.delete(NAME), openai.NotFoundError)


def test_a_model_that_a_job_goes_on_from_stays(wire: Wire, tuned: list[str]) -> None:
    client = wire.client()
    file = client.files.create(file=("a.jsonl", b'{"messages": []}\n'), purpose="fine-tune").id
    client.fine_tuning.jobs.create(model=POINT, training_file=file)
    assert refused(lambda: client.models.delete(POINT), openai.ConflictError)["code"] == "model_in_use"


def test_a_checkpoint_is_shared_by_permission_and_for_as_long(wire: Wire, tuned: list[str]) -> None:
    client = wire.client()
    project = wire.store.projects.create("other").id
    other = wire.client(project=project)
    permissions = client.fine_tuning.checkpoints.permissions
    made = permissions.create(POINT, project_ids=[project]).data
    strictly(PermissionCreateResponse, made[0])
    assert [item.project_id for item in made] == [project]
    assert permissions.create(POINT, project_ids=[project]).data == made
    listed = list(permissions.list(POINT))
    strictly(PermissionListResponse, listed[0])
    assert [item.id for item in listed] == [made[0].id]
    assert list(permissions.list(POINT, project_id="proj_" + "0" * 24)) == []
    assert other.models.retrieve(POINT).id == POINT
    refused(lambda: other.models.retrieve(NAME), openai.NotFoundError)
    refused(lambda: other.models.delete(POINT), openai.PermissionDeniedError)
    refused(lambda: list(other.fine_tuning.checkpoints.permissions.list(POINT)), openai.NotFoundError)
    assert permissions.delete(made[0].id, fine_tuned_model_checkpoint=POINT).deleted
    refused(lambda: other.models.retrieve(POINT), openai.NotFoundError)
    refused(lambda: permissions.delete(made[0].id, fine_tuned_model_checkpoint=POINT), openai.NotFoundError)


def test_permissions_are_for_admins_and_known_projects(wire: Wire, tuned: list[str]) -> None:
    def create(client: openai.OpenAI, *ids: str) -> Any:
        return client.fine_tuning.checkpoints.permissions.create(POINT, project_ids=list(ids))

    for role in ("read", "write"):
        refused(lambda role=role: create(wire.client(role), wire.project), openai.PermissionDeniedError)
    told = refused(lambda: create(wire.client(), "proj_" + "0" * 24), openai.NotFoundError)
    assert told["param"] == "project_ids"
    refused(lambda: create(wire.client()), openai.BadRequestError)
