"""Where a data set comes from: an uploaded file, a path that the operator allows, an address, a shipped example."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from luthier.core import durable, durable_files
from luthier.data.shipped_examples import examples
from luthier.jobs.ids import new_id, random_characters
from luthier.jobs.records import Identity, StoredFile
from luthier.server import data_children, store_call
from luthier.server.errors import ApiError
from luthier.server.openai.answers import now, shown
from luthier.server.openai.files import clean_filename, refuse_archive, room_for
from luthier.server.openai.job_making import usable_file
from luthier.server.state import AppState

_PIECE = 2**20
_FETCH_SECONDS = 900.0


def view_name(file_id: str) -> str:
    """The artefact that is the view of a file."""
    return f"views/{file_id}"


@dataclass
class Brought:
    """The file of a new data set.

    Attributes:
        new: the files that the store does not know yet; their bytes are there.
        origin: how it came about, for the version's record.
        name: what to call the data set where nobody says.
    """

    file: StoredFile
    origin: dict[str, Any]
    name: str
    new: list[StoredFile] = field(default_factory=list)
    test: StoredFile | None = None

    def drop(self, state: AppState) -> None:
        """Remove the bytes of the new files: they are not recorded."""
        for file in self.new:
            state.artefacts.delete_folder(view_name(file.id))
            state.artefacts.delete(file.artefact)


async def bring_upload(state: AppState, caller: Identity, file_id: str) -> Brought:
    """A file that was uploaded before."""
    file = await store_call.run(usable_file, state, caller, file_id, "file_id")
    return Brought(file, {"kind": "file", "filename": file.filename}, Path(file.filename).stem or file.filename)


async def bring_path(state: AppState, caller: Identity, path: str) -> Brought:
    """A file of this machine, out of a folder that the operator allows."""
    largest, too_large = await room_for(state, caller, state.settings.max_file_bytes)

    def copy() -> StoredFile:
        with _allowed(state, path) as stream:
            return store_stream(state, caller, stream, os.path.basename(path), largest, too_large, "path")

    file = await store_call.run(copy)
    return Brought(file, {"kind": "path", "path": path}, Path(file.filename).stem, [file])


async def bring_url(state: AppState, caller: Identity, url: str) -> Brought:
    """What an address gives, if the operator allows addresses."""
    if not state.settings.allow_data_urls:
        raise ApiError(
            403, "This server fetches nothing from addresses. Upload the file, or start it with --allow-data-urls.",
            param="url", code="urls_not_allowed",
        )  # fmt: skip
    largest, too_large = await room_for(state, caller, state.settings.max_file_bytes)
    with temporary_folder(state) as folder:
        request = {"url": url, "path": str(folder / "fetched"), "most_bytes": largest}
        async with data_children.turn(state):
            told = await data_children.ask("luthier.jobs.url_fetch", request, param="url", seconds=_FETCH_SECONDS)
        error = told.get("error")
        if error is not None:
            raise ApiError(400, str(error["message"]), param="url", code=error["code"])

        def adopt() -> StoredFile:
            with open(folder / "fetched", "rb") as stream:
                return store_stream(state, caller, stream, str(told["filename"]), largest, too_large, "url")

        file = await store_call.run(adopt)
    return Brought(file, {"kind": "url", "url": url}, Path(file.filename).stem, [file])


async def bring_example(state: AppState, caller: Identity, name: str) -> Brought:
    """A shipped example: its training rows, and beside them those that a run is tested on."""
    found = next((one for one in await store_call.run(examples) if one.name == name), None)
    if found is None:
        raise ApiError(404, f"There is no example {shown(name)!r}. GET /luthier/v1/examples lists them.",
                       param="example", code="example_not_found")  # fmt: skip
    largest, too_large = await room_for(state, caller, state.settings.max_file_bytes)

    def copy(path: Path) -> StoredFile:
        filename = f"{name}-{path.name}"
        with open(path, "rb") as stream:
            return store_stream(state, caller, stream, filename, largest, too_large, "example")

    train = await store_call.run(copy, found.train)
    brought = Brought(train, {"kind": "example", "example": name}, name, [train])
    try:
        brought.test = await store_call.run(copy, found.test)
    except BaseException:
        brought.drop(state)
        raise
    brought.new.append(brought.test)
    return brought


def store_stream(
    state: AppState, caller: Identity, stream: BinaryIO, name: str, largest: int, too_large: ApiError, param: str
) -> StoredFile:
    """Keep what a stream gives, counted as it comes; blocks. The store does not know the file yet."""
    file_id = new_id("file-")
    with state.artefacts.writer(f"files/{file_id}") as writer:
        total = 0
        while piece := stream.read(_PIECE):
            if not total:
                refuse_archive(piece, param)
            total += len(piece)
            if total > largest:
                raise ApiError(413, too_large.message, param=param, code=too_large.code)
            writer.write(piece)
        if not total:
            raise ApiError(400, "The file is empty.", param=param, code="empty_file")
        size, sha256 = writer.commit()
    filename = clean_filename(name) or "data.jsonl"
    return StoredFile(file_id, caller.project_id, filename, "fine-tune", size, sha256, f"files/{file_id}", now())


@contextmanager
def temporary_folder(state: AppState) -> Iterator[Path]:
    """A folder that is gone after the block; what a crash leaves is swept with other such folders."""
    folder = state.settings.home / "work" / f"{durable.TEMPORARY_PREFIX}{random_characters(16)}"
    durable_files.make_folders(folder)
    try:
        yield folder
    finally:
        durable.remove_tree(folder)


@contextmanager
def _allowed(state: AppState, path: str) -> Iterator[BinaryIO]:
    """The opened file, which is a plain one and lies in an allowed folder, wherever links lead.

    What is opened is looked at, not its name: a link that is changed in between opens nothing else.
    """
    folders = state.settings.data_folders
    if not folders:
        raise ApiError(
            403, "This server reads no files by their path. Upload the file, or start it with --data-folder.",
            param="path", code="paths_not_allowed",
        )  # fmt: skip
    missing = ApiError(404, "There is no such file in the folders that this server may read.", param="path",
                       code="path_not_found")  # fmt: skip
    if not os.path.isabs(path) or not _inside(os.path.realpath(path), folders):
        raise missing
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        raise missing from None
    opened = f"/proc/self/fd/{descriptor}" if sys.platform == "linux" else path
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not _inside(os.path.realpath(opened), folders):
        os.close(descriptor)
        raise missing
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def _inside(path: str, folders: tuple[Path, ...]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)
