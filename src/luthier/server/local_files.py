"""Stored files under names that say what is in them, for programs that read a file by its ending."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from luthier.core import durable, durable_files
from luthier.jobs.ids import random_characters
from luthier.jobs.recipes import local_name
from luthier.jobs.records import StoredFile
from luthier.server.state import AppState


@contextmanager
def local_files(state: AppState, files: Sequence[StoredFile]) -> Iterator[list[Path]]:
    """A path for each file, until the end of the block; blocks. What a crash leaves is swept with other such folders.

    Of the client's name only a known ending is kept.
    """
    folder = state.settings.home / "work" / f"{durable.TEMPORARY_PREFIX}{random_characters(16)}"
    try:
        paths = [folder / local_name(number, file) for number, file in enumerate(files)]
        for file, path in zip(files, paths, strict=True):
            durable_files.link_or_copy(state.artefacts.local(file.artefact), path)
        yield paths
    finally:
        durable.remove_tree(folder)
