"""Attention over an unpadded stream: every token sees its own sample only.

Registered with transformers' AttentionInterface as ``luthier_segments``. A model that was loaded
with it gets a `SegmentStream` as the keyword argument ``luthier_stream`` of its forward, which
every layer hands on. Without one (padded rows, decoding with a cache) it attends as sdpa does, and
with soft-capped scores (Gemma 2) as eager does.

Shapes: H query heads, G key/value heads, T tokens, P tokens of a trained prefix, E width of a head.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from luthier.models.causal_layout import CausalLayout

ATTENTION = "luthier_segments"


class SegmentStream:
    """A layout during one forward pass; what the layers share (masks) is made once.

    `prefix` is (keys, values), each [1, G, P, E], per layer: seen by all tokens, before all samples.
    """

    def __init__(self, layout: CausalLayout, prefix: Sequence[tuple[Tensor, Tensor]] | None = None) -> None:
        self.layout = layout
        self.prefix = prefix
        self._masks: dict[Any, Tensor] = {}
        self._block_masks: dict[Any, Any] = {}

    def mask(self, before: int, own: int, window: int | None, device: torch.device) -> Tensor | None:
        """bool [own, before + own] for `own` queries that follow `before` keys; None: plainly causal.

        With a `window` a token sees so many tokens, itself included.
        """
        total = before + own
        window = window if window is not None and window < total else None
        if not before and window is None:
            return None
        key = (before, own, window, device)
        if key not in self._masks:
            queries = torch.arange(before, total, device=device).unsqueeze(1)
            keys = torch.arange(total, device=device)
            seen = keys <= queries
            self._masks[key] = seen if window is None else seen & (keys > queries - window)
        return self._masks[key]

    def mask_mod(self, window: int | None, past: int, device: torch.device) -> Callable[..., Tensor]:
        """The same for all P + T keys at once, as flex_attention asks: (batch, head, query, key) -> bool."""
        layout = self.layout
        count = len(layout.lengths)
        lengths = torch.tensor(layout.lengths)
        segment = torch.repeat_interleave(torch.arange(count), lengths).to(device)
        sees = torch.zeros(count, count + 1, dtype=torch.bool)  # the last column is the prefix
        for index in range(count):
            sees[index, [*layout.ancestors(index), index, count]] = True
        sees = sees.to(device)
        positions = layout.positions.to(device)
        key_segment = torch.cat((segment.new_full((past,), count), segment))
        key_positions = torch.cat((torch.arange(-past, 0, device=device), positions))

        def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            distance = positions[query] - key_positions[key]
            allowed = sees[segment[query], key_segment[key]] & (distance >= 0)
            return allowed if window is None else allowed & (distance < window)

        return seen

    def block_mask(self, window: int | None, past: int, device: torch.device) -> Any:
        """The BlockMask of `mask_mod`."""
        from torch.nn.attention.flex_attention import create_block_mask

        key = (window, past, device)
        if key not in self._block_masks:
            tokens = self.layout.total
            self._block_masks[key] = create_block_mask(
                self.mask_mod(window, past, device), None, None, tokens, past + tokens, device=str(device)
            )
        return self._block_masks[key]


def segment_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    luthier_stream: SegmentStream | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """[1, H, T, E], [1, G, T, E] -> [1, T, H, E]; the signature is transformers' AttentionInterface.

    On a GPU one kernel for the whole stream: variable-length flash attention where flash_attn is
    installed and nothing is shared, else flex_attention. On a CPU one call per segment.
    """
    if luthier_stream is None:
        if softcap is None:
            options = {"dropout": dropout, "scaling": scaling, **kwargs}
            return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        whole = attend(query, key, value, attention_mask, query.shape[2] > 1, scaling, softcap, dropout)
        return whole.transpose(1, 2).contiguous(), None
    if luthier_stream.prefix is not None:
        keys, values = luthier_stream.prefix[module.layer_idx]
        key = torch.cat((keys.to(key), key), dim=2)
        value = torch.cat((values.to(value), value), dim=2)
    if query.is_cuda:
        query, key = query.to(value.dtype), key.to(value.dtype)  # rotation gives float32 under autocast
        past = key.shape[2] - query.shape[2]
        shared = past > 0 or any(parent >= 0 for parent in luthier_stream.layout.parents)
        if not shared and value.dtype != torch.float32 and _flash_is_installed():
            return _flash(query, key, value, luthier_stream.layout, dropout, scaling, sliding_window, softcap), None
        if not dropout:
            blocks = luthier_stream.block_mask(sliding_window, past, query.device)
            out, _ = flex_attention_forward(module, query, key, value, blocks, scaling=scaling, softcap=softcap)
            return out, None
    return by_segment(query, key, value, luthier_stream, dropout, scaling, sliding_window, softcap), None


def by_segment(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    stream: SegmentStream,
    dropout: float,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """[1, T, H, E], segment by segment; the first keys may be a prefix that all segments see."""
    layout = stream.layout
    past = key.shape[2] - query.shape[2]
    outs = []
    for index, own in enumerate(layout.lengths):
        spans = [layout.span(number) for number in (*layout.ancestors(index), index)]
        pieces = [slice(0, past)] if past else []
        pieces += [slice(past + span.start, past + span.stop) for span in spans]
        keys, values = _join(key, pieces), _join(value, pieces)
        mask = stream.mask(keys.shape[2] - own, own, window, query.device)
        queries = query[:, :, layout.span(index)]
        outs.append(attend(queries, keys, values, mask, mask is None, scaling, softcap, dropout))
    return torch.cat(outs, dim=2).transpose(1, 2)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    causal: bool,
    scaling: float | None,
    softcap: float | None,
    dropout: float,
) -> Tensor:
    """Scaled dot-product attention with shared key/value heads; `causal` counts where `mask` is None.

    `softcap` c makes scores c tanh(score / c), as Gemma 2 does (Gemma Team 2024).
    """
    shared = query.shape[1] != key.shape[1]
    if softcap is None:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal and mask is None,
            scale=scaling, enable_gqa=shared,
        )  # fmt: skip
    if shared:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(2, 3) * (query.shape[3] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    if mask is None and causal:
        mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return drop(weights, dropout) @ value


def _join(states: Tensor, pieces: Sequence[slice]) -> Tensor:
    parts = [states[:, :, piece] for piece in pieces]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


@functools.cache
def _flash_is_installed() -> bool:
    return importlib.util.find_spec("flash_attn") is not None


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: CausalLayout,
    dropout: float,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    flash_attn: Any = importlib.import_module("flash_attn")
    ends = torch.tensor((*layout.starts, layout.total), dtype=torch.int32, device=query.device)
    longest = max(layout.lengths)
    out: Tensor = flash_attn.flash_attn_varlen_func(
        *(states[0].transpose(0, 1) for states in (query, key, value)),
        cu_seqlens_q=ends,
        cu_seqlens_k=ends,
        max_seqlen_q=longest,
        max_seqlen_k=longest,
        dropout_p=dropout,
        softmax_scale=scaling,
        causal=True,
        window_size=(-1, -1) if window is None else (window - 1, 0),
        softcap=softcap or 0.0,
    )
    return out.unsqueeze(0)


AttentionInterface.register(ATTENTION, segment_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
