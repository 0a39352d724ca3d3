"""A trained generative model becomes a folder that other libraries load.

Layouts, by method:

- ``transformers`` (full, head, bitfit): config.json and model.safetensors, for AutoModelForCausalLM.
- ``peft`` (lora, ia3, prefix): adapter_config.json and adapter_model.safetensors, for
  PeftModel.from_pretrained on top of AutoModelForCausalLM of the base.
- ``luthier`` (adapter): config.json and luthier_adapter.safetensors, which holds exactly the tensors
  that trained, by their names in `CausalModel`. Only Luthier loads it.

Every layout has the tokenizer with the chat template that was trained with, canary.json (see `canary`), and
luthier.json, from which `run_model.load_causal_run` rebuilds the model. `merge` gives plain weights from lora and ia3.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from luthier.core import durable
from luthier.core.errors import ModelError
from luthier.models.base_source import BaseSource
from luthier.models.catalogue import ENTRIES
from luthier.models.causal_model import CausalModel
from luthier.models.chat_tokenizer import HuggingChatTokenizer
from luthier.models.export import ADAPTER_SAFETENSORS, FORMAT, MERGE_LIMIT, SETTINGS_JSON
from luthier.models.language_canary import write_language_canary
from luthier.models.quiet import quiet
from luthier.models.trainable import trainable_state

_LAYOUTS = {
    "full": "transformers",
    "head": "transformers",
    "bitfit": "transformers",
    "lora": "peft",
    "ia3": "peft",
    "prefix": "peft",
    "adapter": "luthier",
}
_ROUNDING = 1e-6
"""Below this, differences of hidden states are float32's own."""
_EFFECT_SHARE = 0.01
"""A merge may lose no more than this share of what the adapter changes."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Plain weights: `backbone` is a float32 model of transformers.

    `difference` is its largest deviation from the tuned model in a hidden state, `effect` that of
    the tuned model from the untuned base, both relative to the largest hidden state.
    """

    backbone: Any
    difference: float
    effect: float


def layout_of_causal(model: CausalModel) -> str:
    """Which of the three layouts a model is saved in."""
    return _LAYOUTS[model.method.kind]


def save_causal(
    model: CausalModel, tokenizer: HuggingChatTokenizer, source: BaseSource, folder: Path, extras: dict[str, Any]
) -> None:
    """Write the model into `folder`, which exists (the caller makes it appear at once and whole).

    `extras` go into luthier.json; known keys: max_length, template (a name or path, for people).
    """
    layout = layout_of_causal(model)
    with quiet(), durable.guard(folder):
        if layout == "transformers":
            model.backbone.save_pretrained(folder)
        elif layout == "peft":
            config = model.peft.peft_config["default"]
            config.base_model_name_or_path = source.hub_id or str(source.path.resolve())
            config.revision = source.revision or None
            # False: "auto" would ask the hub whether the vocabulary was changed
            model.peft.save_pretrained(folder, save_embedding_layers=False)
        else:
            tensors = {name: tensor.cpu().contiguous() for name, tensor in trainable_state(model).items()}
            model.config.save_pretrained(folder)
            durable.write_bytes(folder / ADAPTER_SAFETENSORS, to_safetensors(tensors, metadata={"format": "pt"}))
        tokenizer.save(folder)
    write_language_canary(model, tokenizer, folder)
    durable.write_json(folder / SETTINGS_JSON, _settings(model, tokenizer, source, layout, extras))


def merge(model: CausalModel) -> Merged:
    """The tuned model without any adapter, in float32; the model itself stays as it is.

    Raises `ModelError` for a method whose modules cannot become plain weights, and when the merged
    weights would not answer as the tuned model does (PITFALLS A1).
    """
    if model.method.kind in ("adapter", "prefix"):
        raise ModelError(
            f"{model.method.kind} layers cannot be merged into the base's weights.",
            remedy="Export the run as it is, or train with lora, whose updates can be merged.",
            code="not_mergeable",
        )
    if model.peft is None:
        return Merged(copy.deepcopy(model.backbone).float(), 0.0, 0.0)
    with quiet():
        merged = copy.deepcopy(model.peft).float().merge_and_unload()
    training = model.training
    model.eval()
    merged.eval()
    tuned = _probe(model, model.trunk)
    with model.peft.disable_adapter():
        untuned = _probe(model, model.trunk)
    plain = _probe(model, merged.base_model)
    model.train(training)
    largest = tuned.abs().max()
    difference = float((plain - tuned).abs().max() / largest)
    effect = float((tuned - untuned).abs().max() / largest)
    limit = max(_ROUNDING, min(MERGE_LIMIT, _EFFECT_SHARE * effect))
    if not difference <= limit:
        raise ModelError(
            f"merging the adapter into the base would change its answers (by {difference:.1e} of the largest "
            f"hidden state; the adapter's own effect is {effect:.1e}, the limit {limit:.1e}).",
            remedy="Publish the adapter itself, or train with a base in float32.",
            code="merge_differs",
        )
    return Merged(merged, difference, effect)


@torch.no_grad()
def _probe(model: CausalModel, trunk: Any) -> Tensor:
    """Hidden states of random tokens, without autocast."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.config.vocab_size, (4, 16), generator=generator).to(model.output_weight.device)
    hidden: Tensor = trunk(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).last_hidden_state
    return hidden.float()


def _settings(
    model: CausalModel, tokenizer: HuggingChatTokenizer, source: BaseSource, layout: str, extras: dict[str, Any]
) -> dict[str, Any]:
    by_name = bool(source.hub_id) or any(entry.name == source.name for entry in ENTRIES)
    return {
        "format": FORMAT,
        "layout": layout,
        "task": model.task,
        "method": model.method.model_dump(),
        "freeze": model.freeze.model_dump(),
        "base": {
            "name": source.name,
            "hub_id": source.hub_id,
            "revision": source.revision,
            "licence": source.licence,
            "sha256": dict(source.sha256),
            "path": "" if by_name else str(source.path.resolve()),
        },
        "tokenizer": tokenizer.fingerprint,
        "max_length": tokenizer.max_length - model.reserved_positions,
        "notes": list(model.notes),
        **extras,
    }
