"""Models, endpoints and permissions."""

from __future__ import annotations

import dataclasses

import pytest

from luthier.jobs.errors import Conflict, NotFound
from luthier.jobs.ids import new_id
from luthier.jobs.page_records import ModelExport
from luthier.jobs.records import Endpoint

NAME = "ft:luthier-nano:org::abcdefgh"


@pytest.fixture
def model(store, make):
    """A tuned model in the store."""
    claim = make.claim()
    model = make.a_model(claim.job, NAME)
    make.queue().finish(claim, "succeeded", events=[], models=[model])
    return model


def test_a_model_is_found_by_its_project(store, project, model):
    assert store.models.get(project.id, NAME) == model
    assert store.models.list(project.id) == [model]
    other = store.projects.create("other").id
    for wrong in (lambda: store.models.get(other, NAME), lambda: store.models.delete(other, NAME)):
        with pytest.raises(NotFound):
            wrong()
    assert store.models.list(other) == []
    assert store.models.delete(project.id, NAME) == (model, [])
    with pytest.raises(NotFound):
        store.models.get(project.id, NAME)


def test_exports_go_with_their_model(store, project, model):
    mine, others = (
        ModelExport(new_id("exp_"), project.id, name, {"to": "gguf"}, "running", "x.tar", 30, None, 10, None)
        for name in (NAME, "ft:other")
    )
    for export in (mine, others):
        store.exports.create(export)
    assert store.models.delete(project.id, NAME) == (model, [mine.id])
    assert store.exports.usage(project.id) == 30
    assert store.exports.get(project.id, others.id) == others


def test_a_model_in_use_cannot_be_deleted(store, project, make, model):
    job = make.job(parent=NAME)
    with pytest.raises(Conflict):
        store.models.delete(project.id, NAME)
    store.jobs.cancel(project.id, job.id)
    endpoint = store.endpoints.create(an_endpoint(project))
    with pytest.raises(Conflict):
        store.models.delete(project.id, NAME)
    store.endpoints.set_state(project.id, endpoint.id, "stopped")
    store.models.delete(project.id, NAME)


def an_endpoint(project):
    return Endpoint(new_id("ep_"), project.id, "mine", NAME, "running", 60, 1)


def test_endpoints(store, project):
    endpoint = store.endpoints.create(an_endpoint(project))
    with pytest.raises(Conflict):
        store.endpoints.create(an_endpoint(project))
    other = store.projects.create("other")
    theirs = store.endpoints.create(an_endpoint(other))
    assert store.endpoints.get(project.id, endpoint.id) == endpoint
    assert store.endpoints.list(project.id) == [endpoint]
    assert store.endpoints.list() == [theirs, endpoint]
    stopped = store.endpoints.set_state(project.id, endpoint.id, "stopped")
    assert stopped == dataclasses.replace(endpoint, state="stopped")
    for wrong in (
        lambda: store.endpoints.get(other.id, endpoint.id),
        lambda: store.endpoints.set_state(other.id, endpoint.id, "running"),
        lambda: store.endpoints.delete(other.id, endpoint.id),
    ):
        with pytest.raises(NotFound):
            wrong()
    assert store.endpoints.delete(project.id, endpoint.id) == stopped
    with pytest.raises(NotFound):
        store.endpoints.delete(project.id, endpoint.id)


def test_a_permission_lets_another_project_use_a_model(store, project, model):
    other, third = store.projects.create("other"), store.projects.create("third")
    (permission,) = store.permissions.create(project.id, NAME, [other.id])
    assert permission.project_id == other.id
    assert store.models.get(other.id, NAME) == model
    assert store.models.list(other.id) == [model]
    assert store.permissions.create(project.id, NAME, [other.id, third.id, third.id])[0] == permission
    assert [entry.project_id for entry in store.permissions.list(project.id, NAME).items] == [third.id, other.id]
    first = store.permissions.list(project.id, NAME, limit=1)
    assert first.has_more
    assert store.permissions.list(project.id, NAME, after=first.items[0].id).items == [permission]
    assert store.permissions.list(project.id, NAME, project_id=other.id).items == [permission]
    with pytest.raises(NotFound):
        store.models.delete(other.id, NAME)
    assert store.permissions.delete(project.id, NAME, permission.id) == permission
    with pytest.raises(NotFound):
        store.models.get(other.id, NAME)
    store.models.get(third.id, NAME)


def test_only_the_owner_gives_permissions(store, project, model):
    other = store.projects.create("other").id
    store.permissions.create(project.id, NAME, [other])
    for wrong in (
        lambda: store.permissions.create(other, NAME, [other]),
        lambda: store.permissions.list(other, NAME),
        lambda: store.permissions.delete(other, NAME, "cp_never"),
        lambda: store.permissions.delete(project.id, NAME, "cp_never"),
        lambda: store.permissions.create(project.id, NAME, ["proj_never"]),
    ):
        with pytest.raises(NotFound):
            wrong()


def test_permissions_go_with_their_model(store, project, model):
    other = store.projects.create("other").id
    store.permissions.create(project.id, NAME, [other])
    store.models.delete(project.id, NAME)
    with pytest.raises(NotFound):
        store.models.get(other, NAME)
    assert store.models.list(other) == []
