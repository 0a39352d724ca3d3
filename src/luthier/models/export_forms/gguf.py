"""GGUF (specification: ggml's docs/gguf.md) for llama.cpp and what is built on it.

One file, model-DTYPE.gguf, that holds everything: numbers of the architecture, weights, tokenizer, chat
template. Vectors are float32; of a matrix whose rows are no multiple of 32 Q8_0 keeps float16, as llama.cpp does.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from luthier.core import durable
from luthier.core.errors import ModelError
from luthier.models.export_forms.forms import need
from luthier.models.export_forms.gguf_layout import (
    ROPE_FREQS,
    Array,
    architecture_of,
    context_of,
    head_width,
    to_gguf,
)
from luthier.models.export_forms.gguf_reader import llama_cpp_answers, llama_cpp_ids, read_model, read_vocabulary
from luthier.models.export_forms.gguf_vocabulary import Vocabulary, backend_of, vocabulary_of
from luthier.models.export_forms.parity import Parity, compare
from luthier.models.export_forms.sources import CausalSource, EncoderSource, broken_tokenizer, causal_answers
from luthier.models.quiet import quiet

_TYPES = {"fp32": "F32", "f16": "F16", "bf16": "BF16", "q8_0": "Q8_0"}
_FILE_TYPES = {"fp32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
_NUMPY: dict[str, Any] = {"F16": np.float16, "F32": np.float32}
_Q8_0_BLOCK = 32
_LARGEST_HALF = 65504.0


def export_causal(source: CausalSource, folder: Path, dtype: str) -> list[Parity]:
    """Merge, write, read again; gives the parity table."""
    need(("gguf",), "gguf", "export to GGUF")
    merged = source.merged
    config = merged.backbone.config
    prompts = source.prompts(context_of(config))
    tuned, untuned = source.answers(prompts), source.untuned(prompts)
    with quiet():
        plain = causal_answers(merged.backbone, prompts)
    vocabulary = vocabulary_of(source.tokenizer, config.vocab_size, source.stop_ids)
    path = folder / f"model-{dtype}.gguf"
    with durable.guard(path):
        write_gguf(path, merged.backbone, vocabulary, dtype, name=source.settings["base"]["name"])
    _check_vocabulary(source, path, vocabulary)
    reader = f"transformers {transformers.__version__}, from the file's tensors"
    rows = [
        compare("merged, in memory", f"transformers {transformers.__version__}", tuned, plain, "fp32", untuned),
        compare(f"gguf {dtype}", reader, tuned, causal_answers(read_model(path), prompts), dtype, untuned),
    ]
    if importlib.util.find_spec("llama_cpp") is not None:
        import llama_cpp

        found = llama_cpp_answers(path, prompts)
        rows.append(
            compare(f"gguf {dtype}", f"llama-cpp-python {llama_cpp.__version__}", tuned, found, dtype, untuned)
        )
    return rows


def export_encoder(source: EncoderSource, folder: Path, dtype: str) -> list[Parity]:
    """Raises `ModelError`: llama.cpp has no such heads."""
    raise ModelError(
        f"GGUF is for models that write text; this run is of the task {source.settings['task']}.",
        where=str(source.folder),
        remedy="Use --to onnx or --to merged.",
        code="not_generative",
    )


def write_gguf(path: Path, backbone: Any, vocabulary: Vocabulary, dtype: str, *, name: str) -> None:
    """Write a float32 transformers model; tensor by tensor, so that it is in memory once."""
    import gguf

    config = backbone.config
    writer = gguf.GGUFWriter(path, architecture_of(config))
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[dtype]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _write_numbers(writer, config)
    _write_vocabulary(writer, vocabulary)
    kinds = {}
    for tensor, weight in _tensors(backbone):
        kinds[tensor] = _kind(gguf, weight, dtype, tensor)
        # the writer takes the shape of numbers of numpy's own types, and of bytes for all others
        stored: np.dtype[Any] = np.dtype(_NUMPY.get(kinds[tensor].name, np.uint8))
        in_bytes = gguf.quants.quant_shape_to_byte_shape(weight.shape, kinds[tensor])
        shape = weight.shape if kinds[tensor].name in _NUMPY else in_bytes
        writer.add_tensor_info(tensor, shape, stored, math.prod(in_bytes), raw_dtype=kinds[tensor])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, weight in _tensors(backbone):
        writer.write_tensor_data(gguf.quants.quantize(np.ascontiguousarray(weight), kinds[tensor]))
    writer.close()


def _write_numbers(writer: Any, config: Any) -> None:
    writer.add_context_length(context_of(config))
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_width(config))
    writer.add_value_length(head_width(config))
    writer.add_rope_dimension_count(head_width(config))
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(float(config.rms_norm_eps))


def _write_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(vocabulary.eos_id)
    if vocabulary.bos_id is not None:
        writer.add_bos_token_id(vocabulary.bos_id)
    if vocabulary.pad_id is not None:
        writer.add_pad_token_id(vocabulary.pad_id)
    if vocabulary.eot_id is not None:
        writer.add_eot_token_id(vocabulary.eot_id)
    writer.add_add_bos_token(vocabulary.add_bos)
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)


def _tensors(backbone: Any) -> Iterator[tuple[str, Array]]:
    """(llama.cpp's name, float32 weight), one at a time; a tied output matrix is left out."""
    config = backbone.config
    for name, weight in backbone.state_dict().items():
        if not (config.tie_word_embeddings and name == "lm_head.weight"):
            yield to_gguf(name, weight.numpy(), config)
    rotary = backbone.model.rotary_emb.inv_freq
    width = head_width(config)
    theta = config.rope_parameters["rope_theta"]
    plain = 1.0 / (theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width))
    if not torch.equal(plain, rotary):
        yield ROPE_FREQS, (plain / rotary).numpy()


def _kind(gguf: Any, weight: Array, dtype: str, name: str) -> Any:
    types = gguf.GGMLQuantizationType
    if weight.ndim == 1:
        return types.F32
    narrow = dtype == "f16" or (dtype == "q8_0" and weight.shape[-1] % _Q8_0_BLOCK != 0)
    if narrow and float(np.abs(weight).max()) > _LARGEST_HALF:
        raise ModelError(
            f"{name} has weights above {_LARGEST_HALF:.0f}, the largest number of float16.",
            remedy="Export with --dtype bf16 or fp32.",
            code="weights_too_large",
        )
    return types.F16 if narrow else types[_TYPES[dtype]]


def _check_vocabulary(source: CausalSource, path: Path, written: Vocabulary) -> None:
    """The file's tokenizer, rebuilt from the file alone, reads every prompt as the run's does (PITFALLS A4)."""
    read = read_vocabulary(path)
    texts = [source.tokenizer.decode(source.ids(text), skip_special=False) for text in source.texts]
    expected = [source.tokenizer.pieces(text)[0] for text in texts]
    backend = backend_of(replace(read, nfc=written.nfc))
    found = [[encoding.ids for encoding in backend.encode_batch(texts, add_special_tokens=False)]]
    if importlib.util.find_spec("llama_cpp") is not None:
        found.append(llama_cpp_ids(path, texts))
    if any(ids != expected for ids in found) or read.chat_template != source.tokenizer.chat_template:
        raise broken_tokenizer(path)
