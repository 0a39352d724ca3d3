"""A GGUF file becomes a model again: from its own numbers and tensors, and by llama.cpp where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.models.export_forms.gguf_layout import ROPE_FREQS, from_gguf
from luthier.models.export_forms.gguf_vocabulary import Vocabulary
from luthier.models.export_forms.parity import Logits
from luthier.models.quiet import quiet


def read_model(path: Path) -> Any:
    """A transformers model in float32, from nothing but the file. Its weights are those that the file holds
    (dequantised by the gguf package); computing with them is transformers' work."""
    import gguf

    reader = gguf.GGUFReader(path)
    tensors = {item.name: gguf.quants.dequantize(item.data, item.tensor_type) for item in reader.tensors}
    config = _config(reader, "output.weight" not in tensors)
    divisors = tensors.pop(ROPE_FREQS, None)
    with quiet():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    named = [from_gguf(name, weight, config) for name, weight in tensors.items()]
    state = {name: torch.from_numpy(np.array(weight)) for name, weight in named}
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    if divisors is not None:
        model.model.rotary_emb.inv_freq /= torch.from_numpy(np.array(divisors))
    return model.eval()


def read_vocabulary(path: Path) -> Vocabulary:
    """The tokenizer, as the file describes it."""
    import gguf

    reader = gguf.GGUFReader(path)

    def value(key: str) -> Any:
        field = reader.get_field(f"tokenizer.{key}")
        return None if field is None else field.contents()

    return Vocabulary(
        pre=value("ggml.pre"),
        tokens=value("ggml.tokens"),
        types=value("ggml.token_type"),
        merges=value("ggml.merges"),
        eos_id=value("ggml.eos_token_id"),
        bos_id=value("ggml.bos_token_id"),
        pad_id=value("ggml.padding_token_id"),
        eot_id=value("ggml.eot_token_id"),
        add_bos=value("ggml.add_bos_token"),
        chat_template=value("chat_template"),
    )


def llama_cpp_answers(path: Path, prompts: Sequence[Sequence[int]]) -> list[Logits]:
    """Logits [L, V] per prompt by llama-cpp-python."""
    from llama_cpp import Llama

    longest = max(len(ids) for ids in prompts)
    model = Llama(str(path), n_ctx=longest, n_batch=longest, logits_all=True, verbose=False)
    found = []
    for ids in prompts:
        model.reset()
        model.eval(list(ids))
        found.append(np.array(model.scores[: len(ids)], dtype=np.float32))
    return found


def llama_cpp_ids(path: Path, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts as they stand, special tokens written in them included, by llama-cpp-python."""
    from llama_cpp import Llama

    model = Llama(str(path), vocab_only=True, verbose=False)
    return [model.tokenize(text.encode("utf-8"), add_bos=False, special=True) for text in texts]


def _config(reader: Any, tied: bool) -> Any:
    architecture = reader.get_field("general.architecture").contents()

    def value(key: str) -> Any:
        return reader.get_field(f"{architecture}.{key}").contents()

    return AutoConfig.for_model(
        architecture,
        vocab_size=value("vocab_size"),
        hidden_size=value("embedding_length"),
        intermediate_size=value("feed_forward_length"),
        num_hidden_layers=value("block_count"),
        num_attention_heads=value("attention.head_count"),
        num_key_value_heads=value("attention.head_count_kv"),
        head_dim=value("attention.key_length"),
        max_position_embeddings=value("context_length"),
        rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": value("rope.freq_base")},
        tie_word_embeddings=tied,
    )
