"""A Llama-like decoder over an unpadded stream of tokens, with a hand-derived backward: exact, and faster.

It reads the parameters of the stock modules (Llama, Mistral, Qwen 2 and 3), so saving, loading and
export know nothing of it, and a model can be run either way at any time. One autograd node per block;
where only some tokens are judged, the last block computes nothing but keys and values at the others.
Shapes: T tokens, N judged places, D hidden width.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from luthier.models.causal_layout import CausalLayout
from luthier.models.causal_model import CausalModel
from luthier.models.causal_stream_attention import tiles_of
from luthier.models.causal_stream_layer import CausalLayer, CausalLayerFunction, NormFunction, Places, RmsNorm

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")


def supports(model: CausalModel) -> bool:
    """Whether `CausalStream` computes exactly what the model's own decoder does.

    fp32 on a CPU, SiLU, full attention, no dropout, and nothing inside but plain linear layers with
    or without LoRA.
    """
    config = model.config
    if config.model_type not in MODEL_TYPES or model.precision != "fp32" or config.hidden_act != "silu":
        return False
    if model.method.kind not in ("full", "head", "bitfit", "lora") or config.attention_dropout:
        return False
    if model.gradient_checkpointing:  # asked for less memory than this keeps
        return False
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in model.parameters()):
        return False
    context = config.max_position_embeddings
    if config.model_type == "mistral" and (config.sliding_window or context) < context:
        return False
    if config.model_type.startswith("qwen") and "sliding_attention" in config.layer_types:
        return False
    blocks: Any = model.layers
    return all(
        _plain(module)
        for block in blocks
        for part in (block.self_attn, block.mlp)
        for name, module in part.named_children()
        if name.endswith("_proj")
    )


def _plain(module: nn.Module) -> bool:
    """A linear layer as it is, or under one LoRA pair that changes nothing else."""
    if not isinstance(module, LoraLinear):
        return type(module) is nn.Linear
    names = module.active_adapters
    return (
        type(module.get_base_layer()) is nn.Linear
        and len(names) == 1
        and names[0] in module.lora_A
        and not module.merged
        and not module.disable_adapters
        and names[0] not in module.lora_variant  # DoRA and the like
        and not module.lora_bias[names[0]]
        and isinstance(module.lora_dropout[names[0]], nn.Identity)
    )


class CausalStream:
    """Runs a `CausalModel`'s decoder on streams; built after the method was applied.

    `prepack` keeps frozen weights a second and third time, laid out for oneDNN, wherever a measurement
    at the start finds that faster.
    """

    def __init__(self, model: CausalModel, *, prepack: bool = False) -> None:
        self.model = model
        self.layers = [CausalLayer(block, prepack=prepack) for block in model.layers]
        self.norm = RmsNorm(model.trunk.norm)

    def embed(self, ids_T: Tensor) -> Tensor:
        """The input of the first block [T, D]."""
        return self.model.embed_stream(ids_T)

    def run(self, hidden_TD: Tensor, layout: CausalLayout, start: int = 0, stop: int | None = None) -> Tensor:
        """Blocks `start` to `stop` (exclusive; None = the last); never the final norm."""
        layers = self.layers[start:stop]
        if not layers:
            return hidden_TD
        places = self._places(hidden_TD, layout)
        for layer in layers:
            hidden_TD = _run_one(hidden_TD, layer, places)
        return hidden_TD

    def run_rows(self, hidden_TD: Tensor, layout: CausalLayout, rows_N: Tensor, start: int = 0) -> Tensor:
        """Blocks from `start` on and the final norm, at these places of the stream only: [N, D].

        `rows_N` int64 in any order, repeated or not.
        """
        rows, places_of = torch.unique(rows_N, return_inverse=True)
        if not len(rows):
            # still a result of the trained parameters, with gradient zero
            return self._final(self.run(hidden_TD, layout, start))[:0]
        layers = self.layers[start:]
        if not layers:
            at_rows = hidden_TD[rows]
        else:
            places = self._places(hidden_TD, layout)
            for layer in layers[:-1]:
                hidden_TD = _run_one(hidden_TD, layer, places)
            if len(rows) < layout.total:
                places = Places(tiles_of(layout, rows), places.cos, places.sin, rows)
            at_rows = _run_one(hidden_TD, layers[-1], places)
        return self._final(at_rows)[places_of]

    def hidden(self, ids_T: Tensor, layout: CausalLayout, rows_N: Tensor | None = None) -> Tensor:
        """The last hidden states after the final norm, [T, D], or at `rows_N` [N, D]."""
        if rows_N is not None:
            return self.run_rows(self.embed(ids_T), layout, rows_N)
        return self._final(self.run(self.embed(ids_T), layout))

    def _final(self, hidden: Tensor) -> Tensor:
        result: Tensor = NormFunction.apply(hidden, self.norm, *self.norm.trained)  # type: ignore[no-untyped-call]
        return result

    def _places(self, like: Tensor, layout: CausalLayout) -> Places:
        cos, sin = self.model.trunk.rotary_emb(like.unsqueeze(0), layout.positions.unsqueeze(0))
        half = cos.shape[-1] // 2  # the other half is the same
        cos, sin = (x[0, :, None, None, :half].contiguous() for x in (cos, sin))
        return Places(tiles_of(layout), cos, sin)


def _run_one(hidden_TD: Tensor, layer: CausalLayer, places: Places) -> Tensor:
    """One block; what its backward needs is kept only when there will be one."""
    keep = torch.is_grad_enabled() and (hidden_TD.requires_grad or bool(layer.trained))
    result: Tensor = CausalLayerFunction.apply(  # type: ignore[no-untyped-call]
        hidden_TD, layer, places, keep, *layer.trained
    )
    return result
