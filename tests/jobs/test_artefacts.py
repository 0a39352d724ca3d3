"""Artefacts: one contract for folders and object stores; whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from luthier.core import durable
from luthier.core.errors import StorageError
from luthier.jobs.artefacts import MANIFEST, Artefacts, read_manifest

_NUMBERS = itertools.count()


@pytest.fixture(params=["folder", "memory"])
def artefacts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Artefacts]:
    if request.param == "folder":
        yield Artefacts.open(tmp_path / "artefacts", tmp_path / "cache")
        return
    place = f"memory://artefacts-{os.getpid()}-{next(_NUMBERS)}"
    yield Artefacts.open(place, tmp_path / "cache")
    store = fsspec.filesystem("memory")
    if store.exists(place):
        store.rm(place, recursive=True)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"weights" * 1000)
    (folder / "1_Pooling" / "config.json").write_text("{}")
    return folder


def code(call: Any) -> str:
    with pytest.raises(StorageError) as caught:
        call()
    return caught.value.code


def put(artefacts: Artefacts, name: str, data: bytes) -> tuple[int, str]:
    with artefacts.writer(name) as writer:
        for start in range(0, len(data), 7):
            writer.write(data[start : start + 7])
        return writer.commit()


def test_a_file_comes_back_as_it_was_written(artefacts):
    data = bytes(range(256)) * 10
    assert put(artefacts, "files/file-1", data) == (len(data), hashlib.sha256(data).hexdigest())
    assert artefacts.size("files/file-1") == len(data)
    with artefacts.open_read("files/file-1") as handle:
        assert handle.read() == data
    assert artefacts.local("files/file-1").read_bytes() == data
    put(artefacts, "files/file-1", b"other")
    with artefacts.open_read("files/file-1") as handle:
        assert handle.read() == b"other"


def test_what_is_not_committed_is_not_there(artefacts, tmp_path):
    with artefacts.writer("files/file-1") as writer:
        writer.write(b"half")
    assert code(lambda: artefacts.size("files/file-1")) == "artefact_missing"
    assert not list(tmp_path.rglob(".tmp-luthier-*"))


def test_a_deleted_file_is_gone_and_may_be_deleted_again(artefacts):
    put(artefacts, "files/file-1", b"x")
    artefacts.local("files/file-1")
    artefacts.delete("files/file-1")
    artefacts.delete("files/file-1")
    for call in (artefacts.open_read, artefacts.local, artefacts.size):
        assert code(lambda call=call: call("files/file-1")) == "artefact_missing"


def test_a_folder_comes_back_whole(artefacts, model):
    artefacts.put_folder("models/ftjob-1/final", model)
    found = artefacts.folder("models/ftjob-1/final")
    assert (found / "adapter.safetensors").read_bytes() == (model / "adapter.safetensors").read_bytes()
    assert (found / "1_Pooling" / "config.json").read_text() == "{}"
    assert (found / MANIFEST).is_file()
    assert artefacts.folder("models/ftjob-1/final") == found
    artefacts.delete_folder("models/ftjob-1/final")
    artefacts.delete_folder("models/ftjob-1/final")
    assert code(lambda: artefacts.folder("models/ftjob-1/final")) == "artefact_missing"


def test_a_folder_put_again_replaces_the_first(artefacts, model):
    artefacts.put_folder("models/ftjob-1/final", model)
    artefacts.folder("models/ftjob-1/final")
    (model / "adapter.safetensors").unlink()
    (model / "adapter.safetensors").write_bytes(b"new")
    artefacts.put_folder("models/ftjob-1/final", model)
    assert (artefacts.folder("models/ftjob-1/final") / "adapter.safetensors").read_bytes() == b"new"


@pytest.mark.parametrize(
    "name",
    ["", "files", "files/..", "files/../x", "/etc/passwd", "files/a/b/c/d", "files/.tmp", "Files/x", "files/a\0b",
     "files/" + "x" * 200, "files//x", "files/a b", "../files/x", "files/a\n"],
)  # fmt: skip
def test_names_that_are_not_ours_are_refused(artefacts, name):
    for call in (artefacts.writer, artefacts.open_read, artefacts.local, artefacts.delete, artefacts.folder,
                 artefacts.delete_folder):  # fmt: skip
        assert code(lambda call=call: call(name)) == "artefact_name"


def test_a_full_disk_leaves_the_old_file(artefacts, monkeypatch, tmp_path):
    put(artefacts, "files/file-1", b"old")
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(durable, "_fsync", full)
        assert code(lambda: put(artefacts, "files/file-1", b"new")) == "disk_full"
    with artefacts.open_read("files/file-1") as handle:
        assert handle.read() == b"old"
    assert not list(tmp_path.rglob(".tmp-luthier-*"))


def test_a_folder_that_fails_at_any_write_is_not_there(monkeypatch, tmp_path, model):
    """Fails the first, the second, ... write, sync or rename, until it succeeds."""
    artefacts = Artefacts.open(tmp_path / "artefacts", tmp_path / "cache")
    real = {name: getattr(durable, name) for name in ("_write_bytes", "_fsync", "_rename")}
    for fail_at in itertools.count(1):
        calls = itertools.count(1)
        with monkeypatch.context() as patch:
            for name, call in real.items():

                def counted(*args: Any, call: Any = call, calls: Any = calls, fail_at: int = fail_at) -> Any:
                    if next(calls) == fail_at:
                        raise OSError(errno.EIO, "Input/output error")
                    return call(*args)

                patch.setattr(durable, name, counted)
            try:
                artefacts.put_folder("models/ftjob-1/final", model)
                break
            except StorageError:
                pass
        # A failed sync of the parent comes after the rename: then the folder is there, and whole.
        if (tmp_path / "artefacts/models/ftjob-1/final").exists():
            assert (artefacts.folder("models/ftjob-1/final") / MANIFEST).is_file()
            artefacts.delete_folder("models/ftjob-1/final")
        else:
            assert code(lambda: artefacts.folder("models/ftjob-1/final")) == "artefact_missing"
        assert not list(tmp_path.rglob(".tmp-luthier-*"))
    assert fail_at > 5
    assert (artefacts.folder("models/ftjob-1/final") / "adapter.safetensors").is_file()


def test_a_damaged_remote_folder_is_refused(tmp_path, model):
    place = f"memory://damaged-{os.getpid()}"
    artefacts = Artefacts.open(place, tmp_path / "cache")
    artefacts.put_folder("models/ftjob-1/final", model)
    store = fsspec.filesystem("memory")
    store.pipe_file(f"{place}/models/ftjob-1/final/adapter.safetensors", b"weightz" * 1000)
    assert code(lambda: artefacts.folder("models/ftjob-1/final")) == "artefact_damaged"
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_remote_folder_without_its_manifest_is_not_there(tmp_path, model):
    place = f"memory://half-{os.getpid()}"
    artefacts = Artefacts.open(place, tmp_path / "cache")
    store = fsspec.filesystem("memory")
    store.pipe_file(f"{place}/models/ftjob-1/final/adapter.safetensors", b"w")
    assert code(lambda: artefacts.folder("models/ftjob-1/final")) == "artefact_missing"


@pytest.mark.parametrize("place", ["http://x/y", "file:///tmp/x", "ssh://x/y"])
def test_other_schemes_are_refused(place, tmp_path):
    assert code(lambda: Artefacts.open(place, tmp_path)) == "unknown_scheme"


def test_the_sweep_takes_what_a_crash_left_and_follows_no_link(tmp_path):
    artefacts = Artefacts.open(tmp_path / "artefacts", tmp_path / "cache")
    put(artefacts, "files/file-1", b"kept")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".tmp-luthier-x").write_text("not ours to remove")
    (tmp_path / "artefacts" / "linked").symlink_to(elsewhere)
    (tmp_path / "artefacts" / "files" / ".tmp-luthier-half").write_text("half")
    (tmp_path / "artefacts" / "files" / ".tmp-luthier-folder").mkdir()
    (tmp_path / "artefacts" / "files" / ".tmp-luthier-link").symlink_to(elsewhere)
    assert artefacts.sweep() == 3
    assert [path.name for path in (tmp_path / "artefacts" / "files").iterdir()] == ["file-1"]
    assert (elsewhere / ".tmp-luthier-x").exists()


def test_room_is_known_of_a_folder(tmp_path):
    assert (Artefacts.open(tmp_path / "artefacts", tmp_path).free_bytes() or 0) > 0
    assert Artefacts.open("memory://room", tmp_path / "cache").free_bytes() is None


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"files": 3}', b'{"files": {"a": 3}}', b'{"files": {"a": {"bytes": "1", "sha256": "0"}}}',
     b"[" * 100_000],
)  # fmt: skip
def test_a_broken_manifest_is_named(data):
    with pytest.raises(StorageError) as caught:
        read_manifest(data)
    assert caught.value.code == "artefact_broken"
