"""A byte-level BPE tokenizer as GGUF spells it, and back.

GGUF names a pre-tokenizer where tokenizer.json describes one; llama.cpp knows the regular expression behind
each name (`llm_tokenizer_bpe` in src/llama-vocab.cpp). A name is written only when the tokenizer splits text
exactly as that name does, else the export is refused: a wrong name would answer, only worse.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from luthier.core.errors import ModelError
from luthier.models.chat_tokenizer import HuggingChatTokenizer

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {
    "llama-bpe": rf"{_WORDS}|\p{{N}}{{1,3}}{_REST}",
    "qwen2": rf"{_WORDS}|\p{{N}}{_REST}",
}
"""llama.cpp's names of pre-tokenizers that are one regular expression before the byte level."""

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""gguf.TokenType."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer; `types` are NORMAL, CONTROL, USER_DEFINED or UNUSED.

    `eot_id` ends a turn where that is not `eos_id`; `add_bos`: `bos_id` is put before plain text.
    `nfc`: the tokenizer normalises to NFC, which llama.cpp does not.
    """

    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    eos_id: int
    bos_id: int | None = None
    pad_id: int | None = None
    eot_id: int | None = None
    add_bos: bool = False
    chat_template: str | None = None
    nfc: bool = False


def vocabulary_of(tokenizer: HuggingChatTokenizer, size: int, stop_ids: Sequence[int]) -> Vocabulary:
    """The tokenizer of a model with `size` logits; `stop_ids` end an answer.

    Raises `ModelError` for tokenizers that are not byte-level BPE, or that split text as no name says.
    """
    hugging = tokenizer.hugging
    settings: dict[str, Any] = json.loads(hugging.backend_tokenizer.to_str())
    model = settings["model"]
    if model["type"] != "BPE" or model.get("byte_fallback") or not _is_byte_level(settings.get("decoder")):
        raise _error("its tokenizer is not byte-level BPE, the one kind that Luthier writes into GGUF.")
    normalizer = settings.get("normalizer")
    if normalizer not in (None, {"type": "NFC"}):
        raise _error(f"its tokenizer changes text first ({normalizer['type']}), which GGUF cannot say.")
    pre = _pre_name(settings.get("pre_tokenizer"), bool(model.get("ignore_merges")))
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [UNUSED] * size
    for token, index in model["vocab"].items():
        tokens[index], types[index] = token, NORMAL
    for added in settings["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    ends = [index for index in stop_ids if index != tokenizer.eos_id]
    return Vocabulary(
        pre=pre,
        tokens=tokens,
        types=types,
        merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
        eos_id=tokenizer.eos_id,
        bos_id=tokenizer.bos_id if hugging.bos_token_id is None else int(hugging.bos_token_id),
        pad_id=None if hugging.pad_token_id is None else int(hugging.pad_token_id),
        eot_id=ends[0] if ends else None,
        add_bos=tokenizer.bos_id is not None,
        chat_template=tokenizer.chat_template,
        nfc=normalizer is not None,
    )


def backend_of(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer that a GGUF file describes, rebuilt from it alone."""
    known = {token: index for index, token in enumerate(vocabulary.tokens) if vocabulary.types[index] != UNUSED}
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in vocabulary.merges)]
    backend = Tokenizer(models.BPE(vocab=known, merges=merges, ignore_merges=vocabulary.pre == "llama-bpe"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=vocabulary.pre not in SPLITS)
    parts: list[Any] = [byte_level]
    if vocabulary.pre in SPLITS:
        parts.insert(0, pre_tokenizers.Split(Regex(SPLITS[vocabulary.pre]), behavior="isolated"))
    if vocabulary.pre == "smollm":
        parts.insert(0, pre_tokenizers.Digits(individual_digits=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(parts)
    backend.decoder = decoders.ByteLevel()
    if vocabulary.nfc:
        backend.normalizer = normalizers.NFC()
    special = [AddedToken(t, normalized=False) for t, k in _with_types(vocabulary) if k == CONTROL]
    backend.add_special_tokens(special)
    backend.add_tokens([AddedToken(t, normalized=False) for t, k in _with_types(vocabulary) if k == USER_DEFINED])
    return backend


def _with_types(vocabulary: Vocabulary) -> list[tuple[str, int]]:
    return list(zip(vocabulary.tokens, vocabulary.types, strict=True))


def _is_byte_level(decoder: dict[str, Any] | None) -> bool:
    return decoder is not None and decoder["type"] == "ByteLevel"


def _pre_name(pre: dict[str, Any] | None, ignore_merges: bool) -> str:
    parts = pre["pretokenizers"] if pre is not None and pre["type"] == "Sequence" else [pre]
    name = _name_of(parts)
    # llama.cpp ignores merges with llama-bpe and with no other of these names
    if name is None or ignore_merges != (name == "llama-bpe"):
        raise _error("GGUF has no name for the way in which its tokenizer splits text.")
    return name


def _name_of(parts: list[Any]) -> str | None:
    if parts[-1] is None or parts[-1]["type"] != "ByteLevel" or parts[-1]["add_prefix_space"]:
        return None
    regex, before = parts[-1]["use_regex"], parts[:-1]
    if not before:
        return "gpt-2" if regex else None
    if len(before) > 1:
        return None
    if before[0]["type"] == "Digits" and before[0]["individual_digits"] and regex:
        return "smollm"
    if before[0]["type"] == "Split" and before[0]["behavior"] == "Isolated" and not regex and not before[0]["invert"]:
        return next((name for name, split in SPLITS.items() if before[0]["pattern"] == {"Regex": split}), None)
    return None


def _error(message: str) -> ModelError:
    return ModelError(
        message,
        remedy="Export with --to merged and convert that folder with llama.cpp's convert_hf_to_gguf.py.",
        code="tokenizer_not_in_gguf",
    )
