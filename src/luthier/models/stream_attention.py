"""Attention inside each row of an unpadded stream of tokens, forward and backward.

The rows of a batch have like lengths (`data.packing` sees to it), so the heads are gathered into
[rows x heads, longest, width] for batched products, which on a CPU are several times faster than
the fused kernel for texts of a few dozen tokens. Probabilities are kept for the backward while they
are small, else computed again, a few rows at a time, so memory stays linear in the tokens.
Shapes: T tokens, B rows, L the longest, H heads, E head width, D = H E.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KEEP_BYTES = 64 << 20
"""Probabilities above this size are computed again in the backward."""


@dataclass(frozen=True, slots=True)
class StreamLayout:
    """Where the rows of a stream are.

    `index` [T] is each token's place in the padded [B * L] grid, None when all rows are equally
    long (then the stream is the grid); `source` [B * L] is the token of each place, a neighbour's in
    the `empty` ones; `bias` [B, 1, 1, L] hides those.
    """

    lengths: Tensor
    longest: int
    index: Tensor | None
    source: Tensor | None
    empty: Tensor | None
    bias: Tensor | None
    positions: Tensor
    starts: Tensor

    @classmethod
    def of(cls, lengths: Tensor) -> StreamLayout:
        """The layout of rows with these lengths, int64 [B]."""
        rows, longest = len(lengths), int(lengths.max())
        ends = lengths.cumsum(0)
        starts = ends - lengths
        row_of = torch.repeat_interleave(torch.arange(rows), lengths)
        positions = torch.arange(int(ends[-1])) - starts[row_of]
        if bool((lengths == longest).all()):
            return cls(lengths, longest, None, None, None, None, positions, starts)
        places = torch.arange(longest)
        hidden = places >= lengths.unsqueeze(1)
        bias = torch.zeros(rows, 1, 1, longest)
        bias.masked_fill_(hidden.view(rows, 1, 1, longest), torch.finfo(torch.float32).min)
        source = (starts.unsqueeze(1) + places.minimum(lengths.unsqueeze(1) - 1)).view(-1)
        empty = hidden.view(-1).nonzero().view(-1)
        return cls(lengths, longest, row_of * longest + positions, source, empty, bias, positions, starts)

    def to_grid(self, x_TN: Tensor, *, zeros: bool = False) -> Tensor:
        """[T, N] -> [B * L, N]; the empty places hold a neighbour, which `bias` hides, or `zeros`."""
        if self.source is None or self.empty is None:
            return x_TN
        grid = x_TN.index_select(0, self.source)
        return grid.index_fill_(0, self.empty, 0.0) if zeros else grid

    def from_grid(self, grid: Tensor) -> Tensor:
        """[B * L, N] -> [T, N]."""
        return grid if self.index is None else grid.index_select(0, self.index)


def _probabilities(q: Tensor, k: Tensor, bias: Tensor | None, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(E)) [B * H, L, L]."""
    scores = torch.bmm(q, k.transpose(1, 2)).mul_(q.shape[-1] ** -0.5)
    if bias is not None:
        longest = scores.shape[-1]
        scores.view(-1, heads, longest, longest).add_(bias)
    return torch.softmax(scores, -1)


def _rows_at_once(longest: int, heads: int) -> int:
    return max(1, KEEP_BYTES // (4 * heads * longest * longest))


def attention_forward(qkv_T3D: Tensor, layout: StreamLayout, heads: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """(context [T, D], heads [3, B * H, L, E], probabilities or None) for `attention_backward`."""
    rows, longest = len(layout.lengths), layout.longest
    width = qkv_T3D.shape[1] // (3 * heads)
    grid = layout.to_grid(qkv_T3D)
    # one copy brings the heads side by side for the batched products
    qkv = grid.view(rows, longest, 3, heads, width).permute(2, 0, 3, 1, 4).reshape(3, rows * heads, longest, width)
    at_once = _rows_at_once(longest, heads)
    if rows <= at_once:
        probabilities = _probabilities(qkv[0], qkv[1], layout.bias, heads)
        context = torch.bmm(probabilities, qkv[2])
        kept: Tensor | None = probabilities
    else:
        context, kept = torch.empty_like(qkv[2]), None
        for begin in range(0, rows, at_once):
            part = slice(begin * heads, (begin + at_once) * heads)
            bias = None if layout.bias is None else layout.bias[begin : begin + at_once]
            torch.bmm(_probabilities(qkv[0, part], qkv[1, part], bias, heads), qkv[2, part], out=context[part])
    merged = context.view(rows, heads, longest, width).transpose(1, 2).reshape(rows * longest, heads * width)
    return layout.from_grid(merged), qkv, kept


def attention_backward(
    dcontext_TD: Tensor, qkv: Tensor, kept: Tensor | None, layout: StreamLayout, heads: int
) -> Tensor:
    """The gradient of qkv, [T, 3D]."""
    rows, longest, width = len(layout.lengths), layout.longest, qkv.shape[-1]
    grid = layout.to_grid(dcontext_TD, zeros=True)
    dcontext = grid.view(rows, longest, heads, width).transpose(1, 2).reshape(rows * heads, longest, width)
    dqkv = torch.empty_like(qkv)
    at_once = rows if kept is not None else _rows_at_once(longest, heads)
    for begin in range(0, rows, at_once):
        part = slice(begin * heads, (begin + at_once) * heads)
        q, k, v = qkv[0, part], qkv[1, part], qkv[2, part]
        bias = None if layout.bias is None else layout.bias[begin : begin + at_once]
        p = kept if kept is not None else _probabilities(q, k, bias, heads)
        do = dcontext[part]
        torch.bmm(p.transpose(1, 2), do, out=dqkv[2, part])
        dp = torch.bmm(do, v.transpose(1, 2))
        # softmax backward: p * (dp - sum(p * dp))
        ds = torch.ops.aten._softmax_backward_data(dp, p, -1, torch.float32).mul_(width**-0.5)
        torch.bmm(ds, k, out=dqkv[0, part])
        torch.bmm(ds.transpose(1, 2), q, out=dqkv[1, part])
    merged = dqkv.view(3, rows, heads, longest, width).permute(1, 3, 0, 2, 4).reshape(rows * longest, -1)
    return layout.from_grid(merged)
