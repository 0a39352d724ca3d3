"""One Llama-like block with a hand-derived backward, as `causal_stream` runs it.

Norm, attention, residual, norm, gated feed-forward, residual (Touvron et al. 2023); RMSNorm (Zhang
and Sennrich 2019), SwiGLU (Shazeer 2020), grouped queries (Ainslie et al. 2023), rotary positions
(Su et al. 2021), and where the block has them norms of queries and keys (Qwen 3).
Shapes: T tokens, M of them as queries, D hidden width, F feed-forward width, K key/value heads,
G query heads for each, E head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from luthier.models.causal_stream_attention import Tile, attention_backward, attention_forward, rotate
from luthier.models.packed_linear import CausalLinear
from luthier.models.stream_linear import LinearPart


@dataclass(frozen=True, slots=True)
class Places:
    """What the blocks share in one pass: who sees whom, and the rotations [T, 1, 1, E / 2].

    `rows` [M] are the only queries, and the only tokens above attention; None means all.
    """

    tiles: tuple[Tile, ...]
    cos: Tensor
    sin: Tensor
    rows: Tensor | None = None

    def queries(self, scale: float) -> tuple[Tensor, Tensor]:
        """Rotations of the queries, which `scale` them too."""
        cos, sin = (self.cos, self.sin) if self.rows is None else (self.cos[self.rows], self.sin[self.rows])
        return cos * scale, sin * scale


class RmsNorm:
    """y = w x / rms(x) over the last dimension of a contiguous x [N, D]."""

    def __init__(self, module: Any) -> None:
        self.weight: nn.Parameter = module.weight
        self.eps: float = module.variance_epsilon

    @property
    def trained(self) -> list[nn.Parameter]:
        """The weight, or nothing."""
        return [self.weight] if self.weight.requires_grad else []

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, 1 / rms(x) [N, 1])."""
        squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        scale = squares.div_(x.shape[-1]).add_(self.eps).rsqrt_()
        return self.again(x, scale), scale

    def again(self, x: Tensor, scale: Tensor) -> Tensor:
        """y once more: two passes, which is cheaper than to keep it."""
        return (x * scale).mul_(self.weight)

    def backward(
        self, dy: Tensor, x: Tensor, y: Tensor, scale: Tensor, residual: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """(dx, the residual's gradient added; gradients of `trained`)."""
        gradients = [(dy * x).mul_(scale).sum(0)] if self.trained else []
        # dx = s (w dy - x s^2 mean(x w dy)), and s x w = y
        shared = (dy * y).sum(-1, keepdim=True).mul_(scale.square()).div_(-x.shape[-1])
        dx = (dy * self.weight).mul_(scale)
        if residual is not None:
            dx += residual
        return dx.addcmul_(x, shared), gradients


class CausalLayer:
    """The parts of one stock block, and the order of its trained parameters."""

    def __init__(self, block: Any, *, prepack: bool) -> None:
        attention, mlp = block.self_attn, block.mlp
        q, k, v = (LinearPart.of(module) for module in (attention.q_proj, attention.k_proj, attention.v_proj))
        gate_up = [LinearPart.of(mlp.gate_proj), LinearPart.of(mlp.up_proj)]
        self.width: int = attention.head_dim
        self.group: int = attention.num_key_value_groups
        self.heads: int = k.weight.shape[0] // self.width
        self.scaling: float = attention.scaling
        self.norm1, self.norm2 = RmsNorm(block.input_layernorm), RmsNorm(block.post_attention_layernorm)
        # at some queries only, queries and the rest are two products: never packed, that would take more memory
        self.q, self.kv = CausalLinear([q]), CausalLinear([k, v])
        self.qkv = CausalLinear([q, k, v], prepack=prepack)
        norms = [m for name, m in attention.named_children() if name in ("q_norm", "k_norm")]
        self.head_norms = [RmsNorm(module) for module in norms]
        self.out = CausalLinear([LinearPart.of(attention.o_proj)], prepack=prepack)
        self.gate_up = CausalLinear(gate_up, prepack=prepack)
        self.down = CausalLinear([LinearPart.of(mlp.down_proj)], prepack=prepack)
        self.trained: list[nn.Parameter] = [
            *self.norm1.trained, *self.qkv.trained, *(p for norm in self.head_norms for p in norm.trained),
            *self.out.trained, *self.norm2.trained, *self.gate_up.trained, *self.down.trained,
        ]  # fmt: skip

    def project(self, x: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """(queries [M, K G E], keys and values [T, 2 K E]), which may be strided views."""
        if rows is not None:
            return self.q.apply(x[rows]), self.kv.apply(x)
        kv_width = 2 * self.heads * self.width
        q, kv = self.qkv.apply(x).split([self.heads * self.group * self.width, kv_width], 1)
        return q, kv

    def split_heads(self, q: Tensor, kv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views (q [M, K, G, E], k [T, K, 1, E], v [K, T, E])."""
        k, v = kv.unflatten(1, (2, self.heads, self.width)).unbind(1)
        return q.unflatten(1, (self.heads, self.group, self.width)), k.unsqueeze(2), v.transpose(0, 1)

    def rotated(self, q: Tensor, k: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        """(q [K, M, G, E] scaled, k [K, T, E]) for attention."""
        # turned as they lie, then moved: writing across with the turn is up to four times as slow
        q_out = torch.empty_like(q, memory_format=torch.contiguous_format)
        k_out = torch.empty_like(k, memory_format=torch.contiguous_format)
        rotate(q, *places.queries(self.scaling), q_out)
        rotate(k, places.cos, places.sin, k_out)
        return q_out.transpose(0, 1).contiguous(), k_out.squeeze(2).transpose(0, 1).contiguous()

    def normed_heads(self, *heads: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For queries and keys (before the norm [N, E], after it, scale [N, 1]); empty without these norms."""
        kept = []
        for x, norm in zip(heads, self.head_norms, strict=False):
            flat = x.reshape(-1, self.width)
            kept.append((flat, *norm.forward(flat)))
        return kept

    def forward(self, x: Tensor, places: Places, *, keep: bool) -> tuple[Tensor, tuple[Any, ...]]:
        """([M, D], what `backward` needs)."""
        y1, scale1 = self.norm1.forward(x)
        q_flat, kv_flat = self.project(y1, places.rows)
        q, k, v = self.split_heads(q_flat, kv_flat)
        normed = self.normed_heads(q, k)
        if normed:
            q, k = normed[0][1].view(q.shape), normed[1][1].view(k.shape)
        q, k = self.rotated(q, k, places)
        v = v.contiguous()  # a view would keep all of the product
        context, probabilities = attention_forward(q, k, v, places.tiles, keep=keep)
        attended = self.out.apply(context, x if places.rows is None else x[places.rows])
        y2, scale2 = self.norm2.forward(attended)
        wide = self.gate_up.apply(y2)
        gate, up = wide.chunk(2, 1)
        result = self.down.apply(functional.silu(gate).mul_(up), attended)
        attention = (q, k, v, probabilities, normed)
        return result, (x, scale1, attention, context, attended, scale2, wide)

    def backward(
        self, dy: Tensor, places: Places, kept: tuple[Any, ...], *, below: bool
    ) -> tuple[Tensor | None, list[Tensor]]:
        """(dx [T, D], None unless something `below` asks for it; gradients of `trained`)."""
        x, scale1, attention, context, attended, scale2, wide = kept
        dy = dy.contiguous()
        gate, up = wide.chunk(2, 1)
        active = functional.silu(gate)
        g_down = self.down.backward(dy, active * up) if self.down.trained else []
        dactive = self.down.input_gradient(dy)
        # the gradients of gate and up take their place: nobody needs them after this
        dsilu = dactive * up
        torch.mul(dactive, active, out=up)
        torch.ops.aten.silu_backward.grad_input(dsilu, gate, grad_input=gate)
        del active, dactive, dsilu
        y2 = self.norm2.again(attended, scale2)
        g_gate_up = self.gate_up.backward(wide, y2)
        dattended, g_norm2 = self.norm2.backward(self.gate_up.input_gradient(wide), attended, y2, scale2, dy)
        g_out = self.out.backward(dattended, context)
        dq, dkv, dqkv, g_heads = self.attention_backward(self.out.input_gradient(dattended), places, attention)
        y1 = self.norm1.again(x, scale1)
        if places.rows is None:
            g_qkv = self.qkv.backward(dqkv, y1)
        else:
            g_qkv = [*self.q.backward(dq, y1[places.rows]), *self.kv.backward(dkv, y1)]
        dx: Tensor | None = None
        g_norm1: list[Tensor] = []
        if below or self.norm1.trained:
            if places.rows is None:
                dx, g_norm1 = self.norm1.backward(self.qkv.input_gradient(dqkv), x, y1, scale1, dattended)
            else:
                dy1 = self.kv.input_gradient(dkv).index_add_(0, places.rows, self.q.input_gradient(dq))
                dx, g_norm1 = self.norm1.backward(dy1, x, y1, scale1)
                dx.index_add_(0, places.rows, dattended)
        return dx, [*g_norm1, *g_qkv, *g_heads, *g_out, *g_norm2, *g_gate_up, *g_down]

    def attention_backward(
        self, dcontext: Tensor, places: Places, kept: tuple[Any, ...]
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Gradients of the queries, of keys and values, of both side by side, and of the heads' norms."""
        q, k, v, probabilities, normed = kept
        q_width, kv_width = self.heads * self.group * self.width, 2 * self.heads * self.width
        if places.rows is None:
            dqkv = dcontext.new_empty(k.shape[1], q_width + kv_width)
            dq_flat, dkv_flat = dqkv.split([q_width, kv_width], 1)
        else:
            dq_flat = dqkv = dcontext.new_empty(q.shape[1], q_width)
            dkv_flat = dcontext.new_empty(k.shape[1], kv_width)
        dq_heads, dk_heads, dv = self.split_heads(dq_flat, dkv_flat)
        dq, dk = attention_backward(dcontext, q, k, v, places.tiles, probabilities, dv)
        gradients: list[Tensor] = []
        dq_turned = torch.empty_like(dq_heads, memory_format=torch.contiguous_format) if normed else dq_heads
        dk_turned = torch.empty_like(dk_heads, memory_format=torch.contiguous_format) if normed else dk_heads
        rotate(dq.transpose(0, 1).contiguous(), *places.queries(self.scaling), dq_turned, back=True)
        rotate(dk.transpose(0, 1).contiguous().unsqueeze(2), places.cos, places.sin, dk_turned, back=True)
        turned = ((dq_turned, dq_heads), (dk_turned, dk_heads))
        for norm, (flat, y, scale), (dhead, target) in zip(self.head_norms, normed, turned, strict=False):
            dflat, g_norm = norm.backward(dhead.view(flat.shape), flat, y, scale)
            target.copy_(dflat.view(target.shape))
            gradients += g_norm
        return dq_flat, dkv_flat, dqkv, gradients


class CausalLayerFunction(torch.autograd.Function):
    """One block as one node of autograd: x [T, D] -> [M, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: CausalLayer, places: Places, keep: bool, *trained: Tensor) -> Tensor:
        result, kept = layer.forward(x, places, keep=keep)
        if keep:
            ctx.layer, ctx.places, ctx.kept = layer, places, kept
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        kept, ctx.kept = ctx.kept, None
        dx, gradients = ctx.layer.backward(dy, ctx.places, kept, below=ctx.needs_input_grad[0])
        return (dx if ctx.needs_input_grad[0] else None, None, None, None, *gradients)


class NormFunction(torch.autograd.Function):
    """The norm above the last block: x [N, D] -> [N, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: RmsNorm, *trained: Tensor) -> Tensor:
        y, scale = norm.forward(x)
        ctx.norm, ctx.kept = norm, (x, y, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale = ctx.kept
        ctx.kept = None
        dx, gradients = ctx.norm.backward(dy, x, y, scale)
        return (dx, None, *gradients)
