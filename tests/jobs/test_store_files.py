"""Files and uploads: the same on both databases."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from luthier.jobs.errors import Conflict, InvalidValue, NoRoom, NotFound
from luthier.jobs.ids import new_id
from luthier.jobs.records import Part, Upload


def test_a_file_comes_back_as_it_was_stored(store, project, make):
    file = make.a_file(filename='ü "quoted".jsonl', bytes=2**40, expires_at=99, status_details="fine")
    assert store.files.add(file) == file
    assert store.files.get(project.id, file.id) == file


def test_a_file_of_another_project_is_not_there(store, make):
    file = make.file()
    other = store.projects.create("other")
    with pytest.raises(NotFound) as found:
        store.files.get(other.id, file.id)
    with pytest.raises(NotFound) as never:
        store.files.get(other.id, "file-never")
    assert str(found.value).replace(file.id, "x") == str(never.value).replace("file-never", "x")
    with pytest.raises(NotFound):
        store.files.delete(other.id, file.id)
    with pytest.raises(NotFound):
        store.files.list(other.id, after=file.id)
    assert store.files.list(other.id).items == []


def test_those_who_upload_at_once_keep_to_the_room_of_their_project_together(store, project, make):
    other = store.projects.create("other")
    upload = store.uploads.add(an_upload(project))

    def enter(number):
        try:
            if number % 2:
                store.files.add(make.a_file(bytes=100), most=350)
            else:
                store.uploads.add_part(project.id, dataclasses.replace(a_part(upload), bytes=100), most=350)
        except NoRoom as error:
            return error.code
        return "stored"

    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(enter, range(16)))
    assert sorted(told) == ["project_storage_full"] * 13 + ["stored"] * 3
    assert store.files.usage(project.id) == 300
    with pytest.raises(NoRoom) as full:
        store.files.add(make.a_file(bytes=51), most=350)
    assert (full.value.http_status, "50 are left" in str(full.value)) == (413, True)
    assert store.files.add(make.a_file(bytes=50), most=350).bytes == 50
    assert store.files.add(dataclasses.replace(make.a_file(bytes=350), project_id=other.id), most=350).bytes == 350


def test_files_are_paged_newest_first(store, project, make):
    made = [make.file(created_at=5 - number) for number in range(5)]  # the clock went backwards meanwhile
    newest = list(reversed(made))
    first = store.files.list(project.id, limit=2)
    assert (first.items, first.has_more) == (newest[:2], True)
    second = store.files.list(project.id, limit=3, after=first.items[-1].id)
    assert (second.items, second.has_more) == (newest[2:], False)
    assert store.files.list(project.id, after=newest[-1].id).items == []
    upwards = store.files.list(project.id, order="asc", after=made[0].id, limit=2)
    assert (upwards.items, upwards.has_more) == (made[1:3], True)


def test_files_are_listed_by_purpose(store, project, make):
    make.file(purpose="batch")
    wanted = make.file(purpose="user_data")
    assert store.files.list(project.id, purpose="user_data").items == [wanted]


def test_an_unknown_place_in_a_list_is_named(store, project):
    with pytest.raises(NotFound) as error:
        store.files.list(project.id, after="file-never")
    assert error.value.param == "after"


def test_a_deleted_file_is_gone(store, project, make):
    file = make.file()
    assert store.files.delete(project.id, file.id) == file
    with pytest.raises(NotFound):
        store.files.get(project.id, file.id)
    with pytest.raises(NotFound):
        store.files.delete(project.id, file.id)


@pytest.mark.parametrize("field", ["training_file", "validation_file"])
def test_a_file_that_a_job_needs_cannot_be_deleted(store, project, make, field):
    file = make.file(expires_at=5)
    job = make.job(**{field: file.id})
    with pytest.raises(Conflict) as error:
        store.files.delete(project.id, file.id)
    assert error.value.code == "file_in_use"
    assert store.files.expired(10) == []
    store.jobs.cancel(project.id, job.id)
    assert store.files.expired(10) == [file]
    store.files.delete(project.id, file.id)


def test_expired_files_of_every_project_are_found(store, make):
    late = make.file(expires_at=10)
    make.file(expires_at=11)
    make.file()
    assert store.files.expired(10) == [late]


def an_upload(project, expires_at=4_000_000_000):
    return Upload(new_id("upload_"), project.id, "a", "fine-tune", 10, "text/jsonl", "pending", 1, expires_at)


def a_part(upload):
    return Part(new_id("part_"), upload.id, 5, "0", "a", 1)


def test_usage_counts_files_and_parts_that_are_coming(store, project, make):
    assert store.files.usage(project.id) == 0
    make.file(bytes=7)
    upload = store.uploads.add(an_upload(project))
    store.uploads.add_part(project.id, a_part(upload))
    assert store.files.usage(project.id) == 12
    store.uploads.cancel(project.id, upload.id)
    assert store.files.usage(project.id) == 7
    assert store.files.usage(store.projects.create("other").id) == 0


def test_an_upload_becomes_a_file(store, project, make):
    upload = store.uploads.add(an_upload(project))
    parts = [store.uploads.add_part(project.id, a_part(upload)) for _ in range(3)]
    assert store.uploads.parts(project.id, upload.id) == parts
    ids = [parts[2].id, parts[0].id]
    assert store.uploads.parts(project.id, upload.id, ids) == [parts[2], parts[0]]
    file = make.a_file()
    done = store.uploads.complete(project.id, upload.id, file)
    assert done == dataclasses.replace(upload, status="completed", file_id=file.id)
    assert store.uploads.get(project.id, upload.id) == done
    assert store.files.get(project.id, file.id) == file


def test_an_upload_is_over_once(store, project, make):
    upload = store.uploads.add(an_upload(project))
    store.uploads.cancel(project.id, upload.id)
    file = make.a_file()
    for late in (
        lambda: store.uploads.cancel(project.id, upload.id),
        lambda: store.uploads.complete(project.id, upload.id, file),
        lambda: store.uploads.add_part(project.id, a_part(upload)),
    ):
        with pytest.raises(Conflict):
            late()
    with pytest.raises(NotFound):
        store.files.get(project.id, file.id)


def test_an_unknown_part_is_named(store, project):
    upload = store.uploads.add(an_upload(project))
    with pytest.raises(NotFound) as error:
        store.uploads.parts(project.id, upload.id, ["part_never"])
    assert error.value.param == "part_ids"


def test_an_upload_of_another_project_is_not_there(store, project, make):
    upload = store.uploads.add(an_upload(project))
    part = store.uploads.add_part(project.id, a_part(upload))
    other = store.projects.create("other").id
    for wrong in (
        lambda: store.uploads.get(other, upload.id),
        lambda: store.uploads.cancel(other, upload.id),
        lambda: store.uploads.parts(other, upload.id, [part.id]),
        lambda: store.uploads.add_part(other, a_part(upload)),
        lambda: store.uploads.complete(other, upload.id, make.a_file()),
    ):
        with pytest.raises(NotFound):
            wrong()


def test_uploads_expire(store, project, moved_clock):
    now = int(moved_clock.now().timestamp())
    late, open_ = (store.uploads.add(an_upload(project, expires_at=now + more)) for more in (0, 60))
    with pytest.raises(Conflict) as error:
        store.uploads.add_part(project.id, a_part(late))
    assert error.value.code == "upload_expired"
    assert store.uploads.expire(now) == [dataclasses.replace(late, status="expired")]
    assert store.uploads.expire(now) == []
    store.uploads.add_part(project.id, a_part(open_))


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_text_that_one_database_cannot_hold_is_refused_by_both(store, project, make, text):
    for wrong in (
        lambda: store.files.add(make.a_file(filename=text)),
        lambda: store.files.get(project.id, text),
        lambda: make.job(recipe={"deep": [{"x": text}]}),
        lambda: make.job(recipe={text: 1}),
        lambda: make.job(metadata={"a": text}),
        lambda: store.jobs.list(project.id, metadata={text: "x"}),
        lambda: store.projects.create(text),
    ):
        with pytest.raises(InvalidValue) as error:
            wrong()
        assert error.value.code == "invalid_text"
    assert store.files.list(project.id).items == []
    assert store.jobs.list(project.id).items == []


def test_the_escape_of_the_zero_character_is_ordinary_text(store, make):
    job = make.job(recipe={"x": "\\u0000"})
    assert store.jobs.find(job.id).recipe == {"x": "\\u0000"}


def test_numbers_that_do_not_fit_are_refused_by_both(store, make):
    with pytest.raises(InvalidValue) as error:
        make.file(bytes=2**63)
    assert error.value.code == "invalid_number"
    assert make.file(bytes=2**63 - 1).bytes == 2**63 - 1
    for number in (float("nan"), float("inf")):
        with pytest.raises(InvalidValue):
            make.job(recipe={"x": number})
