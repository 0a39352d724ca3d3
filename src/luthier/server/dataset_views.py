"""The views of data sets' files: made when a data set is, and again where one was lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from luthier.core.errors import StorageError
from luthier.data.row_view import RowView
from luthier.jobs.page_records import DatasetVersion
from luthier.jobs.records import Identity, StoredFile
from luthier.server import data_children, store_call
from luthier.server.dataset_sources import temporary_folder, view_name
from luthier.server.errors import ApiError
from luthier.server.local_files import local_files
from luthier.server.openai.files import find_file
from luthier.server.state import AppState

_ROOM = 64 * 2**20
_EXPANSION = 100
"""Rows of a compressed format (Parquet) may take so many times the file's bytes, and no more."""


async def make_view(state: AppState, file: StoredFile, param: str) -> dict[str, Any]:
    """Read a file and keep its view; gives `format`, `task`, `rows`, `columns`.

    Raises:
        ApiError: 400 where it is no data.
    """
    most = min(state.settings.max_file_bytes, _EXPANSION * file.bytes + _ROOM)
    async with data_children.turn(state):
        copies = local_files(state, [file])
        [path] = await store_call.run(copies.__enter__)
        try:
            with temporary_folder(state) as folder:
                request = {"path": str(path), "folder": str(folder), "most_bytes": most,
                           "names": {str(path): file.filename}}  # fmt: skip
                told = await data_children.ask(
                    "luthier.jobs.dataset_reading", request, param=param, seconds=data_children.READING_SECONDS
                )
                error = told.get("error")
                if error is not None:
                    raise ApiError(400, str(error["message"]), param=param, code=error["code"])
                await store_call.run(state.artefacts.put_folder, view_name(file.id), folder)
        finally:
            await asyncio.shield(store_call.run(copies.__exit__, None, None, None))
    return told


async def open_view(state: AppState, caller: Identity, version: DatasetVersion) -> RowView:
    """The view of a version's file."""
    file = await store_call.run(find_file, state, caller, version.file_id)
    try:
        return await store_call.run(_opened, state, file)
    except StorageError as error:
        if error.code != "artefact_missing":
            raise
    await make_view(state, file, "version")
    return await store_call.run(_opened, state, file)


def _opened(state: AppState, file: StoredFile) -> RowView:
    folder: Path = state.artefacts.folder(view_name(file.id))
    return RowView(folder, state.artefacts.local(file.artefact))
