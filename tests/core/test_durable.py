"""Whatever fails while we write, a reader finds the old file or the new one, whole."""

from __future__ import annotations

import errno
import json
import os

import pytest

from luthier.core import durable
from luthier.core.errors import StorageError

CALLS = ("_write_bytes", "_fsync", "_rename")


class Faults:
    """Counts the calls of durable's primitives and fails at one of them."""

    def __init__(self, monkeypatch, fail_at=None, error=None):
        self.count = 0
        self.fail_at = fail_at
        self.error = error or OSError(errno.EIO, "Input/output error")
        for name in CALLS:
            monkeypatch.setattr(durable, name, self.guarded(getattr(durable, name)))

    def guarded(self, real):
        def call(*args):
            self.count += 1
            if self.count == self.fail_at:
                if real.__name__ == "_write_bytes":  # half of it reaches the disk
                    handle, data = args
                    handle.write(data[: len(data) // 2])
                    handle.flush()
                raise self.error
            return real(*args)

        return call


def calls_of(monkeypatch, work) -> int:
    with monkeypatch.context() as patch:
        faults = Faults(patch)
        work()
        return faults.count


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(durable.TEMPORARY_PREFIX)]


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_is_old_or_new_whatever_fails(before, tmp_path, monkeypatch):
    path = tmp_path / "deep" / "a.txt"

    def reset():
        path.unlink(missing_ok=True)
        if before is not None:
            path.parent.mkdir(exist_ok=True)
            path.write_text(before, encoding="utf-8")

    count = calls_of(monkeypatch, lambda: durable.write_text(path, "new content"))
    assert count >= 4  # write, fsync, rename, fsync of the folder
    seen = set()
    for number in range(1, count + 1):
        reset()
        with monkeypatch.context() as patch:
            Faults(patch, fail_at=number)
            with pytest.raises(StorageError):
                durable.write_text(path, "new content")
        now = path.read_text(encoding="utf-8") if path.exists() else None
        assert now in (before, "new content")
        assert leftovers(path.parent) == []
        seen.add(now)
    assert before in seen


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_is_old_or_new_whatever_fails(exists, tmp_path, monkeypatch):
    target = tmp_path / "model"

    def write(text):
        with durable.atomic_folder(target) as folder:
            (folder / "sub").mkdir()
            (folder / "a").write_text(text, encoding="utf-8")
            (folder / "sub" / "b").write_text(text, encoding="utf-8")

    def content():
        return (
            {name: (target / name).read_text(encoding="utf-8") for name in ("a", "sub/b")} if target.exists() else None
        )

    old, new = {"a": "old", "sub/b": "old"}, {"a": "new", "sub/b": "new"}
    if exists:
        write("old")
    count = calls_of(monkeypatch, lambda: write("old" if exists else "new"))
    for number in range(1, count + 1):
        durable.remove_tree(target)
        if exists:
            write("old")
        with monkeypatch.context() as patch:
            Faults(patch, fail_at=number)
            with pytest.raises(StorageError):
                write("new")
        assert content() in (old if exists else None, new), f"call {number} of {count}"


def test_an_error_inside_leaves_the_folder_as_it_was(tmp_path):
    target = tmp_path / "model"
    with durable.atomic_folder(target) as folder:
        (folder / "a").write_text("old", encoding="utf-8")

    def broken():
        with durable.atomic_folder(target) as folder:
            (folder / "a").write_text("half", encoding="utf-8")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        broken()
    assert (target / "a").read_text(encoding="utf-8") == "old"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EACCES, "no_permission"),
        (errno.EROFS, "no_permission"),
        (errno.ENOTDIR, "not_a_folder"),
        (errno.EIO, "write_failed"),
    ],
)
def test_a_fault_has_a_code_a_place_and_a_remedy(number, code, tmp_path, monkeypatch):
    Faults(monkeypatch, fail_at=1, error=OSError(number, os.strerror(number)))
    with pytest.raises(StorageError) as caught:
        durable.write_text(tmp_path / "a", "x")
    assert (caught.value.code, caught.value.where) == (code, str(tmp_path / "a"))
    assert caught.value.remedy


def test_json_refuses_what_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        durable.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []
    durable.write_json(tmp_path / "a.json", {"ä": [1]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ä": [1]}


@pytest.mark.parametrize("block", [1, 7, 65536])
@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"", b""),
        (b"torn", b""),
        (b"{}\n", b"{}\n"),
        (b"{}\n{}\n", b"{}\n{}\n"),
        (b'{}\n{"a": 1}\n{"b', b'{}\n{"a": 1}\n'),
        (b"{}\n" + b"x" * 200, b"{}\n"),
        (b"x" * 200, b""),
    ],
)
def test_a_log_goes_on_after_its_last_whole_line(content, kept, block, tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_TAIL_BLOCK", block)
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    log = durable.AppendLog(path)
    log.append({"ü": 1})
    log.close()
    assert path.read_bytes() == kept + '{"ü": 1}\n'.encode()


def test_a_long_log_is_not_read_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 500_000 + b'{"to')
    import tracemalloc

    tracemalloc.start()
    durable.AppendLog(path).close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert path.stat().st_size == 9 * 500_000


def test_sweep_removes_only_what_a_crash_left(tmp_path):
    (tmp_path / f"{durable.TEMPORARY_PREFIX}1-a").write_text("x", encoding="utf-8")
    (tmp_path / f"{durable.TEMPORARY_PREFIX}dir").mkdir()
    (tmp_path / "kept").write_text("x", encoding="utf-8")
    durable.sweep(tmp_path)
    durable.sweep(tmp_path / "nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_sweep_can_leave_what_another_process_is_writing(tmp_path):
    young, old = (tmp_path / f"{durable.TEMPORARY_PREFIX}{name}" for name in ("young", "old"))
    for folder in (young, old):
        folder.mkdir()
    os.utime(old, (1, 1))
    durable.sweep(tmp_path, older_than_seconds=3600)
    assert list(tmp_path.iterdir()) == [young]


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path):
    assert durable.free_bytes(tmp_path / "a" / "b") > 0
