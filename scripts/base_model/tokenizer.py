"""The tokenizer, the configuration and the random weights from which luthier-nano starts.

The pre-tokenizer is SmolLM's (each digit alone, then GPT-2's byte-level split), which llama.cpp knows by the
name ``smollm``.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

from luthier.data.templates.default_template import DEFAULT_TEMPLATE

VOCABULARY = 4096
CONTEXT = 1024
END, TURN, TURN_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL = (END, TURN, TURN_END, PAD, "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
MARKS = ("<tool_call>", "</tool_call>")
"""Tokens of their own that a decoded answer keeps: programs look for them."""


def train_tokenizer(corpus: Path, folder: Path, sample: int = 9_000_000) -> None:
    """Learn the merges from `sample` characters spread over the corpus; write a transformers tokenizer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(MARKS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample_texts(corpus, sample), trainer)
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[token for token in SPECIAL if token not in (END, PAD)],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = DEFAULT_TEMPLATE
    folder.mkdir(parents=True, exist_ok=True)
    wrapped.save_pretrained(folder)


def sample_texts(corpus: Path, size: int) -> list[str]:
    """Texts of every part of the corpus in the shares of the mixture."""
    shares = {"prose": 0.5, "dictionary": 0.08, "code": 0.1, "rows": 0.32}
    found: list[str] = []
    for name, part in shares.items():
        lines = (corpus / f"{name}.jsonl").read_text("utf-8").splitlines()
        random.Random(0).shuffle(lines)
        left = int(size * part)
        for line in lines:
            text = json.loads(line)["text"]
            left -= len(text)
            if left < 0:
                break
            found.append(text)
    return found


def blank_model(folder: Path) -> int:
    """Write config.json and random weights (seed 0); return the number of parameters.

    Normal with deviation 0.02, the two projections that write into the residual stream smaller by
    sqrt(2 * layers), as in GPT-2 (Radford et al. 2019).
    """
    import torch
    from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = tokenizer.get_vocab()
    end, turn_end, pad = (vocabulary[token] for token in (END, TURN_END, PAD))
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        attention_bias=False,
        mlp_bias=False,
        initializer_range=0.02,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
        dtype="float32",
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                scale = (
                    math.sqrt(2 * config.num_hidden_layers)
                    if name.endswith(("o_proj.weight", "down_proj.weight"))
                    else 1
                )
                weight.normal_(0.0, 0.02 / scale)
    # An answer ends with its turn; a plain text with the end of the text.
    model.generation_config = GenerationConfig(eos_token_id=[end, turn_end], pad_token_id=pad)
    model.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())
