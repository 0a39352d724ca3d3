"""Encoders as ONNX, read again by onnxruntime.

model.onnx takes input_ids, attention_mask and, where the family reads them, token_type_ids (int64 [batch,
length], both dynamic) and gives logits (float32 [batch, C], for extract [batch, length, C]). answers.json
says how logits become answers.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from luthier.core import durable
from luthier.core.errors import ModelError
from luthier.models.export_forms.forms import need
from luthier.models.export_forms.parity import Logits, Parity, compare
from luthier.models.export_forms.sources import CausalSource, EncoderSource, load_tokenizer
from luthier.models.quiet import quiet

MODEL_ONNX = "model.onnx"
ANSWERS_JSON = "answers.json"
_KEPT = (
    "task", "labels", "several_labels", "max_length", "cut", "temperature", "thresholds", "target_mean", "target_std",
)  # fmt: skip


def export_causal(source: CausalSource, folder: Path, dtype: str) -> list[Parity]:
    """Raises `ModelError`: generation needs a key/value cache, which GGUF's runtimes have."""
    raise ModelError(
        "ONNX is for encoders; this run writes text.",
        where=str(source.folder),
        remedy="Use --to gguf or --to merged.",
        code="not_an_encoder",
    )


def export_encoder(source: EncoderSource, folder: Path, dtype: str) -> list[Parity]:
    """Every method, adapter layers included, in float32; gives the parity table."""
    need(("onnx", "onnxscript", "onnxruntime"), "onnx", "export to ONNX")
    import onnxruntime

    tuned, model = source.answers(), source.tuned.model
    if model.method.kind == "prefix":
        raise ModelError(
            "a prefix stands in the attention's cache, which has no place in this graph.",
            where=str(source.folder),
            remedy="Train with lora or adapter, or export the adapter itself.",
            code="not_exportable",
        )
    if model.peft is not None:
        model.peft.merge_adapter()
    names = ["input_ids", "attention_mask"]
    if source.tuned.tokenizer.uses_type_ids:
        names.append("token_type_ids")
    # two different rows: a graph traced with one row, or with one length, may take that for a constant
    ids = torch.randint(0, model.config.vocab_size, (2, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    inputs = (ids, mask, torch.zeros_like(ids))[: len(names)]
    with _silent(), torch.no_grad(), durable.guard(folder):
        program = torch.onnx.export(
            model,
            inputs,
            input_names=names,
            output_names=["logits"],
            dynamo=True,
            dynamic_shapes={name: {0: "batch", 1: "length"} for name in names},
            verbose=False,
        )
        assert program is not None  # it is None only without dynamo
        program.save(str(folder / MODEL_ONNX))
    source.save_tokenizer(folder)
    with quiet(), durable.guard(folder):
        model.config.save_pretrained(folder)
    durable.write_json(
        folder / ANSWERS_JSON,
        {**{key: source.settings[key] for key in _KEPT}, "inputs": names, "outputs": list(model.outputs)},
    )
    reader = f"onnxruntime {onnxruntime.__version__}"
    alone, together = read_onnx(folder, source.texts)
    rows = [compare("onnx", reader, tuned, alone, "fp32")]
    return [*rows, compare("onnx, one batch", reader, tuned, together, "fp32")]


def read_onnx(folder: Path, texts: list[str]) -> tuple[list[Logits], list[Logits]]:
    """Answers of onnxruntime with the bundle's own tokenizer: text by text, and all in one padded batch."""
    import onnxruntime

    tokenizer = load_tokenizer(folder)
    session: Any = onnxruntime.InferenceSession(str(folder / MODEL_ONNX), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def run(batch: list[str]) -> tuple[Logits, Any]:
        # not every tokenizer gives type ids without being asked
        types = "token_type_ids" in names
        encoded = tokenizer(
            batch, truncation=True, padding=True, return_token_type_ids=types, return_tensors="np"
        )
        feed = {name: encoded[name].astype("int64") for name in names}
        return session.run(["logits"], feed)[0], encoded["attention_mask"].sum(axis=1)

    alone = [run([text])[0][0] for text in texts]
    logits, lengths = run(texts)
    per_token = logits.ndim == 3
    return alone, [row[:length] if per_token else row for row, length in zip(logits, lengths, strict=True)]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporter tells its own developers much that nobody else can act on."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 calls what torch 2.13 deprecates
            warnings.filterwarnings("ignore", message=".*The axis name")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
