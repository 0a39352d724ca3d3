"""Where bytes come from: files, folders, globs and URLs, compressed or not."""

from __future__ import annotations

import contextlib
import glob
import gzip
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from luthier.core.errors import DataError, nearest

EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "http": "http",
    "https": "http",
    "memory": "",
    "file": "",
}
"""URL schemes that are opened, and the extra that installs their driver. Others are refused: fsspec
also knows chained and remote-shell schemes that a data file's name should never start."""

DATA_ENDINGS = (
    ".jsonl",
    ".ndjson",
    ".json",
    ".csv",
    ".tsv",
    ".tab",
    ".psv",
    ".parquet",
    ".pq",
    ".conll",
    ".bio",
    ".iob",
    ".iob2",
)
TEXT_ENDINGS = (".txt", ".text")
PROSE_ENDINGS = (*TEXT_ENDINGS, ".md", ".markdown", ".rst")
"""Plain text to go on with, where the task is complete."""
_GZIP = b"\x1f\x8b"


def scheme(path: str) -> str:
    """The URL scheme of `path`, or "" for a local path."""
    return path.split("://", 1)[0].lower() if "://" in path else ""


def plain_name(path: str) -> str:
    """The file name in lower case, without ``.gz``."""
    return path.rsplit("/", 1)[-1].lower().removesuffix(".gz")


def local(path: str) -> str:
    """`path` without ``file://``."""
    return path[len("file://") :] if scheme(path) == "file" else path


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn what opening or reading `path` can raise into a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise _not_found(path) from None
    except PermissionError:
        raise DataError(
            "there is no permission to read this.",
            where=path,
            remedy="Check who may read it.",
            code="no_permission",
        ) from None
    except OSError as error:
        raise DataError(
            f"this cannot be read: {error.strerror or error}.",
            where=path,
            remedy="Check the path and the disk.",
            code="unreadable",
        ) from None


def _not_found(path: str) -> DataError:
    hint = ""
    if not scheme(path) or scheme(path) == "file":
        folder = Path(local(path)).parent
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")][:1000]
        close = nearest(Path(local(path)).name, names) if names else ""
        found = names and close.startswith("Did")
        hint = f"{close.removesuffix('?')} (in {folder})?" if found else f"Nothing like it is in {folder}."
    return DataError(
        "there is no such file or folder.", where=path, remedy=hint or "Check the address.", code="not_found"
    )


def _filesystem(path: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    name = scheme(path)
    if name not in EXTRAS or "::" in path:
        raise DataError(
            f"addresses that begin with {name}:// are not read.",
            where=path,
            remedy="Use a local path, or one of " + ", ".join(f"{known}://" for known in EXTRAS) + ".",
            code="unknown_scheme",
        )
    import fsspec

    try:
        filesystem, inner = fsspec.core.url_to_fs(path)
    except ImportError:
        raise DataError(
            f"the driver for {name}:// is not installed.",
            where=path,
            remedy=f"Install it: pip install 'luthier[{EXTRAS[name]}]'.",
            code="missing_driver",
        ) from None
    return filesystem, inner


@contextlib.contextmanager
def _remote(path: str) -> Iterator[None]:
    """Drivers raise the exceptions of their own SDKs, which have no common root."""
    try:
        with _reading(path):
            yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"this address cannot be read: {type(error).__name__}: {error}.",
            where=path,
            remedy="Check the address, the network and the credentials that its driver expects.",
            code="unreachable",
        ) from error


def expand(source: str | list[str], *, texts: tuple[str, ...] = TEXT_ENDINGS) -> list[str]:
    """The files that `source` means, in order; a folder or a glob gives its files sorted by path.

    Args:
        texts: endings of plain text, which a folder gives where it holds no other data.

    Raises:
        DataError: `not_found` names the nearest names in the folder; `no_files` when a folder or a
            glob holds nothing that is data.
    """
    if not isinstance(source, str):
        return [path for item in source for path in expand(item, texts=texts)]
    if scheme(source) not in ("", "file"):
        return _expand_url(source, texts)
    path = local(source)
    if os.path.isdir(path):
        with _reading(source):
            files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
        return _data_files(source, files, path, texts)
    if os.path.lexists(path) or not glob.has_magic(path):
        with _reading(source):
            os.stat(path)
        return [path]
    found = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
    if not found:
        raise DataError(
            "no file matches this pattern.",
            where=source,
            remedy="Check the pattern; quote it in a shell.",
            code="no_files",
        )
    return found


def holds_data(folder: str) -> bool:
    """Whether a local folder holds a data or text file that `expand` would give."""
    files = (os.path.join(path, name) for path, _, names in os.walk(folder) for name in names)
    return any(plain_name(path).endswith((*DATA_ENDINGS, *TEXT_ENDINGS)) for path in _shown(files, folder))


def _shown(files: Iterable[str], root: str) -> list[str]:
    """Those that are not hidden, sorted by path."""
    return sorted(
        path
        for path in files
        if not any(part.startswith((".", "_")) for part in path[len(root) :].replace(os.sep, "/").split("/"))
    )


def _expand_url(source: str, texts: tuple[str, ...]) -> list[str]:
    filesystem, inner = _filesystem(source)
    with _remote(source):
        if glob.has_magic(inner) and scheme(source) not in ("http", "https"):
            found = sorted(filesystem.unstrip_protocol(name) for name in filesystem.glob(inner))
            if not found:
                raise DataError(
                    "no file matches this pattern.",
                    where=source,
                    remedy="Check the pattern.",
                    code="no_files",
                )
            return found
        if filesystem.isfile(inner):
            return [source]
        if scheme(source) not in ("http", "https") and filesystem.isdir(inner):
            files = [filesystem.unstrip_protocol(name) for name in filesystem.find(inner)]
            return _data_files(source, files, filesystem.unstrip_protocol(inner), texts)
    raise _not_found(source)


def _data_files(source: str, files: list[str], root: str, endings: tuple[str, ...]) -> list[str]:
    """Of all files below a folder the data: hidden ones never, text files only if there is nothing else."""
    shown = _shown(files, root)
    data = [path for path in shown if plain_name(path).endswith(DATA_ENDINGS)]
    texts = [path for path in shown if plain_name(path).endswith(endings)]
    if not data and not texts:
        raise DataError(
            "this folder holds no data files.",
            where=source,
            remedy="Data files end in " + ", ".join((*DATA_ENDINGS, *endings)) + " (or with .gz after it).",
            code="no_files",
        )
    return data or texts


class _Raw(io.RawIOBase):
    """Any object with `read` as a raw stream, so that `io.BufferedReader` gives fast lines."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def open_stored(path: str) -> Iterator[BinaryIO]:
    """The bytes as they are stored (a compressed file stays compressed), seekable where the store allows."""
    if scheme(path) in ("", "file"):
        with _reading(path), open(local(path), "rb") as stream:
            yield stream
        return
    filesystem, inner = _filesystem(path)
    with _remote(path), filesystem.open(inner, "rb") as stream:
        yield cast(BinaryIO, stream)


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[BinaryIO]:
    """The bytes that `path` means: gzip is recognised by its first bytes and opened.

    Raises:
        DataError: not found, not readable, or the driver's extra is not installed.
    """
    with open_stored(path) as stored:
        stream = io.BufferedReader(_Raw(stored), 1 << 18)
        if stream.peek(2)[:2] == _GZIP:
            with gzip.GzipFile(fileobj=stream) as unpacked:
                yield cast(BinaryIO, io.BufferedReader(_Raw(unpacked), 1 << 18))
        else:
            yield cast(BinaryIO, stream)


def sha256(path: str) -> str:
    """The SHA-256 of the stored bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open_stored(path) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def size(path: str) -> int:
    """The number of stored bytes."""
    if scheme(path) in ("", "file"):
        with _reading(path):
            return os.stat(local(path)).st_size
    filesystem, inner = _filesystem(path)
    with _remote(path):
        return int(filesystem.size(inner) or 0)
