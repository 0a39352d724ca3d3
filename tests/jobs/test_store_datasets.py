"""Data sets, exports and traffic in the store, on both databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from luthier.jobs import store_datasets, store_exports
from luthier.jobs.errors import Conflict, NoRoom, NotFound
from luthier.jobs.ids import new_id
from luthier.jobs.page_records import Dataset, DatasetVersion, ModelExport, TrafficRow


def a_version(dataset, file, number=1, **more):
    values = {"test_file_id": None, "format": "csv", "task": "classify", "rows": 3, "bytes": file.bytes,
              "sha256": file.sha256, "columns": ["a", "ü"], "origin": {"kind": "file"}, "created_at": 1}  # fmt: skip
    return DatasetVersion(dataset_id=dataset.id, version=number, file_id=file.id, **(values | more))


@pytest.fixture
def add(store, project, make):
    def create(name, *, new=True, **more):
        dataset = Dataset(new_id("ds_"), more.pop("project", project.id), name, 1, 1)
        file = make.a_file() if new else make.file()
        version = a_version(dataset, file, **more)
        store.datasets.create(dataset, version, [file] if new else [])
        return dataset, version

    return create


def test_a_data_set_is_found_by_its_project(store, project, add):
    dataset, version = add("mine")
    assert store.datasets.get(project.id, dataset.id) == dataset
    assert store.datasets.version(project.id, dataset.id, 1) == version
    assert store.datasets.list(project.id).items == [(dataset, version)]
    assert store.datasets.named(project.id, "mine")
    other = store.projects.create("other").id
    assert not store.datasets.named(other, "mine")
    assert store.datasets.list(other).items == []
    for wrong in (
        lambda: store.datasets.get(other, dataset.id), lambda: store.datasets.version(other, dataset.id, 1),
        lambda: store.datasets.version(project.id, dataset.id, 2), lambda: store.datasets.versions(other, dataset.id),
        lambda: store.datasets.delete(other, dataset.id), lambda: store.datasets.rename(other, dataset.id, "x"),
        lambda: store.datasets.list(other, dataset.id),
        lambda: store.datasets.add_version(other, version, store.files.get(project.id, version.file_id)),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            wrong()


def test_a_name_is_taken_once(store, project, add):
    first, _ = add("a")
    add("b")
    with pytest.raises(Conflict):
        add("a")
    with pytest.raises(Conflict):
        store.datasets.rename(project.id, first.id, "b")
    assert store.datasets.rename(project.id, first.id, "a").name == "a"
    assert store.datasets.rename(project.id, first.id, "c").name == "c"
    assert len(store.files.list(project.id).items) == 2  # nothing is left of what was refused


def test_versions_are_numbered_one_after_another(store, project, make, add):
    dataset, _ = add("a")
    for number in (2, 3):
        file = make.a_file()
        added = store.datasets.add_version(project.id, a_version(dataset, file, 0), file)
        assert added.version == number
    assert store.datasets.get(project.id, dataset.id).latest == 3
    page = store.datasets.versions(project.id, dataset.id, limit=2)
    assert ([one.version for one in page.items], page.has_more) == ([3, 2], True)
    assert [one.version for one in store.datasets.versions(project.id, dataset.id, before=2).items] == [1]


def test_versions_at_once_have_numbers_of_their_own(store, project, make, add):
    dataset, _ = add("a")
    numbers = []

    def one():
        file = make.a_file()
        numbers.append(store.datasets.add_version(project.id, a_version(dataset, file, 0), file).version)

    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [2, 3, 4, 5, 6]


def test_limits_are_kept(store, project, make, add, monkeypatch):
    dataset, version = add("a")
    monkeypatch.setattr(store_datasets, "MOST_VERSIONS", 1)
    with pytest.raises(Conflict):
        store.datasets.add_version(project.id, version, make.a_file())
    monkeypatch.setattr(store_datasets, "MOST_DATASETS", 1)
    with pytest.raises(Conflict):
        add("b")
    file = make.a_file(bytes=100)
    other = Dataset(new_id("ds_"), project.id, "c", 1, 1)
    monkeypatch.setattr(store_datasets, "MOST_DATASETS", 9)
    with pytest.raises(NoRoom):
        store.datasets.create(other, a_version(other, file), [file], 50)
    assert [one.name for one, _ in store.datasets.list(project.id).items] == [dataset.name]


def test_its_files_stay_as_long_as_it_does(store, project, make, add):
    file, test = make.file(expires_at=5), make.file()
    dataset = Dataset(new_id("ds_"), project.id, "a", 1, 1)
    store.datasets.create(dataset, a_version(dataset, file, test_file_id=test.id))
    assert store.files.expired(100) == []
    assert store.files.get(project.id, file.id).expires_at is None
    for one in (file, test):
        with pytest.raises(Conflict):
            store.files.delete(project.id, one.id)
    second = Dataset(new_id("ds_"), project.id, "b", 1, 1)
    store.datasets.create(second, a_version(second, file))
    assert {one.id for one in store.datasets.delete(project.id, dataset.id)} == {test.id}
    assert {one.id for one in store.datasets.delete(project.id, second.id)} == {file.id}
    with pytest.raises(NotFound):
        store.files.get(project.id, file.id)


def test_a_file_that_is_gone_makes_no_data_set(store, project, make):
    dataset = Dataset(new_id("ds_"), project.id, "a", 1, 1)
    with pytest.raises(NotFound):
        store.datasets.create(dataset, a_version(dataset, make.a_file()))
    other = store.projects.create("other").id
    theirs = Dataset(new_id("ds_"), other, "a", 1, 1)
    with pytest.raises(NotFound):
        store.datasets.create(theirs, a_version(theirs, make.file()))
    assert store.datasets.list(project.id).items == []


def test_what_used_a_file_is_known(store, project, make, add):
    dataset, version = add("a")
    job = make.job(training_file=version.file_id)
    tested = make.job(recipe={"data": {"train": "file-x", "test": [version.file_id]}})
    make.job()
    used = store.datasets.used_by(project.id, version.file_id)
    assert [one["id"] for one in used.items] == [tested.id, job.id]
    assert store.datasets.used_by(project.id, version.file_id, limit=1).has_more
    assert [pair[0].id for pair in store.datasets.of_file(project.id, version.file_id)] == [dataset.id]
    with pytest.raises(Conflict) as error:
        store.datasets.delete(project.id, dataset.id)
    assert error.value.code == "dataset_in_use"
    for one in (job, tested):
        store.jobs.cancel(project.id, one.id)
    assert store.datasets.delete(project.id, dataset.id)


def test_exports(store, project, monkeypatch):
    export = ModelExport(new_id("exp_"), project.id, "ft:x", {"to": "gguf"}, "running", "x.tar", 0, None, 10, None)
    store.exports.create(export)
    assert store.exports.list(project.id, "ft:x") == [export]
    assert store.exports.finish(export.id, 12, size=5)
    assert not store.exports.finish(export.id, 13, error={"code": "x", "message": "y"})
    done = store.exports.get(project.id, export.id)
    assert done == replace(export, status="succeeded", bytes=5, finished_at=12)
    second = replace(export, id=new_id("exp_"))
    store.exports.create(second)
    assert store.exports.interrupted(20, 9) == 0
    assert store.exports.interrupted(20, 10) == 1
    assert store.exports.get(project.id, second.id).error["code"] == "interrupted"
    other = store.projects.create("other").id
    for wrong in (lambda: store.exports.get(other, export.id), lambda: store.exports.delete(other, export.id)):
        with pytest.raises(NotFound):
            wrong()
    monkeypatch.setattr(store_exports, "MOST", 2)
    with pytest.raises(Conflict):
        store.exports.create(replace(export, id=new_id("exp_")))
    assert store.exports.delete(project.id, export.id) == done


def an_export(project, size, model="ft:x"):
    return ModelExport(new_id("exp_"), project.id, model, {"to": "gguf"}, "running", "x.tar", size, None, 10, None)


def test_exports_count_towards_the_room_of_their_project(store, project, make):
    other = store.projects.create("other")
    store.files.add(make.a_file(bytes=40), most=100)
    begun = store.exports.create(an_export(project, 30), most=100)
    assert (store.files.usage(project.id), store.exports.usage(project.id)) == (70, 30)
    with pytest.raises(NoRoom) as full:
        store.exports.create(an_export(project, 31), most=100)
    assert full.value.http_status == 413
    assert full.value.param == "to"
    assert "30 are left, and this export needs 31 or more" in str(full.value)
    with pytest.raises(NoRoom):
        store.files.add(make.a_file(bytes=31), most=100)
    store.exports.create(an_export(other, 100), most=100)
    with pytest.raises(NoRoom):
        store.exports.keep_room(project.id, begun.id, 61, most=100)
    assert store.exports.usage(project.id) == 30, "as before"
    store.exports.keep_room(project.id, begun.id, 60, most=100)
    assert store.files.usage(project.id) == 100
    with pytest.raises(NoRoom):
        store.exports.create(an_export(project, 1), most=100)
    assert store.exports.finish(begun.id, 12, size=60)
    with pytest.raises(NotFound):
        store.exports.keep_room(project.id, begun.id, 1, most=100)
    assert store.exports.delete(project.id, begun.id).bytes == 60
    assert (store.files.usage(project.id), store.exports.usage(project.id)) == (40, 0)


def test_an_export_that_came_to_nothing_keeps_no_room(store, project):
    failed, interrupted = (store.exports.create(an_export(project, 30)) for _ in range(2))
    store.exports.finish(failed.id, 11, error={"code": "x", "message": "y"})
    assert store.exports.usage(project.id) == 30
    assert store.exports.interrupted(20, 10) == 1
    assert store.exports.usage(project.id) == 0
    assert store.exports.get(project.id, interrupted.id).bytes == 0


def test_those_who_export_at_once_keep_to_the_room_of_their_project_together(store, project):
    def begin(_):
        try:
            return store.exports.create(an_export(project, 100), most=350).status
        except NoRoom as error:
            return error.code

    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(begin, range(12)))
    assert sorted(told) == ["project_storage_full"] * 9 + ["running"] * 3


def test_minutes_of_traffic_add_up_and_go(store):
    row = TrafficRow("ep_a", 60, 1, 0, 5, 7, {"3": 1})
    store.traffic.add([row, replace(row, start=120)], 0)
    store.traffic.add([replace(row, errors=1, latencies={"3": 1, "9": 2}), replace(row, endpoint_id="ep_b")], 0)
    assert store.traffic.list("ep_a", 0) == [
        TrafficRow("ep_a", 60, 2, 1, 10, 14, {"3": 2, "9": 2}), replace(row, start=120),
    ]  # fmt: skip
    assert store.traffic.list("ep_a", 61) == [replace(row, start=120)]
    store.traffic.add([], 100)
    assert [one.start for one in store.traffic.list("ep_a", 0)] == [120]
    assert store.traffic.list("ep_b", 0) == []


def test_a_model_knows_who_goes_on_from_it(store, project, make):
    job = make.job(parent="ft:x")
    make.job(parent="ft:y")
    assert [one["id"] for one in store.models.descendants(project.id, "ft:x")] == [job.id]
    assert store.models.descendants(store.projects.create("o").id, "ft:x") == []
