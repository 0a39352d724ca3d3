"""The only module that writes, fsyncs, renames or unlinks.

Everything appears under a temporary name, is fsynced, renamed, and its folder fsynced (ALICE,
Pillai et al. 2014, found the missing folder fsync in most systems it read), so a reader never
sees half a file, and a crash leaves either the old or the new one. Tests replace this module's
`_write_bytes`, `_fsync` and `_rename` to inject faults.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from luthier.core import clock
from luthier.core.errors import StorageError

TEMPORARY_PREFIX = ".tmp-luthier-"
_TAIL_BLOCK = 64 * 1024
"""Bytes that are read at once from the end of a log, in search of its last whole line."""

_SYNCED: ContextVar[bool] = ContextVar("synced", default=True)


@contextlib.contextmanager
def synced(yes: bool) -> Iterator[None]:
    """With False, what is written inside survives the death of the process but may not survive a power cut: for
    what can be made again, and is checked when it is read (a trial's checkpoints). With True, back to the rule."""
    token = _SYNCED.set(yes)
    try:
        yield
    finally:
        _SYNCED.reset(token)


def _storage_error(error: OSError, path: Path) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            "the disk is full, so this could not be written.",
            where=str(path),
            remedy="Free some space or choose another folder with --out; what was written before is intact.",
            code="disk_full",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(
            "there is no permission to write here.",
            where=str(path),
            remedy="Choose a folder that you may write to with --out.",
            code="no_permission",
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return StorageError(
            "a file stands where a folder is needed.",
            where=str(path),
            remedy="Choose another folder with --out.",
            code="not_a_folder",
        )
    return StorageError(
        f"could not be written: {error.strerror or error}.",
        where=str(path),
        remedy="Check the path and the disk, then run the command again.",
        code="write_failed",
    )


@contextlib.contextmanager
def guard(path: Path) -> Iterator[None]:
    """Turn an OSError raised while writing under `path` into a `StorageError`."""
    try:
        yield
    except OSError as error:
        raise _storage_error(error, path) from error


def _write_bytes(handle: IO[bytes], data: bytes) -> None:
    handle.write(data)


def _fsync(descriptor: int) -> None:
    if _SYNCED.get():
        os.fsync(descriptor)


def _rename(source: Path, target: Path) -> None:
    os.replace(source, target)


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder for fsync
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> Path:
    """Create `path` and its parents."""
    with guard(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically and durably."""
    with guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}"
        try:
            with open(temporary, "wb") as handle:
                _write_bytes(handle, data)
                handle.flush()
                _fsync(handle.fileno())
            _rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _fsync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically and durably."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON to `path`; NaN and infinity are refused, as no JSON reader accepts them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


class AppendLog:
    """JSON lines that only grow; every line is flushed, `sync` makes them durable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with guard(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._drop_torn_tail(path)
            self._handle = open(path, "ab")  # noqa: SIM115 - closed by close()

    @staticmethod
    def _drop_torn_tail(path: Path) -> None:
        """A crash can leave half a line at the end: cut it, so that every line parses."""
        if not path.exists():
            return
        with open(path, "r+b") as handle:
            length = end = handle.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - _TAIL_BLOCK)
                handle.seek(start)
                newline = handle.read(end - start).rfind(b"\n")
                if newline >= 0:
                    end = start + newline + 1
                    break
                end = start
            if end != length:
                handle.truncate(end)

    def append(self, value: dict[str, Any]) -> None:
        """Add one line."""
        line = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
        with guard(self.path):
            _write_bytes(self._handle, line.encode("utf-8"))
            self._handle.flush()

    def sync(self) -> None:
        """Make what was appended survive a power cut."""
        with guard(self.path):
            _fsync(self._handle.fileno())

    def close(self) -> None:
        """Sync and close."""
        if not self._handle.closed:
            try:
                self.sync()
            finally:
                self._handle.close()


def _swap(temporary: Path, target: Path) -> None:
    """Put `temporary` in the place of the folder `target`; after an error `target` is where it was."""
    old = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=target.parent))
    try:
        _rename(target, old / target.name)
        try:
            _rename(temporary, target)
        except BaseException:
            _rename(old / target.name, target)
            raise
    except BaseException:
        with contextlib.suppress(OSError):
            old.rmdir()  # refuses, rightly, while the only copy of `target` is in there
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give a temporary sibling of `target`; at the end it becomes `target`, whole or not at all.

    An existing `target` is replaced. After an error the temporary folder is removed and `target`
    is untouched. Folders cannot be exchanged in one step everywhere, so a power cut between two renames
    can leave the old `target` under a temporary name beside it.
    """
    with guard(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{target.name}-", dir=target.parent))
        temporary.chmod(0o755)  # mkdtemp gives 0700, which would hide a finished model from a server's user
    try:
        yield temporary
        with guard(target):
            for folder, _, names in os.walk(temporary):
                for name in names:
                    with open(Path(folder) / name, "rb+") as handle:
                        _fsync(handle.fileno())
                _fsync_folder(Path(folder))
            if target.exists():
                _swap(temporary, target)
            else:
                _rename(temporary, target)
            _fsync_folder(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def create_array(path: Path, shape: tuple[int, ...]) -> Any:
    """A float32 array in a new .npy file, mapped into memory for writing (inside `atomic_folder`)."""
    import numpy as np

    with guard(path):
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)


def touch(path: Path) -> None:
    """Mark `path` as used now."""
    with guard(path):
        os.utime(path)


def remove_tree(path: Path) -> None:
    """Remove a folder of ours; a failed removal leaves it and is not an error of the run."""
    shutil.rmtree(path, ignore_errors=True)


def sweep(folder: Path, *, older_than_seconds: float = 0.0) -> None:
    """Remove what a crash left under a temporary name in `folder` (not followed through links).

    In a folder that several processes write to, an age keeps what another one is writing now.
    """
    if not folder.is_dir():
        return
    newest = clock.now().timestamp() - older_than_seconds
    for path in folder.iterdir():
        if path.name.startswith(TEMPORARY_PREFIX) and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):
                if older_than_seconds and path.stat().st_mtime > newest:
                    continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()


def forget_least_used(folder: Path, *, keep: Path, most_bytes: int, abandoned_seconds: float) -> None:
    """Of the caches in `folder`, one folder each, remove the least recently used above `most_bytes` in all.

    `keep` stays and counts. What a crash left goes after `abandoned_seconds`; a younger one may be another
    run's, which is writing it now.
    """
    sweep(folder, older_than_seconds=abandoned_seconds)
    others = [path for path in folder.iterdir() if path.is_dir() and path != keep]
    total = _folder_bytes(keep)
    for path in sorted(others, key=lambda path: -path.stat().st_mtime):
        total += _folder_bytes(path)
        if total > most_bytes:
            remove_tree(path)


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def free_bytes(folder: Path) -> int:
    """Free space in bytes on the volume that holds `folder` (or its nearest existing parent)."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def total_bytes(folder: Path) -> int:
    """Size of the volume that `folder` is on."""
    return shutil.disk_usage(folder).total
