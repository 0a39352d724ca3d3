"""The forward pass of a Llama-like model for decoding on a CPU, by hand: packed weights, a cache that is written in
place, LoRA adapters per row. The same function as the model of transformers, up to rounding.

Shapes: B rows, T tokens of a prompt, M = B or B * T tokens, D hidden width, H query heads, G key/value heads, E width
of a head, W columns of the cache, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

from luthier.models.generation.fast_adapters import FastAdapters, Pair, Pairs, Plan
from luthier.models.generation.fast_linear import PackedLinear
from luthier.models.generation.fast_parts import GROUPS, adapter_names, causal_of, shape_of
from luthier.models.generation.fast_rows import FastRows

_QKV, _OUT, _GATE_UP, _DOWN = range(len(GROUPS))


@dataclass(frozen=True, slots=True)
class _Block:
    qkv: PackedLinear
    out: PackedLinear
    gate_up: PackedLinear
    down: PackedLinear
    before_attention: Tensor
    before_feed_forward: Tensor
    heads_norm: Tensor | None
    """[H + G, E]: the norms of queries and keys (Qwen 3)."""


class FastForward:
    """Reads prompts and takes steps for a model that `fast_parts.why_not` has nothing against.

    It holds the weights as they were when it was made. With `release` it is their only owner: the model keeps
    its embeddings, norms and adapters, and cannot compute any more. Otherwise the base is in memory twice.
    All LoRA adapters that the model has are known by their names; rows that name none have `default`.
    """

    def __init__(self, model: Any, *, release: bool, default: str | None = None) -> None:
        self._default = default
        causal = causal_of(model)
        self.shape = shape_of(causal)
        self._causal = causal
        self._embeddings: Tensor = causal.model.embed_tokens.weight.detach()
        self._norm: Tensor = causal.model.norm.weight.detach()
        self._blocks = [self._block(block, release) for block in causal.model.layers]
        tied = causal.lm_head.weight is causal.model.embed_tokens.weight
        self._head = PackedLinear([causal.lm_head], release=release and not tied)
        self._eps = torch.tensor(self.shape.eps)
        self._cos, self._sin = torch.empty(0, self.shape.head_width), torch.empty(0, self.shape.head_width)
        first = self._blocks[0]
        self._groups = [(linear.inputs, linear.sizes) for linear in (first.qkv, first.out, first.gate_up, first.down)]
        self._adapters = FastAdapters(self.shape.layers, self._groups)
        for name in adapter_names(causal):
            self.add_adapter(name)

    @property
    def device(self) -> torch.device:
        """Where ids belong."""
        return self._embeddings.device

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that rows may have."""
        return self._adapters.names

    def add_adapter(self, name: str) -> None:
        """Take over a LoRA adapter that the model was given; again when its weights have changed."""
        pairs: dict[tuple[int, str], Pair] = {}
        for layer, block in enumerate(self._causal.model.layers):
            for target in (target for group in GROUPS for target in group):
                module = block.get_submodule(target)
                if isinstance(module, LoraLinear) and name in module.lora_A:
                    down: Any = module.lora_A[name]
                    up: Any = module.lora_B[name]
                    pairs[layer, target] = down.weight, up.weight, float(module.scaling[name])
        self._adapters.add(name, pairs)

    def put_adapter(self, name: str, pairs: Pairs) -> None:
        """Take an adapter that the model does not have. Raises `ValueError` where it does not fit."""
        sizes = {
            target: (inputs, size)
            for targets, (inputs, outputs) in zip(GROUPS, self._groups, strict=True)
            for target, size in zip(targets, outputs, strict=True)
        }
        for (layer, target), (down, up, _) in pairs.items():
            if not 0 <= layer < self.shape.layers or target not in sizes:
                raise ValueError(f"there is no {target} in block {layer}")
            if down.ndim != 2 or (*down.shape[1:], *up.shape) != (sizes[target][0], sizes[target][1], len(down)):
                raise ValueError(f"its matrices for {target} in block {layer} have another shape")
        self._adapters.add(name, pairs)

    def remove_adapter(self, name: str) -> None:
        """Forget an adapter that no row uses."""
        self._adapters.remove(name)

    def read(self, ids_BT: Tensor, adapters: Sequence[str | None]) -> tuple[FastRows, Tensor]:
        """Read prompts of one length: (the rows, logits [B, V] of what follows)."""
        with torch.inference_mode():
            rows = FastRows(self.shape, [name or self._default for name in adapters], ids_BT.shape[1])
        return rows, self.extend(rows, ids_BT)

    @torch.inference_mode()
    def extend(self, rows: FastRows, ids_BT: Tensor) -> Tensor:
        """Read more tokens of the prompts of rows that are of one length; logits [B, V] of what follows."""
        shape = self.shape
        count, length = ids_BT.shape
        before = rows.width
        rows.reserve(length)
        plan = self._adapters.plan(rows.adapters, length)
        self._rotate_up_to(before + length)
        cos, sin = (table[before : before + length].repeat(count, 1).unsqueeze(1) for table in (self._cos, self._sin))
        mask = torch.ones(length, before + length).tril_(before).bool() if before else None
        x = self._embeddings[ids_BT.reshape(-1)]
        for index, block in enumerate(self._blocks):
            heads, values = self._heads(index, block, x, cos, sin, plan)
            queries, keys, values = (
                states.view(count, length, -1, shape.head_width).transpose(1, 2)
                for states in (heads[:, : shape.heads], heads[:, shape.heads :], values)
            )
            keys, values = rows.fill(index, keys, values)
            mixed = scaled_dot_product_attention(
                queries, keys, values, mask, is_causal=mask is None, enable_gqa=shape.heads != shape.groups
            )
            x = self._finish(index, block, x, mixed.transpose(1, 2).reshape(count * length, -1), plan)
        rows.lengths = [before + length] * count
        return self._logits(x.view(count, length, -1)[:, -1])

    @torch.inference_mode()
    def step(self, rows: FastRows, ids_B: Tensor) -> Tensor:
        """Add one token to each row; logits [B, V] of what follows."""
        shape = self.shape
        rows.reserve(1)
        if rows.plan is None or rows.plan.version != self._adapters.version:
            rows.plan = self._adapters.plan(rows.adapters)
        plan, places, width = rows.plan, rows.places(), rows.width + 1
        self._rotate_up_to(width)
        lengths = torch.tensor(rows.lengths)
        mask = self._mask(lengths, width) if min(rows.lengths) + 1 < width else None
        order = back = None
        if plan is not None and plan.order is not None:
            order, back = plan.order, plan.back
            ids_B, lengths, places = ids_B[order], lengths[order], places.view(len(rows), -1)[order].view(-1)
        cos, sin = (table[lengths].unsqueeze(1) for table in (self._cos, self._sin))
        scale, count = shape.head_width**-0.5, len(rows) * shape.groups
        x = self._embeddings[ids_B]
        for index, block in enumerate(self._blocks):
            heads, values = self._heads(index, block, x, cos, sin, plan)
            queries = heads[:, : shape.heads]
            queries = (queries if back is None else queries[back]).reshape(count, -1, shape.head_width)
            keys = heads[:, shape.heads :].reshape(count, shape.head_width)
            rows.append(index, places, keys, values.reshape(count, shape.head_width))
            seen, held = rows.view(index, width)
            if mask is None:
                scores = torch.bmm(queries, seen.transpose(1, 2)).mul_(scale)
            else:
                scores = torch.baddbmm(mask, queries, seen.transpose(1, 2), alpha=scale)
            mixed = torch.bmm(torch.softmax(scores, -1), held).view(len(rows), -1)
            x = self._finish(index, block, x, mixed if order is None else mixed[order], plan)
        rows.lengths = [length + 1 for length in rows.lengths]
        return self._logits(x if back is None else x[back])

    def _mask(self, lengths_B: Tensor, width: int) -> Tensor:
        """[B * G, 1, W]: -inf behind the new token of each row."""
        behind = torch.arange(width) > lengths_B.unsqueeze(1)
        mask = torch.zeros(behind.shape).masked_fill_(behind, -torch.inf)
        return mask.repeat_interleave(self.shape.groups, 0).unsqueeze(1)

    def _heads(
        self, index: int, block: _Block, x_MD: Tensor, cos: Tensor, sin: Tensor, plan: Plan | None
    ) -> tuple[Tensor, Tensor]:
        """([M, H + G, E] rotated queries and keys, [M, G * E] values)."""
        shape = self.shape
        normed = self._normed(x_MD, block.before_attention)
        qkv = self._linear(index, _QKV, block.qkv, normed, plan)
        turned = (shape.heads + shape.groups) * shape.head_width
        heads = qkv[:, :turned].view(len(x_MD), -1, shape.head_width)
        if block.heads_norm is not None:
            heads = self._normed(heads, block.heads_norm)
        half = shape.head_width // 2
        return torch.addcmul(heads * cos, torch.roll(heads, half, -1), sin), qkv[:, turned:]

    def _finish(self, index: int, block: _Block, x_MD: Tensor, mixed: Tensor, plan: Plan | None) -> Tensor:
        """The rest of a block after the attention; x is written over."""
        x_MD.add_(self._linear(index, _OUT, block.out, mixed, plan))
        both = self._linear(index, _GATE_UP, block.gate_up, self._normed(x_MD, block.before_feed_forward), plan)
        wide = both.shape[1] // 2
        inner = silu(both[:, :wide]).mul_(both[:, wide:])
        return x_MD.add_(self._linear(index, _DOWN, block.down, inner, plan))

    def _linear(self, index: int, group: int, linear: PackedLinear, x_MD: Tensor, plan: Plan | None) -> Tensor:
        y = linear(x_MD)
        if plan is not None:
            self._adapters.apply(index, group, plan, x_MD, y)
        return y

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm. The norm is one kernel; a mean of squares is several."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = torch.addcmul(self._eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()
        return (x * scale).mul_(weight)

    def _logits(self, x_BD: Tensor) -> Tensor:
        return self._head(self._normed(x_BD, self._norm))

    def _rotate_up_to(self, length: int) -> None:
        """Cosines and sines of the positions below `length`; the first half of the sines negative, see `_heads`."""
        if length <= len(self._cos):
            return
        positions = torch.arange(max(length, 2 * len(self._cos), 256)).unsqueeze(0)
        cos, sin = self._causal.model.rotary_emb(self._embeddings, positions)
        half = self.shape.head_width // 2
        self._cos, self._sin = cos[0], torch.cat((-sin[0, :, :half], sin[0, :, half:]), -1)

    def _block(self, block: Any, release: bool) -> _Block:
        qkv, out, gate_up, down = (
            PackedLinear([block.get_submodule(name) for name in names], release=release) for names in GROUPS
        )
        attention, heads_norm = block.self_attn, None
        if hasattr(attention, "q_norm"):
            norms = [attention.q_norm.weight] * self.shape.heads + [attention.k_norm.weight] * self.shape.groups
            heads_norm = torch.stack([norm.detach() for norm in norms])
        return _Block(
            qkv,
            out,
            gate_up,
            down,
            before_attention=block.input_layernorm.weight.detach(),
            before_feed_forward=block.post_attention_layernorm.weight.detach(),
            heads_norm=heads_norm,
        )
