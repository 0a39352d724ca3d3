"""Encoded rows become padded tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from luthier.core.text import Encoded


def pad(encoded: Sequence[Encoded], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """(input_ids, attention_mask, token_type_ids), each int64 [B, L], padded at the end."""
    width = max(len(row.ids) for row in encoded)
    ids = torch.full((len(encoded), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(encoded), width), dtype=torch.long)
    types = torch.zeros((len(encoded), width), dtype=torch.long)
    for index, row in enumerate(encoded):
        length = len(row.ids)
        ids[index, :length] = torch.tensor(row.ids)
        mask[index, :length] = 1
        types[index, :length] = torch.tensor(row.type_ids)
    return ids, mask, types
