"""Bottleneck adapters: Houlsby et al. 2019 (after attention and after the feed-forward layer) and
Pfeiffer et al. 2020 (after the feed-forward layer only). Ours: PEFT has none.

The up-projection begins at zero, so a fresh adapter changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from luthier.core.errors import RecipeError
from luthier.core.recipe import AdapterMethod
from luthier.models.task_model import TaskModel


class Adapter(nn.Module):
    """x + up(act(down(x))) on [..., D]."""

    def __init__(self, hidden: int, bottleneck: int, activation: str) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.act = nn.GELU() if activation == "gelu" else nn.ReLU()
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.normal_(self.down.weight, std=hidden**-0.5)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        update: Tensor = self.up(self.act(self.down(hidden)))
        return hidden + update


class WithAdapter(nn.Module):
    """A sublayer's last linear layer and the adapter on its output, before residual and norm."""

    def __init__(self, base: nn.Linear | Conv1D, adapter: Adapter) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.adapter(self.base(hidden))
        return out


def apply(model: TaskModel, method: AdapterMethod, layers: range) -> None:
    """Wrap the output layer of the sublayers of the open blocks."""
    if not layers:
        raise RecipeError(
            "adapter has no layer left: freeze.layers freezes all of them.",
            remedy="Freeze fewer layers, or use method: head.",
            param="freeze.layers",
        )
    places = [model.family.feed_forward_output]
    if method.style == "houlsby":
        places.insert(0, model.family.attention_output)
    blocks = model.layers
    for index in layers:
        for path in places:
            dense = blocks[index].get_submodule(path)
            assert isinstance(dense, nn.Linear | Conv1D)
            width = dense.out_features if isinstance(dense, nn.Linear) else dense.nf
            adapter = Adapter(width, method.bottleneck, method.activation)
            adapter.to(device=dense.weight.device, dtype=torch.float32)
            blocks[index].set_submodule(path, WithAdapter(dense, adapter))
