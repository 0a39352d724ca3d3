"""Causal attention inside each segment of an unpadded stream, forward and backward, on a CPU.

A segment's queries are taken in blocks; a block multiplies only the keys up to its last token, so
about half of the square is never computed, and the pieces stay in the processor's cache. Batched
products over the key/value heads, the query heads of a group stacked as rows, beat torch's fused CPU
kernel for a few dozen to a few hundred tokens: forward about equal, backward nearly twice as fast.
Shapes: T tokens, M queries, K key/value heads, G query heads for each, E head width, H = K G.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from luthier.models.causal_layout import CausalLayout

QUERY_BLOCK = 96
"""Queries of one product; neighbouring segments that are shorter together share one."""
KEEP_BYTES = 32 << 20
"""Probabilities of one block of the model above this size are computed again in the backward."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Some queries and all that they see.

    `keys` are spans of the stream, side by side; every query sees the first `open` columns, and
    `bias` [queries, 1, columns - open] (0 or -inf) says which of the others.
    """

    queries: slice
    keys: tuple[slice, ...]
    open: int
    bias: Tensor

    @property
    def scores(self) -> int:
        """Size of the product of one head."""
        return self.bias.shape[0] * (self.open + self.bias.shape[2])


def tiles_of(layout: CausalLayout, rows: Tensor | None = None) -> tuple[Tile, ...]:
    """The tiles for all tokens, or for those in `rows` (int64 [M], ascending) as the only queries."""
    picked = torch.arange(layout.total) if rows is None else rows
    segment_of = torch.repeat_interleave(torch.arange(len(layout.lengths)), torch.tensor(layout.lengths))
    tiles: list[Tile] = []
    for first, last in _groups(layout):
        begin, end = layout.starts[first], layout.span(last).stop
        low, high = torch.searchsorted(picked, torch.tensor([begin, end])).tolist()
        above = [layout.span(index) for index in layout.ancestors(first)]
        parts = -(-(high - low) // QUERY_BLOCK)
        bounds = [low + (high - low) * part // max(parts, 1) for part in range(parts + 1)]
        for here in itertools.starmap(slice, itertools.pairwise(bounds)):
            queries = picked[here, None]
            stop = int(queries[-1]) + 1
            begin_masked = begin if last > first else int(queries[0])
            columns = torch.arange(begin_masked, stop)
            seen = (columns <= queries) & (segment_of[columns] == segment_of[queries])
            bias = torch.zeros(seen.shape).masked_fill_(~seen, float("-inf")).unsqueeze(1)
            before = sum(span.stop - span.start for span in above) + begin_masked - begin
            tiles.append(Tile(here, _joined([*above, slice(begin, stop)]), before, bias))
    return tuple(tiles)


def _groups(layout: CausalLayout) -> Iterator[tuple[int, int]]:
    """(first, last) of neighbouring segments with one parent that together fit into one block."""
    first, size = 0, layout.lengths[0]
    for index in range(1, len(layout.lengths)):
        length = layout.lengths[index]
        if layout.parents[index] == layout.parents[first] and size + length <= QUERY_BLOCK:
            size += length
        else:
            yield first, index - 1
            first, size = index, length
    yield first, len(layout.lengths) - 1


def _joined(spans: Sequence[slice]) -> tuple[slice, ...]:
    """Adjacent spans become one, so that their keys need no copy."""
    joined = [spans[0]]
    for span in spans[1:]:
        if joined[-1].stop == span.start:
            joined[-1] = slice(joined[-1].start, span.stop)
        else:
            joined.append(span)
    return tuple(joined)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor, *, back: bool = False) -> None:
    """Rotary position embedding (Su et al. 2021) of x [M, K, G, E] into `out`; `back` is its transpose.

    `cos` and `sin` [M, 1, 1, E / 2]: the halves of a head are the two coordinates (transformers' order).
    """
    half = x.shape[-1] // 2
    sign = -1 if back else 1
    x1, x2, y1, y2 = x[..., :half], x[..., half:], out[..., :half], out[..., half:]
    torch.mul(x1, cos, out=y1)
    y1.addcmul_(x2, sin, value=-sign)
    torch.mul(x2, cos, out=y2)
    y2.addcmul_(x1, sin, value=sign)


def _columns(x_KTE: Tensor, tile: Tile) -> Tensor:
    """What a tile's queries see, [K, columns, E]."""
    if len(tile.keys) == 1:
        return x_KTE[:, tile.keys[0]]
    return torch.cat([x_KTE[:, span] for span in tile.keys], 1)


def _add_columns(x_KTE: Tensor, tile: Tile, a: Tensor, b: Tensor) -> None:
    """x += a b at the tile's columns."""
    if len(tile.keys) == 1:
        x_KTE[:, tile.keys[0]].baddbmm_(a, b)
        return
    product, begin = torch.bmm(a, b), 0
    for span in tile.keys:
        size = span.stop - span.start
        x_KTE[:, span] += product[:, begin : begin + size]
        begin += size


def _probabilities(q: Tensor, k: Tensor, tile: Tile) -> Tensor:
    """[K, queries * G, columns]."""
    scores = torch.bmm(q[:, tile.queries].flatten(1, 2), _columns(k, tile).transpose(1, 2))
    scores.view(q.shape[0], -1, q.shape[2], scores.shape[2])[..., tile.open :].add_(tile.bias)
    return torch.softmax(scores, -1)


def attention_forward(
    q_KMGE: Tensor, k_KTE: Tensor, v_KTE: Tensor, tiles: Sequence[Tile], *, keep: bool
) -> tuple[Tensor, list[Tensor] | None]:
    """(context [M, H E], probabilities for the backward if they are to be kept); q is scaled already."""
    heads, queries, group, width = q_KMGE.shape
    small = 4 * heads * group * sum(tile.scores for tile in tiles) <= KEEP_BYTES
    kept: list[Tensor] | None = [] if keep and small else None
    context = q_KMGE.new_empty(queries, heads, group, width)
    target = context.transpose(0, 1)
    for tile in tiles:
        p = _probabilities(q_KMGE, k_KTE, tile)
        target[:, tile.queries] = torch.bmm(p, _columns(v_KTE, tile)).unflatten(1, (-1, group))
        if kept is not None:
            kept.append(p)
    return context.view(queries, -1), kept


def attention_backward(
    dcontext: Tensor,
    q_KMGE: Tensor,
    k_KTE: Tensor,
    v_KTE: Tensor,
    tiles: Sequence[Tile],
    kept: list[Tensor] | None,
    dv_KTE: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of q and k; that of v is written into `dv_KTE`, which may be a strided view."""
    heads, queries, group, width = q_KMGE.shape
    dcontext_KMGE = dcontext.view(queries, heads, group, width).transpose(0, 1).contiguous()
    dq, dk = torch.empty_like(q_KMGE), torch.zeros_like(k_KTE)
    dv_KTE.zero_()
    for index, tile in enumerate(tiles):
        q, do = q_KMGE[:, tile.queries].flatten(1, 2), dcontext_KMGE[:, tile.queries].flatten(1, 2)
        p = _probabilities(q_KMGE, k_KTE, tile) if kept is None else kept[index]
        _add_columns(dv_KTE, tile, p.transpose(1, 2), do)
        dp = torch.bmm(do, _columns(v_KTE, tile).transpose(1, 2))
        ds = torch.ops.aten._softmax_backward_data(dp, p, -1, torch.float32)
        dq[:, tile.queries] = torch.bmm(ds, _columns(k_KTE, tile)).unflatten(1, (-1, group))
        _add_columns(dk, tile, ds.transpose(1, 2), q)
    return dq, dk
