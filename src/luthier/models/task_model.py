"""A base model with a head for one task.

The forward pass is three public steps, so that hidden states computed elsewhere (without padding,
or read from a cache) meet the same head: `embed` and `run_blocks` (or `encode`, both at once),
`pool`, `classify`. Shapes: B rows, L tokens, D hidden width, C outputs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from luthier.core.recipe import FreezeSpec, FullMethod
from luthier.models.families import Family, classify_tokens


class LinearHead(nn.Module):
    """Dropout and one linear layer, our head on mean or first-token pooling."""

    def __init__(self, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, outputs)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, D] -> [B, C]."""
        logits: Tensor = self.linear(self.dropout(pooled))
        return logits


class TaskModel(nn.Module):
    """`forward(input_ids, attention_mask, token_type_ids)` gives float32 logits [B, C], or [B, L, C]
    for extract.

    Attributes:
        task, labels: classify's classes, regress's targets or extract's span labels.
        outputs: names of the C logits (for extract O, B-x, I-x; else the labels).
        pooling: stock (the architecture's own head), mean or first (ours).
        backbone: the transformers model; PEFT changes it in place.
        head: our head, None with stock pooling.
        peft: the PEFT wrapper around `backbone`, for saving and merging; None without PEFT.
        method, freeze: what `methods.apply` did.
    """

    def __init__(
        self,
        backbone: Any,
        family: Family,
        *,
        task: str,
        labels: Sequence[str],
        outputs: Sequence[str],
        several_labels: bool,
        pooling: str,
        head: LinearHead | None,
        seed: int,
        precision: str,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.family = family
        self.task = task
        self.labels = tuple(labels)
        self.outputs = tuple(outputs)
        self.several_labels = several_labels
        self.pooling = pooling
        self.seed = seed
        self.precision = precision
        self.method: Any = FullMethod()
        self.freeze = FreezeSpec()
        self._peft: list[Any] = []  # in a list, so that its modules are not registered twice

    @property
    def peft(self) -> Any:
        """The PeftModel, or None."""
        return self._peft[0] if self._peft else None

    def set_peft(self, wrapper: Any) -> None:
        """Remember the PEFT wrapper; a prefix lives outside the backbone and is registered here."""
        self._peft = [wrapper]
        if wrapper.active_peft_config.is_prompt_learning:
            self.prompt_encoder = wrapper.prompt_encoder

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.backbone.config

    @property
    def trunk(self) -> Any:
        """The encoder without any head, for example a BertModel."""
        return self.backbone.base_model

    @property
    def layers(self) -> list[nn.Module]:
        """The encoder blocks, bottom to top."""
        return list(self.trunk.get_submodule(self.family.blocks))

    @property
    def embeddings(self) -> nn.Module:
        """The token embeddings below the first block."""
        module: nn.Module = self.trunk.embeddings
        return module

    @property
    def reserved_positions(self) -> int:
        """Positions that a prefix takes from the base model's context."""
        return int(self.method.tokens) if self.method.kind == "prefix" else 0

    def embedding_modules(self) -> list[nn.Module]:
        """What stands below the first block or is shared by all blocks."""
        return [self.trunk.get_submodule(path) for path in self.family.embeddings if self._has(path)]

    def block_modules(self, index: int) -> list[nn.Module]:
        """Block `index` with what belongs to it (a convolution after the first, a norm after the last)."""
        modules = [self.layers[index]]
        if index == 0 and self.family.conv and self._has(self.family.conv):
            modules.append(self.trunk.get_submodule(self.family.conv))
        if index == len(self.layers) - 1 and self.family.final_norm:
            modules.append(self.trunk.get_submodule(self.family.final_norm))
        return modules

    def head_modules(self) -> dict[str, nn.Module]:
        """The modules above the encoder's hidden states, by name in the backbone (ours: head)."""
        if self.head is not None:
            return {"head": self.head}
        found = {name: module for name, module in self.backbone.named_children() if module is not self.trunk}
        pooler = dict(self.trunk.named_children()).get("pooler")
        return {**found, "pooler": pooler} if pooler is not None else found

    def head_parameters(self) -> list[nn.Parameter]:
        """The head's parameters; always trained. (PEFT keeps an untrained copy, which is left out.)"""
        return [
            parameter
            for module in self.head_modules().values()
            for name, parameter in module.named_parameters()
            if "original_module" not in name.split(".")
        ]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Logits, float32."""
        return self.readout(self.encode(input_ids, attention_mask, token_type_ids), attention_mask)

    def encode(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """The last hidden states [B, L, D], by the transformers model itself."""
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.family.type_ids and token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        with self._autocast(input_ids):
            if self.method.kind == "prefix":
                rows = input_ids.shape[0]
                seen = attention_mask.new_ones(rows, self.method.tokens)
                inputs["attention_mask"] = torch.cat((seen, attention_mask), dim=1)
                inputs["past_key_values"] = self.peft.get_prompt(rows)
            hidden: Tensor = self.trunk(**inputs).last_hidden_state
        return hidden

    def embed(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """The input of the first block [B, L, D]."""
        types = token_type_ids if self.family.type_ids else None
        with self._autocast(input_ids):
            return self.family.embed(self.trunk, input_ids, attention_mask, types)

    def run_blocks(self, hidden_BLD: Tensor, attention_mask: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Blocks `start` to `stop` (exclusive; None = the last, with the final norm) on hidden states.

        ``run_blocks(embed(x), mask)`` equals ``encode(x)``; not for a prefix, which needs `encode`.
        """
        blocks = self.layers
        stop = len(blocks) if stop is None else stop
        with self._autocast(hidden_BLD):
            hidden = self.family.run(self.trunk, hidden_BLD, attention_mask, blocks[start:stop], start)
            if stop == len(blocks) and self.family.final_norm:
                hidden = self.trunk.get_submodule(self.family.final_norm)(hidden)
        return hidden

    def readout(self, hidden_BLD: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits from the last hidden states: `classify(pool(...))`."""
        return self.classify(self.pool(hidden_BLD, attention_mask))

    def pool(self, hidden_BLD: Tensor, attention_mask: Tensor) -> Tensor:
        """What the head reads: [B, D]; for extract the hidden states as they are. No parameters."""
        if self.task == "extract":
            return hidden_BLD
        stock_mean = self.config.model_type == "modernbert" and self.config.classifier_pooling == "mean"
        if self.pooling == "mean" or (self.pooling == "stock" and stock_mean):
            mask = attention_mask.unsqueeze(-1).to(hidden_BLD.dtype)
            return (hidden_BLD * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
        return hidden_BLD[:, 0]

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits from what `pool` gave: every parameter of the head is in here."""
        with self._autocast(pooled):
            if self.head is not None:
                logits: Tensor = self.head(pooled)
            elif self.task == "extract":
                logits = classify_tokens(self.family, self.backbone, pooled)
            else:
                logits = self.family.classify(self.backbone, self.trunk, pooled)
        return logits.float()

    @contextlib.contextmanager
    def _autocast(self, like: Tensor) -> Iterator[None]:
        if self.precision == "bf16":
            with torch.autocast(like.device.type, dtype=torch.bfloat16):
                yield
        else:
            yield

    def _has(self, path: str) -> bool:
        module: Any = self.trunk
        for name in path.split("."):
            module = dict(module.named_children()).get(name)
            if module is None:
                return False
        return True
