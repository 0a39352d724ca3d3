"""Activations below the lowest trained layer, computed once and read in all later epochs and runs.

Exact: nothing below that boundary trains, and there is no dropout there. The file is named by a
hash of everything its content depends on, so a stale one cannot be met (Soup#1067).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.core import durable
from luthier.data.packing import plan_inference
from luthier.data.tokens import TokenTable, fingerprint
from luthier.train.collate import collate, flat_index
from luthier.train.forward import Forward

FORMAT = 1
DISK_SHARE = 0.25
"""Of the free space, at most this much for one cache."""
KEEP_BYTES = 20 << 30
"""All caches together; the least recently used go first."""
ABANDONED_SECONDS = 86_400.0
"""A temporary folder of this age is not being written any more; a younger one may be another run's."""


def cache_folder() -> Path:
    """``$LUTHIER_CACHE`` or the user's cache folder."""
    chosen = os.environ.get("LUTHIER_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "luthier" / "trunk"


class TrunkCache:
    """Vectors per row or token of one table, memory-mapped, float32 [items, D]."""

    def __init__(self, array: NDArray[np.float32], table: TokenTable, per_token: bool, reused: bool) -> None:
        self._array = array
        self._table = table
        self._per_token = per_token
        self.reused = reused

    def rows(self, rows: NDArray[np.int64]) -> Tensor:
        """The vectors of `rows`, in the order of their stream."""
        index = flat_index(self._table.starts, rows) if self._per_token else rows
        return torch.from_numpy(self._array[index])

    @classmethod
    def open(
        cls,
        forward: Forward,
        table: TokenTable,
        *,
        base: dict[str, Any],
        batch_size: int,
        max_tokens: int,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> TrunkCache | None:
        """Read or compute the cache; None where nothing is frozen or the disk has no room."""
        if forward.boundary < 1:
            return None
        per_token = forward.cached_per_token
        shape = (len(table.ids) if per_token else len(table), int(forward.model.config.hidden_size))
        need = shape[0] * shape[1] * 4
        root = cache_folder()
        if need > DISK_SHARE * durable.free_bytes(root):
            return None
        folder = cls.place(forward, table, base=base, batch_size=batch_size, max_tokens=max_tokens)
        reused = (folder / "vectors.npy").is_file()
        if reused:
            durable.touch(folder)
        else:
            cls._compute(forward, table, folder, shape, batch_size, max_tokens, on_progress)
            durable.forget_least_used(
                root, keep=folder, most_bytes=KEEP_BYTES, abandoned_seconds=ABANDONED_SECONDS
            )
        array = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        return cls(array, table, per_token, reused)

    @staticmethod
    def place(
        forward: Forward, table: TokenTable, *, base: dict[str, Any], batch_size: int, max_tokens: int
    ) -> Path:
        """The folder of the cache of `table`, whether it is there or not."""
        model = forward.model
        whole = forward.boundary == len(model.layers)
        key = fingerprint(
            FORMAT, base, table.fingerprint(), forward.boundary, model.pooling if whole else "",
            model.task == "extract", model.precision, forward.way, str(forward.device.type), torch.__version__,
            batch_size, max_tokens, torch.get_num_threads(),
        )  # fmt: skip
        return cache_folder() / key

    @staticmethod
    def _compute(
        forward: Forward,
        table: TokenTable,
        folder: Path,
        shape: tuple[int, int],
        batch_size: int,
        max_tokens: int,
        on_progress: Callable[[int, int], None],
    ) -> None:
        training = forward.model.training
        forward.model.eval()
        done = 0
        with durable.synced(True), durable.atomic_folder(folder) as temporary:  # others read it, whoever makes it
            array = durable.create_array(temporary / "vectors.npy", shape)
            for rows in plan_inference(table.lengths, batch_size, max_tokens):
                vectors = forward.at_boundary(collate(table, rows, per_token=forward.targets_per_token))
                index = flat_index(table.starts, rows) if forward.cached_per_token else rows
                array[index] = vectors.numpy()
                done += len(rows)
                on_progress(done, len(table))
            array.flush()
        forward.model.train(training)
