"""The PEFT folder alone, read again by PEFT on top of the base."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from luthier.core import durable
from luthier.core.errors import ModelError
from luthier.data.tags import bio_labels
from luthier.models.export_forms.merged import read_causal
from luthier.models.export_forms.parity import Logits, Parity, compare
from luthier.models.export_forms.sources import (
    CausalSource,
    EncoderSource,
    causal_answers,
    load_tokenizer,
    where_base,
)
from luthier.models.quiet import quiet

READER = f"peft {peft.__version__}"
_FILES = ("adapter_config.json", "adapter_model.safetensors")


def export_causal(source: CausalSource, folder: Path, dtype: str) -> list[Parity]:
    """adapter_config.json (which names the base), adapter_model.safetensors and the tokenizer with its chat
    template in `folder`; gives the parity table. `dtype` is empty: the adapter stays as it was trained."""
    _copy(source, folder)
    source.save_tokenizer(folder)
    prompts = source.prompts()
    tuned, untuned = source.answers(prompts), source.untuned(prompts)
    model = _on_base(read_causal(where_base(source.settings).path), folder)
    return [compare("adapter", READER, tuned, causal_answers(model, prompts), "fp32", untuned)]


@torch.inference_mode()
def export_encoder(source: EncoderSource, folder: Path, dtype: str) -> list[Parity]:
    """As `export_causal`; the adapter holds the stock head."""
    _copy(source, folder)
    source.save_tokenizer(folder)
    tokenizer = load_tokenizer(folder)
    answers: list[Logits] = []
    model = _by_peft(source, folder)
    for text in source.texts:
        inputs = tokenizer(text, truncation=True, return_tensors="pt")
        answers.append(model(**inputs).logits[0].float().numpy())
    return [compare("adapter", READER, source.answers(), answers, "fp32")]


def _copy(source: CausalSource | EncoderSource, folder: Path) -> None:
    settings = source.settings
    if settings["layout"] != "peft":
        kind = settings["method"]["kind"]
        adapted = kind in ("lora", "ia3", "prefix")
        raise ModelError(
            f"the head of this {kind} run (pooling {settings['pooling']}) is no part of PEFT's layout, so that the "
            "adapter alone would not answer as the run does."
            if adapted
            else f"this run was trained with method {kind}: there is no PEFT adapter to export.",
            where=str(source.folder),
            remedy="Export it with --to merged, which holds the head."
            if adapted
            else "Use --to merged, or train with method lora, ia3 or prefix.",
            code="no_adapter",
        )
    for name in _FILES:
        durable.write_bytes(folder / name, (source.folder / name).read_bytes())


def _by_peft(source: EncoderSource, folder: Path) -> Any:
    settings = source.settings
    extract = settings["task"] == "extract"
    labels = bio_labels(settings["labels"]) if extract else settings["labels"]
    auto: Any = AutoModelForTokenClassification if extract else AutoModelForSequenceClassification
    with quiet():
        base = auto.from_pretrained(
            where_base(settings).path,
            num_labels=len(labels),
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
        )
    return _on_base(base, folder)


def _on_base(base: Any, folder: Path) -> Any:
    with quiet(), warnings.catch_warnings():
        # PEFT 0.21 reads a property that transformers 5.23 renamed; can go when PEFT reads the new one
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        return PeftModel.from_pretrained(base, str(folder)).eval()
