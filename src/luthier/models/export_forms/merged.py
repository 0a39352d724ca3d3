"""A plain Hugging Face or sentence-transformers folder, read again by those libraries alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from luthier.core import durable
from luthier.core.errors import ModelError
from luthier.core.recipe import FreezeSpec, FullMethod
from luthier.models.export import SETTINGS_JSON
from luthier.models.export_forms.forms import need
from luthier.models.export_forms.parity import Logits, Parity, compare
from luthier.models.export_forms.sources import CausalSource, EncoderSource, causal_answers, load_tokenizer
from luthier.models.quiet import quiet

READER = f"transformers {transformers.__version__}"
TORCH_DTYPES = {"fp32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def export_causal(source: CausalSource, folder: Path, dtype: str) -> list[Parity]:
    """AutoModelForCausalLM's layout, tokenizer and luthier.json in `folder`; gives the parity table."""
    merged = source.merged
    prompts = source.prompts()
    tuned, untuned = source.answers(prompts), source.untuned(prompts)
    rows = []
    if source.model.peft is not None:
        with quiet():
            plain = causal_answers(merged.backbone, prompts)
        rows.append(compare("merged, in memory", READER, tuned, plain, "fp32", untuned))
    source.stop_generation(merged.backbone)
    with quiet(), durable.guard(folder):
        merged.backbone.to(TORCH_DTYPES[dtype]).save_pretrained(folder)
        source.save_tokenizer(folder)
    durable.write_json(folder / SETTINGS_JSON, _as_whole(source.settings, "transformers"))
    found = causal_answers(read_causal(folder), prompts)
    return [*rows, compare(f"merged {dtype}", READER, tuned, found, dtype, untuned)]


def read_causal(folder: Path) -> Any:
    """The folder by transformers alone, computing in float32."""
    with quiet():
        return AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32
        ).eval()


def export_encoder(source: EncoderSource, folder: Path, dtype: str) -> list[Parity]:
    """The auto class's layout for stock pooling, sentence-transformers' for mean and first; gives the parity
    table. `dtype` is fp32: an encoder is small."""
    if dtype != "fp32":
        raise ModelError(
            f"encoders are written in fp32, not in {dtype}.", remedy="Leave --dtype out.", code="unknown_dtype"
        )
    layout, model = source.settings["layout"], source.tuned.model
    tuned = source.answers()
    if layout == "sentence-transformers":
        need(("sentence_transformers",), "export", "checking a sentence-transformers folder")
        _copy(source.folder, folder)
    elif layout == "transformers" or (layout == "peft" and model.peft is not None and model.method.kind != "prefix"):
        with quiet(), durable.guard(folder):
            backbone = model.backbone if model.peft is None else model.peft.merge_and_unload()
            backbone.save_pretrained(folder)
    else:
        raise ModelError(
            f"{model.method.kind} layers cannot be merged into the base's weights.",
            where=str(source.folder),
            remedy="Export to onnx, which keeps them, or train with lora, whose updates can be merged.",
            code="not_mergeable",
        )
    source.save_tokenizer(folder)
    whole = "transformers" if layout == "peft" else layout
    durable.write_json(folder / SETTINGS_JSON, _as_whole(source.settings, whole))
    if layout == "sentence-transformers":
        import sentence_transformers

        reader = f"sentence-transformers {sentence_transformers.__version__}"
        return [compare("merged fp32", reader, tuned, _by_sentence_transformers(folder, source.texts), "fp32")]
    return [compare("merged fp32", READER, tuned, _by_transformers(folder, source), "fp32")]


def _as_whole(settings: dict[str, Any], layout: str) -> dict[str, Any]:
    """luthier.json of a model without adapter: Luthier loads the folder, too."""
    return {
        **settings,
        "layout": layout,
        "method": FullMethod().model_dump(),
        "freeze": FreezeSpec().model_dump(),
    }


def _copy(source: Path, target: Path) -> None:
    """The files of a finished sentence-transformers folder, without the adapter they were merged from."""
    for path in sorted(source.rglob("*")):
        inner = path.relative_to(source)
        if path.is_file() and inner.parts[0] != "adapter":
            durable.write_bytes(target / inner, path.read_bytes())


@torch.inference_mode()
def _by_transformers(folder: Path, source: EncoderSource) -> list[Logits]:
    extract = source.settings["task"] == "extract"
    auto: Any = AutoModelForTokenClassification if extract else AutoModelForSequenceClassification
    tokenizer = load_tokenizer(folder)
    with quiet():
        model = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32)
    model.eval()
    encoded = [tokenizer(text, truncation=True, return_tensors="pt") for text in source.texts]
    return [model(**inputs).logits[0].float().numpy() for inputs in encoded]


def _by_sentence_transformers(folder: Path, texts: list[str]) -> list[Logits]:
    from sentence_transformers import SentenceTransformer

    with quiet():
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        rows: list[Logits] = [model.encode(text, show_progress_bar=False) for text in texts]
    return rows
