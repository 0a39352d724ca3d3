"""A generative base model that trains on an unpadded stream of tokens, by transformers' own modules.

Shapes: T tokens of the stream, B rows, L tokens of a padded row, D hidden width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from luthier.models.causal_attention import SegmentStream
from luthier.models.causal_families import CausalFamily
from luthier.models.causal_layout import CausalLayout
from luthier.models.task_model import TaskModel


class CausalModel(TaskModel):
    """A `TaskModel` for chat and complete. Nothing new stands on top of it: the head is the base's own
    output matrix, which trains as part of the base, or alone with method ``head``.

    ``logits(hidden(ids_T, CausalLayout.of(lengths)))`` are the next-token logits of every token.
    Called with padded rows as any `TaskModel` it gives logits [B, L, V].

    Attributes (besides those of `TaskModel`):
        gradient_checkpointing: activations are computed again in the backward pass.
        notes: sentences for the user about what was changed in the model.
    """

    family: CausalFamily  # type: ignore[assignment]  # the counterpart of an encoder's

    def __init__(
        self,
        backbone: Any,
        family: CausalFamily,
        *,
        task: str,
        seed: int,
        precision: str,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__(
            backbone,
            cast(Any, family),
            task=task,
            labels=(),
            outputs=(),
            several_labels=False,
            pooling="stock",
            head=None,
            seed=seed,
            precision=precision,
        )
        self.gradient_checkpointing = gradient_checkpointing
        self.notes: list[str] = []
        self._output_trains = False
        softcap = backbone.config.to_dict().get("final_logit_softcapping")
        self.softcap: float | None = None if softcap is None else float(softcap)

    @property
    def embeddings(self) -> nn.Module:
        """The token embeddings."""
        module: nn.Module = self.backbone.get_input_embeddings()
        return module

    @property
    def output_weight(self) -> nn.Parameter:
        """The output matrix [V, D]; with tied embeddings their own parameter."""
        weight: nn.Parameter = self.backbone.get_output_embeddings().weight
        return weight

    @property
    def output_bias(self) -> nn.Parameter | None:
        """[V], None in every family but a few."""
        bias: nn.Parameter | None = self.backbone.get_output_embeddings().bias
        return bias

    def head_modules(self) -> dict[str, nn.Module]:
        """Empty, but with method ``head`` the output matrix."""
        return {"lm_head": self.backbone.get_output_embeddings()} if self._output_trains else {}

    def train_output(self) -> None:
        """Make the output matrix the head; where it is tied to the embeddings it becomes a copy of its own."""
        self._output_trains = True
        if self.output_weight is self.embeddings.weight:
            copy = nn.Parameter(self.output_weight.detach().clone())
            self.backbone.get_output_embeddings().weight = copy
            self.config.tie_word_embeddings = False
            self.notes.append(
                "The output matrix was tied to the token embeddings; method head trains a copy of its own "
                f"({copy.numel():,} parameters more)."
            )

    def set_peft(self, wrapper: Any) -> None:
        """Remember the PEFT wrapper."""
        super().set_peft(wrapper)
        # PEFT asks again for what `build_causal` turned off
        self.backbone.disable_input_require_grads()

    @torch.no_grad()
    def prefix(self) -> list[tuple[Tensor, Tensor]]:
        """Of prefix tuning: (keys, values), each [1, G, P, E], per layer, which all rows see; else empty."""
        if self.method.kind != "prefix":
            return []
        return [(layer.keys, layer.values) for layer in self.peft.get_prompt(1).layers]

    def hidden(self, ids_T: Tensor, layout: CausalLayout) -> Tensor:
        """The last hidden states [T, D], after the final norm, by the transformers model itself."""
        # a mask of four dimensions is taken as it is: none is made, quadratic in T, that nobody reads
        ready = torch.empty(1, 1, 0, 0, device=ids_T.device)
        with self._autocast(ids_T):
            hidden: Tensor = self.trunk(
                input_ids=ids_T.unsqueeze(0),
                attention_mask=ready,
                position_ids=self._positions(layout, ids_T.device),
                use_cache=False,
                luthier_stream=self._stream(layout),
            ).last_hidden_state
        return hidden[0]

    def embed_stream(self, ids_T: Tensor) -> Tensor:
        """The embeddings of the tokens [T, D]; positions are added in `run_stream`, if anywhere."""
        with self._autocast(ids_T):
            hidden: Tensor = self.embeddings(ids_T)
        return hidden

    def run_stream(self, hidden_TD: Tensor, layout: CausalLayout, start: int = 0, stop: int | None = None) -> Tensor:
        """Blocks `start` to `stop` (exclusive; None = the last, with the final norm) on hidden states [T, D].

        ``run_stream(embed_stream(ids), layout)`` equals ``hidden(ids, layout)``.
        """
        blocks = self.layers
        stop = len(blocks) if stop is None else stop
        options = {"attention_mask": None, "use_cache": False, "luthier_stream": self._stream(layout)}
        positions = self._positions(layout, hidden_TD.device)
        with self._autocast(hidden_TD):
            hidden = hidden_TD.unsqueeze(0)
            if stop > start:
                hidden = self.family.run(self.trunk, hidden, positions, blocks[start:stop], start, options)
            if stop == len(blocks):
                hidden = self.trunk.get_submodule(self.family.final_norm)(hidden)
        return hidden[0]

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> float32 [..., V], soft-capped where the family does so (Gemma 2)."""
        with self._autocast(hidden):
            logits = linear(hidden, self.output_weight, self.output_bias)
        logits = logits.float()
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def classify(self, pooled: Tensor) -> Tensor:
        """`logits`, by the name that every `TaskModel` has for it."""
        return self.logits(pooled)

    def pool(self, hidden_BLD: Tensor, attention_mask: Tensor) -> Tensor:
        """The hidden states as they are."""
        return hidden_BLD

    def encode(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """The last hidden states [B, L, D] of padded rows, zero at the padding."""
        return _padded(self.hidden(input_ids[attention_mask.bool()], _layout(attention_mask)), attention_mask)

    def embed(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """The embeddings of padded rows [B, L, D]."""
        return self.embed_stream(input_ids)

    def run_blocks(self, hidden_BLD: Tensor, attention_mask: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """`run_stream` on padded rows."""
        hidden = self.run_stream(hidden_BLD[attention_mask.bool()], _layout(attention_mask), start, stop)
        return _padded(hidden, attention_mask)

    def _positions(self, layout: CausalLayout, device: torch.device) -> Tensor:
        return (layout.positions + self.reserved_positions).to(device).unsqueeze(0)

    def _stream(self, layout: CausalLayout) -> SegmentStream:
        if self.method.kind != "prefix":
            return SegmentStream(layout)
        cache = self.peft.get_prompt(1)
        return SegmentStream(layout, [(layer.keys, layer.values) for layer in cache.layers])


def _layout(attention_mask: Tensor) -> CausalLayout:
    return CausalLayout.of(attention_mask.sum(dim=1).tolist())


def _padded(hidden_TD: Tensor, attention_mask: Tensor) -> Tensor:
    rows = hidden_TD.new_zeros(*attention_mask.shape, hidden_TD.shape[-1])
    rows[attention_mask.bool()] = hidden_TD
    return rows
