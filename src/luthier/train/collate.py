"""The third stage of the data: planned rows become one batch of tensors, unpadded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from luthier.data.tokens import TokenTable


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows as one stream of T tokens.

    `targets` and `weights` are per row ([B], [B, C]; [B]) or per token ([T]; [T]); `weight_sum` is
    the batch's share of what the step divides by.
    """

    rows: NDArray[np.int64]
    ids_T: Tensor
    types_T: Tensor
    lengths: Tensor
    targets: Tensor
    weights: Tensor
    weight_sum: float

    @property
    def num_tokens(self) -> int:
        """Real tokens; there is no padding in a stream."""
        return len(self.ids_T)

    def padded(self, pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
        """(input_ids, attention_mask, token_type_ids), each [B, L]."""
        longest = int(self.lengths.max())
        mask = torch.arange(longest) < self.lengths.unsqueeze(1)
        ids = torch.full(mask.shape, pad_id, dtype=torch.long)
        types = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask], types[mask] = self.ids_T, self.types_T
        return ids, mask.long(), types


def flat_index(starts: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the rows' items in a flat array."""
    return np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])


def collate(table: TokenTable, rows: NDArray[np.int64], per_token: bool) -> Batch:
    """Gather `rows` of the table."""
    index = flat_index(table.starts, rows)
    target_index = flat_index(table.target_starts, rows)
    targets = torch.from_numpy(table.targets[target_index])
    weights = torch.from_numpy(table.weights[target_index if per_token else rows])
    width = int(table.target_starts[1] - table.target_starts[0])
    if not per_token and width > 1:
        targets = targets.view(len(rows), width)
    return Batch(
        rows,
        torch.from_numpy(table.ids[index].astype(np.int64)),
        torch.from_numpy(table.types[index].astype(np.int64)),
        torch.from_numpy(np.diff(table.starts)[rows]),
        targets,
        weights,
        float(weights.sum(dtype=torch.float64)),
    )
