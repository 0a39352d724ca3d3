"""Artefacts in an object store, through fsspec; what is read is fetched into a local cache and checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from luthier.core import durable, durable_files
from luthier.core.errors import StorageError
from luthier.jobs.artefacts import (
    MANIFEST,
    Artefacts,
    Writer,
    checked,
    copy_pieces,
    files_of,
    manifest_of,
    missing,
    read_manifest,
    sha256_of,
)

SCHEMES = {"s3": "s3", "gs": "gcs", "az": "azure", "memory": ""}
"""Schemes that are opened, and the extra that installs their driver."""
_CACHED_BYTES = 32 * 2**30
_ABANDONED_SECONDS = 3600.0


class RemoteArtefacts(Artefacts):
    """An address such as ``s3://bucket/prefix``.

    A file is one object, which stores make visible whole. A folder is its objects, then its manifest.
    """

    def __init__(self, place: str, cache: Path) -> None:
        scheme, _, root = place.partition("://")
        if scheme not in SCHEMES:
            raise StorageError(
                f"artefacts cannot be kept at {scheme}://.",
                remedy=f"Give a folder, or one of: {', '.join(f'{name}://' for name in SCHEMES)}.",
                code="unknown_scheme",
                param="artefacts",
            )
        import fsspec

        try:
            self._store: Any = fsspec.filesystem(scheme)
        except ImportError as error:
            raise StorageError(
                f"artefacts at {scheme}:// need a driver that is not installed.",
                remedy=f"pip install 'luthier[{SCHEMES[scheme]}]'",
                code="missing_package",
                param="artefacts",
            ) from error
        self._root = root.rstrip("/")
        self._cache = durable.make_folder(cache)

    def writer(self, name: str) -> Writer:
        return _RemoteWriter(self, name)

    def open_read(self, name: str) -> BinaryIO:
        with self._asking(name):
            return cast(BinaryIO, self._store.open(self._key(name), "rb"))

    def size(self, name: str) -> int:
        with self._asking(name):
            return int(self._store.size(self._key(name)))

    def delete(self, name: str) -> None:
        with self._asking(name), contextlib.suppress(FileNotFoundError):
            self._store.rm_file(self._key(name))
        durable_files.remove_file(self._cache / "files" / _flat(name))

    def local(self, name: str) -> Path:
        path = self._cache / "files" / _flat(name)
        if not path.is_file():
            with self.open_read(name) as source, durable_files.FileWriter(path) as writer, self._asking(name):
                copy_pieces(source, writer)
                writer.commit()
        return path

    def put_folder(self, name: str, folder: Path) -> None:
        manifest = manifest_of(folder)
        with self._asking(name):
            with contextlib.suppress(FileNotFoundError):  # from here on the old folder is not there
                self._store.rm_file(f"{self._key(name)}/{MANIFEST}")
            for inner in files_of(folder):
                self._store.put_file(str(folder / inner), f"{self._key(name)}/{inner}")
                if self._store.size(f"{self._key(name)}/{inner}") != manifest["files"][inner]["bytes"]:
                    raise StorageError(f"{inner} of {name} was not stored whole.", code="write_failed")
            self._store.pipe_file(f"{self._key(name)}/{MANIFEST}", json.dumps(manifest, indent=2).encode())

    def folder(self, name: str) -> Path:
        target = self._cache / "folders" / _flat(name)
        with self._asking(name):
            try:
                data = self._store.cat_file(f"{self._key(name)}/{MANIFEST}")
            except FileNotFoundError:
                durable.remove_tree(target)
                raise missing(name) from None
        if (target / MANIFEST).is_file() and (target / MANIFEST).read_bytes() == data:
            durable.touch(target)
            return target
        with durable.atomic_folder(target) as temporary:
            for inner, facts in read_manifest(data).items():
                with self._asking(name):
                    (temporary / inner).parent.mkdir(parents=True, exist_ok=True)
                    self._store.get_file(f"{self._key(name)}/{inner}", str(temporary / inner))
                if sha256_of(temporary / inner) != facts["sha256"]:
                    raise StorageError(
                        f"{inner} of {name} is not the file that was stored.",
                        remedy="Train again, or bring the object back from a backup.",
                        code="artefact_damaged",
                    )
            durable.write_bytes(temporary / MANIFEST, data)
        durable.forget_least_used(
            target.parent, keep=target, most_bytes=_CACHED_BYTES, abandoned_seconds=_ABANDONED_SECONDS
        )
        return target

    def delete_folder(self, name: str) -> None:
        with self._asking(name):
            for last in (MANIFEST, ""):
                with contextlib.suppress(FileNotFoundError):
                    self._store.rm(f"{self._key(name)}/{last}".rstrip("/"), recursive=not last)
        durable.remove_tree(self._cache / "folders" / _flat(name))

    def free_bytes(self) -> int | None:
        return None

    def sweep(self) -> int:
        return durable_files.sweep_tree(self._cache)

    def send(self, name: str, path: Path) -> None:
        """Store the local file `path` as the object `name`, and make sure that it arrived."""
        with self._asking(name):
            self._store.put_file(str(path), self._key(name))
            if self._store.size(self._key(name)) != path.stat().st_size:
                raise StorageError(f"{name} was not stored whole.", code="write_failed")

    @property
    def cache(self) -> Path:
        """Where remote things are fetched to."""
        return self._cache

    def _key(self, name: str) -> str:
        return f"{self._root}/{checked(name)}"

    @contextlib.contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        """Turn what a driver raises into a `StorageError`."""
        try:
            yield
        except StorageError:
            raise
        except FileNotFoundError:
            raise missing(name) from None
        except Exception as error:  # drivers raise their transport's own errors, which share no base class
            raise StorageError(
                f"the object store did not do it: {type(error).__name__}.",
                where=name,
                remedy="Check the address, the credentials and the network.",
                code="object_store",
            ) from error


class _RemoteWriter:
    """Pieces are gathered in a local file, so that the object appears whole or not at all."""

    def __init__(self, artefacts: RemoteArtefacts, name: str) -> None:
        self._artefacts, self._name = artefacts, checked(name)
        self._path = artefacts.cache / "outgoing" / _flat(name)
        self._writer = durable_files.FileWriter(self._path)

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def commit(self) -> tuple[int, str]:
        size, digest = self._writer.commit()
        try:
            self._artefacts.send(self._name, self._path)
        finally:
            durable_files.remove_file(self._path)
        return size, digest

    def __enter__(self) -> _RemoteWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.drop()


def _flat(name: str) -> str:
    """One name of a file or folder for an artefact's; the hash keeps ``a/b`` and ``a_b`` apart."""
    return f"{checked(name).replace('/', '_')}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
