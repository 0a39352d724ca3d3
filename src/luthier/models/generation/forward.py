"""The forward pass of any causal model of transformers, as a `running.Forward`.

Requests of equal length are read together, without padding. Shapes: B rows, T tokens, W columns of the cache,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from luthier.models.generation.cache import RowCache


class ModelRows:
    """Rows in a `RowCache`, aligned at their ends. `lengths` are of the own tokens of each, without a prefix."""

    def __init__(self, cache: RowCache, adapters: Sequence[str | None], before: int) -> None:
        self.cache = cache
        self.adapters = list(adapters)
        self.lengths = [0] * len(adapters)
        self._before = before

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def width(self) -> int:
        """Columns in use."""
        return self.cache.width

    def columns(self) -> list[int]:
        """Of each row, with the prefix."""
        return [self._before + length for length in self.lengths]

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Keep these rows, in this order."""
        self.lengths = [self.lengths[row] for row in rows]
        self.adapters = [self.adapters[row] for row in rows]
        self.cache.select(rows, self.cache.width - max(self.columns()))
        return list(rows)

    def join(self, other: ModelRows) -> None:
        """Add the rows of `other` after these."""
        self.cache.join(other.cache)
        self.lengths += other.lengths
        self.adapters += other.adapters


class ModelForward:
    """Computes with the model itself.

    Attributes:
        model: a causal language model of transformers in eval mode, with PEFT's modules in it or not.
        named: `model` is a PeftModel, and each row names its own adapter.

    Args:
        precision: bf16 computes under autocast.
        prefix: of prefix tuning, see `RowCache`.
    """

    def __init__(
        self, model: Any, *, precision: str = "fp32", prefix: Sequence[tuple[Tensor, Tensor]] = (), named: bool = False
    ) -> None:
        self.model = model
        self.named = named
        self._bf16 = precision == "bf16"
        self._prefix = prefix
        self._before = prefix[0][0].shape[2] if prefix else 0

    @property
    def device(self) -> torch.device:
        """Where ids belong."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def read(self, ids_BT: Tensor, adapters: Sequence[str | None]) -> tuple[ModelRows, Tensor]:
        """Read prompts of one length."""
        rows = ModelRows(RowCache(len(ids_BT), self._prefix), adapters, self._before)
        return rows, self.extend(rows, ids_BT)

    def extend(self, rows: ModelRows, ids_BT: Tensor) -> Tensor:
        """Read more tokens of rows of one length."""
        length = ids_BT.shape[1]
        begin = rows.columns()[0]
        positions = torch.arange(begin, begin + length, device=ids_BT.device).expand_as(ids_BT)
        return self._logits(ids_BT, positions, None, rows)

    def step(self, rows: ModelRows, ids_B: Tensor) -> Tensor:
        """Add one token to each row."""
        positions = torch.tensor(rows.columns(), device=ids_B.device).unsqueeze(1)
        first = rows.width - positions
        mask = None
        if bool(first.any()):
            mask = torch.arange(rows.width + 1, device=ids_B.device) >= first
        return self._logits(ids_B.unsqueeze(1), positions, mask, rows)

    def _logits(self, ids: Tensor, positions: Tensor, mask: Tensor | None, rows: ModelRows) -> Tensor:
        options: dict[str, Any] = {}
        if self.named:
            options["adapter_names"] = [name or "__base__" for name in rows.adapters]
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=self._bf16):
            logits: Tensor = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=rows.cache,
                use_cache=True,
                logits_to_keep=1,
                **options,
            ).logits
        rows.lengths = [length + ids.shape[1] for length in rows.lengths]
        return logits[:, -1].float()
