"""Which rows make which step: plans of indices only.

The order is a pure function of (seed, epoch), so there is no state to save: a run that resumes
computes the same plan and goes on at its position.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WINDOW_STEPS = 50
"""Steps whose rows are sorted by length together: short and long rows meet their like, and the
order stays random over the epoch (as `group_by_length` of transformers does)."""


def plan_epoch(
    lengths: NDArray[np.int64], rows_per_step: int, *, seed: int, epoch: int, longest_first: bool = False
) -> list[NDArray[np.int64]]:
    """Row indices of every optimizer step of one epoch; each row exactly once.

    Rows are shuffled, sorted by length within windows of `WINDOW_STEPS` steps, cut into steps, and
    the steps shuffled. With `longest_first` the step that holds the longest row comes first: if it
    fits into memory, every later one does (litgpt#159, trl#1626). The last step may be smaller.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(len(lengths))
    window = rows_per_step * WINDOW_STEPS
    sorted_rows = [
        part[np.argsort(-lengths[part], kind="stable")]
        for part in (order[begin : begin + window] for begin in range(0, len(order), window))
    ]
    steps = [
        part[begin : begin + rows_per_step] for part in sorted_rows for begin in range(0, len(part), rows_per_step)
    ]
    shuffled = [steps[index] for index in generator.permutation(len(steps))]
    if longest_first and shuffled:
        costs = [int(lengths[step].max()) * len(step) for step in shuffled]
        longest = max(range(len(shuffled)), key=lambda index: (int(lengths[shuffled[index]].max()), costs[index]))
        shuffled.insert(0, shuffled.pop(longest))
    return shuffled


def split_step(
    rows: NDArray[np.int64], lengths: NDArray[np.int64], batch_size: int, max_tokens: int
) -> list[NDArray[np.int64]]:
    """Cut a step's rows into micro-batches of at most `batch_size` rows and `max_tokens` padded tokens.

    A row longer than `max_tokens` stands alone. The step divides its loss once by all its targets,
    so where it is cut does not change the gradient.
    """
    batches: list[NDArray[np.int64]] = []
    begin = 0
    while begin < len(rows):
        end, widest = begin, 0
        while end < len(rows) and end - begin < batch_size:
            wider = max(widest, int(lengths[rows[end]]))
            if end > begin and wider * (end - begin + 1) > max_tokens:
                break
            widest, end = wider, end + 1
        batches.append(rows[begin:end])
        begin = end
    return batches


def plan_inference(lengths: NDArray[np.int64], batch_size: int, max_tokens: int) -> list[NDArray[np.int64]]:
    """Batches for a pass without gradients: longest first, so that memory peaks at the start."""
    order = np.argsort(-lengths, kind="stable")
    return split_step(order, lengths, batch_size, max_tokens)


def stream_starts(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Where each row begins in the unpadded stream, and the total: [rows + 1]."""
    return np.concatenate(([0], np.cumsum(np.asarray(lengths, np.int64)))).astype(np.int64)


def pack_step(
    rows: NDArray[np.int64], lengths: NDArray[np.int64], most_rows: int, max_tokens: int
) -> list[NDArray[np.int64]]:
    """A step's rows as unpadded packs of at most `max_tokens` tokens: best-fit decreasing (Johnson 1974).

    A row longer than `max_tokens` stands alone; the order of rows inside a step does not matter.
    """
    packs: list[list[int]] = []
    room: list[int] = []
    for row in sorted((int(row) for row in rows), key=lambda row: -int(lengths[row])):
        need = int(lengths[row])
        fitting = [(left, i) for i, left in enumerate(room) if left >= need and len(packs[i]) < most_rows]
        if fitting:
            _, at = min(fitting)
            packs[at].append(row)
            room[at] -= need
        else:
            packs.append([row])
            room.append(max_tokens - need)
    return [np.asarray(pack, np.int64) for pack in packs]
