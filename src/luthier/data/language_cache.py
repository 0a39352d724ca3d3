"""Tokenised tables on disk, named by a hash of everything that they depend on.

A stale one cannot be met: another file, template, tokenizer or setting has another name (Soup#1067).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luthier.core import durable
from luthier.data.templates.rendered import Renderer
from luthier.data.tokens import TokenTable, fingerprint

FORMAT = 1
DISK_SHARE = 0.25
"""Of the free space, at most this much for one table."""
KEEP_BYTES = 4 << 30
"""All tables together; the least recently used go first."""
ABANDONED_SECONDS = 86_400.0
"""A temporary folder of this age is not being written any more; a younger one may be another run's."""
_ARRAYS = ("ids", "types", "starts", "targets", "target_starts", "weights")
_COUNTS = ("cut", "dropped", "longest", "answers_cut", "without_targets")


def language_key(
    renderer: Renderer,
    *,
    data_sha256: str | Sequence[str],
    max_length: int,
    truncate: str,
    seed: int = 0,
    part: str = "",
) -> tuple[Any, ...]:
    """What a table depends on. `renderer.fingerprint` holds tokenizer, template, learn and fill-in-the-middle;
    `seed` is that of the split, `part` the part of it (train, validation)."""
    return (data_sha256, renderer.fingerprint, max_length, truncate, seed, part)


def cached_language_table(key_parts: Sequence[Any], make: Callable[[], TokenTable], folder: Path) -> TokenTable:
    """Read the table of this key from `folder`, memory-mapped, or make and write it.

    Only tables without what `keep` adds can be cached. Where the disk has no room, the table is made
    and not written.
    """
    target = folder / fingerprint(FORMAT, *key_parts)
    if not (target / "counts.json").is_file():
        table = make()
        arrays = {name: getattr(table, name) for name in _ARRAYS}
        if sum(array.nbytes for array in arrays.values()) > DISK_SHARE * durable.free_bytes(folder):
            return table
        with durable.synced(True), durable.atomic_folder(target) as temporary:  # others read it, whoever makes it
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                durable.write_bytes(temporary / f"{name}.npy", buffer.getvalue())
            durable.write_json(temporary / "counts.json", {name: int(getattr(table, name)) for name in _COUNTS})
        durable.forget_least_used(
            folder, keep=target, most_bytes=KEEP_BYTES, abandoned_seconds=ABANDONED_SECONDS
        )
    else:
        durable.touch(target)
    found = {name: np.load(target / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    counts = json.loads((target / "counts.json").read_text(encoding="utf-8"))
    return TokenTable(**found, **counts, references=[], encoded=[], texts=[])
