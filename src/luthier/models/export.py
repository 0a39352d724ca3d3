"""A trained model becomes a folder that other libraries load.

Layouts, by pooling and method:

- ``transformers`` (stock; full, head, bitfit): config.json and model.safetensors, for
  AutoModelForSequenceClassification or AutoModelForTokenClassification.
- ``peft`` (stock; lora, ia3, prefix): adapter_config.json and adapter_model.safetensors with the
  head, for PeftModel.from_pretrained on top of that auto class of the base.
- ``sentence-transformers`` (mean, first; full, head, bitfit, lora, ia3): Transformer, Pooling and
  Dense with no activation, so that SentenceTransformer.encode gives the logits. LoRA and IA3 are
  merged into the weights, the difference is measured, and the small adapter stays in ``adapter/``.
- ``luthier`` (adapter; prefix with mean or first): config.json and luthier_adapter.safetensors,
  which holds exactly the tensors that trained, by their names in `TaskModel`. Only Luthier loads
  it. There are no base weights in it, so that no library can load it and silently serve the base.

Every layout has the tokenizer, canary.json (see `canary`) and luthier.json, from which
`run_model.load_run_model` rebuilds the model.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from luthier.core import durable
from luthier.core.errors import ModelError
from luthier.models.base_source import BaseSource
from luthier.models.canary import write_encoder_canary
from luthier.models.quiet import quiet
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import Tokenizer
from luthier.models.trainable import trainable_state

FORMAT = 1
SETTINGS_JSON = "luthier.json"
ADAPTER_SAFETENSORS = "luthier_adapter.safetensors"
MERGE_LIMIT = 1e-4
"""Largest allowed difference of hidden states after merging, relative to their largest value."""


def layout_of(model: TaskModel) -> str:
    """Which of the four layouts a model is saved in."""
    kind = model.method.kind
    if kind == "adapter" or (kind == "prefix" and model.head is not None):
        return "luthier"
    if model.head is not None:
        return "sentence-transformers"
    return "peft" if kind in ("lora", "ia3", "prefix") else "transformers"


def save(model: TaskModel, tokenizer: Tokenizer, source: BaseSource, folder: Path, *, extras: dict[str, Any]) -> None:
    """Write the model into `folder`, which exists (the caller makes it appear at once and whole).

    `extras` go into luthier.json; known keys: max_length, cut, temperature, thresholds,
    target_mean, target_std. Raises `ModelError` when merging an adapter would change the answers.
    """
    layout = layout_of(model)
    settings = _settings(model, tokenizer, source, layout, extras)
    with quiet(), durable.guard(folder):
        if layout == "transformers":
            model.backbone.save_pretrained(folder)
        elif layout == "peft":
            _save_peft(model, source, folder)
        elif layout == "sentence-transformers":
            settings["merge_difference"] = _save_sentence_transformers(model, source, folder, settings)
        else:
            model.config.save_pretrained(folder)
            durable.write_bytes(folder / ADAPTER_SAFETENSORS, _bytes(trainable_state(model)))
        tokenizer.save(folder, max_length=settings["max_length"], cut=settings["cut"])
    write_encoder_canary(model, tokenizer, folder, max_length=settings["max_length"], cut=settings["cut"])
    durable.write_json(folder / SETTINGS_JSON, settings)


def _settings(
    model: TaskModel, tokenizer: Tokenizer, source: BaseSource, layout: str, extras: dict[str, Any]
) -> dict[str, Any]:
    base = {
        "name": source.name,
        "hub_id": source.hub_id,
        "revision": source.revision,
        "licence": source.licence,
        "sha256": dict(source.sha256),
        "path": "" if source.hub_id else str(source.path.resolve()),
    }
    return {
        "format": FORMAT,
        "layout": layout,
        "task": model.task,
        "labels": list(model.labels),
        "several_labels": model.several_labels,
        "pooling": model.pooling,
        "method": model.method.model_dump(),
        "freeze": model.freeze.model_dump(),
        "base": base,
        "tokenizer": tokenizer.fingerprint,
        "max_length": tokenizer.max_length - model.reserved_positions,
        "cut": "end",
        "temperature": 1.0,
        "thresholds": None,
        "target_mean": None,
        "target_std": None,
        **extras,
    }


def _save_peft(model: TaskModel, source: BaseSource, folder: Path) -> None:
    config = model.peft.peft_config["default"]
    config.base_model_name_or_path = source.hub_id or str(source.path.resolve())
    config.revision = source.revision or None
    # False: "auto" would ask the hub whether the vocabulary was changed
    model.peft.save_pretrained(folder, save_embedding_layers=False)


def _save_sentence_transformers(
    model: TaskModel, source: BaseSource, folder: Path, settings: dict[str, Any]
) -> float | None:
    assert model.head is not None
    backbone, difference = model.backbone, None
    if model.peft is not None:
        backbone = copy.deepcopy(model.peft).merge_and_unload()
        difference = _merge_difference(model, backbone)
        _save_peft(model, source, folder / "adapter")
    backbone.save_pretrained(folder)
    hidden, outputs = model.head.linear.in_features, model.head.linear.out_features
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    durable.write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(kinds)
        ],
    )
    durable.write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": settings["max_length"], "do_lower_case": False},
    )
    durable.write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": hidden,
            "pooling_mode_cls_token": model.pooling == "first",
            "pooling_mode_mean_tokens": model.pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    durable.write_json(
        folder / "2_Dense" / "config.json",
        {
            "in_features": hidden,
            "out_features": outputs,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    durable.write_bytes(
        folder / "2_Dense" / "model.safetensors",
        _bytes({f"linear.{name}": value for name, value in model.head.linear.state_dict().items()}),
    )
    return difference


@torch.no_grad()
def _merge_difference(model: TaskModel, merged: Any) -> float:
    """The largest change of a hidden state on random tokens, relative to the largest value."""
    training = model.training
    model.eval()
    merged.eval()
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.config.vocab_size, (4, 16), generator=generator).to(device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    before: Tensor = model.trunk(**inputs).last_hidden_state
    after: Tensor = merged(**inputs).last_hidden_state
    model.train(training)
    difference = float((after - before).abs().max() / before.abs().max())
    if not difference <= MERGE_LIMIT:
        raise ModelError(
            f"merging the adapter into the base would change its answers (by {difference:.1e} of the largest "
            f"hidden state; the limit is {MERGE_LIMIT:.0e}).",
            remedy="Use a smaller learning rate, or head.pooling: stock, which keeps the adapter apart.",
            code="merge_differs",
        )
    return difference


def _bytes(tensors: dict[str, Tensor]) -> bytes:
    return to_safetensors(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"format": "pt"},
    )
