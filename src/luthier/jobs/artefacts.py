"""Where the service keeps what is large: files, parts of uploads, models, reports. A folder, or an object store.

A name appears whole or not at all. Names are made by the server (``files/file-...``, ``models/ftjob-.../final``);
what a client sends never becomes part of one.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from luthier.core import durable, durable_files
from luthier.core.errors import StorageError

MANIFEST = "manifest.json"
"""Last written of a folder: the sha256 and bytes of each of its files. A folder without it is not there."""
_NAME = re.compile(r"[a-z]+(/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}){1,3}")
_PIECE = 2**20


class Writer(Protocol):
    """A new artefact. Used as a context manager, it is dropped unless it was committed."""

    def write(self, data: bytes) -> None: ...

    def commit(self) -> tuple[int, str]:
        """Make it appear; (bytes, sha256 in hexadecimal)."""
        ...

    def __enter__(self) -> Writer: ...

    def __exit__(self, *_: object) -> None: ...


class Artefacts(ABC):
    """The contract of both kinds. Every call raises `StorageError` (code ``disk_full`` where there is no room,
    ``artefact_missing`` where the name is not there)."""

    @staticmethod
    def open(place: str | Path, cache: Path) -> Artefacts:
        """A folder, or s3:// gs:// az:// memory:// through fsspec; `cache` is where remote things are fetched to."""
        if "://" in str(place):
            module = importlib.import_module("luthier.jobs.remote_artefacts")  # which builds on this one
            remote: Artefacts = module.RemoteArtefacts(str(place), cache)
            return remote
        return FolderArtefacts(Path(place))

    @abstractmethod
    def writer(self, name: str) -> Writer:
        """Begin the file `name`; an earlier one is replaced at `commit`."""

    @abstractmethod
    def open_read(self, name: str) -> BinaryIO:
        """The bytes of the file `name`."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of the file `name`."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove the file `name`; one that is not there is no error."""

    @abstractmethod
    def local(self, name: str) -> Path:
        """The file `name` on this machine."""

    @abstractmethod
    def put_folder(self, name: str, folder: Path) -> None:
        """Keep a copy of `folder`, which nobody changes any more, as `name`; an earlier one is replaced."""

    @abstractmethod
    def folder(self, name: str) -> Path:
        """The folder `name` on this machine."""

    @abstractmethod
    def delete_folder(self, name: str) -> None:
        """Remove the folder `name`; one that is not there is no error."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Room on the volume; None where that cannot be known."""

    @abstractmethod
    def sweep(self) -> int:
        """Remove what a crash left half-written; how many things that were. Nobody may be writing."""


class FolderArtefacts(Artefacts):
    """Artefacts in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        durable_files.make_folders(root)

    def writer(self, name: str) -> Writer:
        return durable_files.FileWriter(self._path(name))

    def open_read(self, name: str) -> BinaryIO:
        return open(self.local(name), "rb")

    def size(self, name: str) -> int:
        return self.local(name).stat().st_size

    def delete(self, name: str) -> None:
        durable_files.remove_file(self._path(name))

    def local(self, name: str) -> Path:
        path = self._path(name)
        if not path.is_file():
            raise missing(name)
        return path

    def put_folder(self, name: str, folder: Path) -> None:
        target = self._path(name)
        durable_files.make_folders(target.parent)
        with durable.atomic_folder(target) as temporary:
            for inner in files_of(folder):
                durable_files.link_or_copy(folder / inner, temporary / inner)
            durable.write_json(temporary / MANIFEST, manifest_of(folder))

    def folder(self, name: str) -> Path:
        path = self._path(name)
        if not (path / MANIFEST).is_file():
            raise missing(name)
        return path

    def delete_folder(self, name: str) -> None:
        path = self._path(name)
        durable_files.remove_file(path / MANIFEST)  # first, so that half a folder is none
        durable.remove_tree(path)

    def free_bytes(self) -> int | None:
        return durable.free_bytes(self.root)

    def sweep(self) -> int:
        return durable_files.sweep_tree(self.root)

    def _path(self, name: str) -> Path:
        return self.root / checked(name)


def checked(name: str) -> str:
    """`name`, when it is one of ours."""
    if not _NAME.fullmatch(name):
        raise StorageError(f"{name!r} is no name of an artefact.", code="artefact_name")
    return name


def missing(name: str) -> StorageError:
    """There is no such artefact."""
    return StorageError(f"the artefact {name} is not there.", code="artefact_missing")


def files_of(folder: Path) -> list[str]:
    """Files below `folder`, sorted, as relative names; links are not followed."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(path.relative_to(folder).as_posix() for path in found if path != folder / MANIFEST)


def manifest_of(folder: Path) -> dict[str, Any]:
    """What `MANIFEST` says of a folder."""
    return {"files": {name: _facts(folder / name) for name in files_of(folder)}}


def read_manifest(data: bytes) -> dict[str, dict[str, Any]]:
    """Bytes and sha256 by file name. Raises `StorageError` where it is broken, or names what would leave its folder."""
    try:
        value = json.loads(data)["files"]
        sound = all(type(facts["bytes"]) is int and isinstance(facts["sha256"], str) for facts in value.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise StorageError("a manifest is broken.", remedy="Upload or train it again.", code="artefact_broken")
    files: dict[str, dict[str, Any]] = value
    for name in files:
        parts = name.split("/")
        if not name or name.startswith("/") or "\\" in name or any(part in ("", ".", "..") for part in parts):
            raise StorageError(f"a manifest names the file {name!r}.", code="artefact_name")
    return files


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def copy_pieces(source: BinaryIO, writer: Writer) -> None:
    """All of `source` into `writer`."""
    while data := source.read(_PIECE):
        writer.write(data)


def _facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
