"""The part of `core.durable` that the service needs: files in pieces, second names, sweeping, locks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from luthier.core import durable
from luthier.core.errors import StorageError


def make_folders(path: Path) -> None:
    """Create `path` and its parents so that a power cut does not take them away again."""
    with durable.guard(path):
        missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            durable._fsync_folder(folder.parent)


class FileWriter:
    """A file that comes in pieces, and appears whole at `commit` or not at all.

    As a context manager it drops what was not committed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = hashlib.sha256()
        self.bytes = 0
        with durable.guard(path):
            make_folders(path.parent)
            descriptor, name = tempfile.mkstemp(prefix=f"{durable.TEMPORARY_PREFIX}{path.name[:100]}-", dir=path.parent)
        self._temporary: Path | None = Path(name)
        self._handle = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> None:
        """Add a piece."""
        with durable.guard(self._path):
            durable._write_bytes(self._handle, data)
        self._hash.update(data)
        self.bytes += len(data)

    def commit(self) -> tuple[int, str]:
        """Make it durable under its name; (bytes, sha256 in hexadecimal)."""
        assert self._temporary is not None, "already committed or dropped"
        with durable.guard(self._path):
            self._handle.flush()
            durable._fsync(self._handle.fileno())
            self._handle.close()
            durable._rename(self._temporary, self._path)
            self._temporary = None
            durable._fsync_folder(self._path.parent)
        return self.bytes, self._hash.hexdigest()

    def drop(self) -> None:
        """Forget what was written, unless it was committed."""
        with contextlib.suppress(OSError):
            self._handle.close()  # flushes, which a full disk refuses
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            self._temporary = None

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()


def remove_file(path: Path) -> None:
    """Remove a file; one that is not there is no error."""
    with durable.guard(path):
        path.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """The same bytes under a second name: a hard link where the file system has them, else a copy.

    Only for files that nobody changes in place."""
    with durable.guard(target):
        make_folders(target.parent)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            with open(source, "rb") as reading, FileWriter(target) as writer:
                while data := reading.read(2**20):
                    writer.write(data)
                writer.commit()


def open_log(path: Path) -> BinaryIO:
    """A file for the standard error of a process of ours; what it held before is gone, and only we may read it."""
    with durable.guard(path):
        make_folders(path.parent)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def sweep_tree(folder: Path) -> int:
    """Remove everything under a temporary name below `folder`, never through links; how many there were."""
    found = 0
    for place, folders, files in os.walk(folder, followlinks=False):
        for name in [name for name in (*folders, *files) if name.startswith(durable.TEMPORARY_PREFIX)]:
            path = Path(place) / name
            if path.is_symlink() or not path.is_dir():
                with contextlib.suppress(OSError):
                    path.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)
            found += 1
        folders[:] = [name for name in folders if not name.startswith(durable.TEMPORARY_PREFIX)]
    return found


def private_folder(path: Path) -> bool:
    """Create `path` for its owner alone (0700), or close it where it is empty; whether it is closed."""
    with durable.guard(path):
        if not path.is_dir():
            make_folders(path)
            path.chmod(0o700)
        elif path.stat().st_mode & 0o077 and not any(path.iterdir()):
            path.chmod(0o700)
        return not path.stat().st_mode & 0o077


def private_file(path: Path) -> None:
    """Make sure that `path` is there and that only its owner may read it, before a library opens it."""
    with durable.guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        if new:
            durable._fsync_folder(path.parent)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of this file, after waiting for it; the kernel lets go when the process ends, however it ends."""
    import fcntl  # not on Windows, where nothing that locks is run

    with durable.guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with durable.guard(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class ProcessLock:
    """A file that one holder at a time can lock; the kernel lets go when its process ends, however it ends.

    The file says who holds it: the process id, and `note`.

    Raises:
        StorageError: somebody else holds it (code ``in_use``); the message names the process.
    """

    def __init__(self, path: Path, *, what: str, note: str = "") -> None:
        import fcntl  # not on Windows, where nothing that locks is run

        self.path = path
        with durable.guard(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()} {note}".rstrip().encode() + b"\n", 0)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StorageError(
                f"{what} is in use by another process{f' ({holder})' if holder else ''}.",
                where=str(path),
                remedy="Stop that process, or choose another folder.",
                code="in_use",
            ) from error
        except OSError as error:
            os.close(self._descriptor)
            raise durable._storage_error(error, path) from error

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def append_line(path: Path, line: str, *, most_bytes: int) -> None:
    """Add one line to a file that several processes add to, durably; above `most_bytes` the older half goes.

    Half a line that a crash left is closed first, so that it spoils no other.
    """
    with durable.guard(path):
        make_folders(path.parent)
        with _locked(path.with_name(path.name + ".lock")), open(path, "a+b") as handle:
            size = handle.seek(0, os.SEEK_END)
            if size:
                handle.seek(size - 1)
            torn = bool(size) and handle.read(1) != b"\n"
            durable._write_bytes(handle, (b"\n" if torn else b"") + line.encode("utf-8") + b"\n")
            handle.flush()
            durable._fsync(handle.fileno())
            if handle.tell() > most_bytes:
                handle.seek(handle.tell() - most_bytes // 2)
                durable.write_bytes(path, handle.read().partition(b"\n")[2])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One at a time; a machine without locks of this kind goes on without."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
