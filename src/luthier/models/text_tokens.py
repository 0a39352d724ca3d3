"""Texts to token ids from a tokenizer's own files, without transformers and torch: `luthier check` starts at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Encoding
from tokenizers import Tokenizer as Backend

from luthier.core.errors import ModelError
from luthier.core.predictor import TextInput
from luthier.core.text import Encoded, Side
from luthier.models.base_source import read_json


class TextTokens:
    """A tokenizer of the Rust library behind `core.text.TextEncoder`.

    Args:
        serialised: the content of tokenizer.json.
        max_length: the longest input of the base, in tokens.
    """

    def __init__(self, serialised: str, *, pad_id: int, max_length: int, uses_type_ids: bool) -> None:
        self._backend = Backend.from_str(serialised)
        self._backend.no_truncation()
        self._backend.no_padding()
        self._cutter = Backend.from_str(self._backend.to_str())
        self._pad_id, self._max_length, self._uses_type_ids = pad_id, max_length, uses_type_ids
        identity = f"{self._backend.to_str()}\n{self._uses_type_ids}\n{self.pad_id}"
        self._fingerprint = hashlib.sha256(identity.encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The sha256 of the serialised tokenizer, of the padding id and of the use of type ids."""
        return self._fingerprint

    @property
    def pad_id(self) -> int:
        """The id that fills a batch's rows."""
        return self._pad_id

    @property
    def max_length(self) -> int:
        """The longest input in tokens, special tokens included."""
        return self._max_length

    @property
    def uses_type_ids(self) -> bool:
        """Whether the base model tells the two texts of a pair apart by type ids."""
        return self._uses_type_ids

    def encode(self, texts: Sequence[TextInput], *, max_length: int | None = None, cut: Side = "end") -> list[Encoded]:
        """Encode a batch; what is longer than `max_length` tokens loses its `cut` side.

        Special tokens stay; of a pair the longer text is cut first (transformers' longest_first).
        `max_length` is `self.max_length` where it is not given; it cannot be above it.
        """
        limit = self._max_length if max_length is None else min(max_length, self._max_length)
        batch: list[Any] = list(texts)
        whole = self._backend.encode_batch(batch)
        lengths = [len(encoding) for encoding in whole]
        long = [index for index, length in enumerate(lengths) if length > limit]
        if long:
            self._check_limit(limit, any(not isinstance(texts[index], str) for index in long))
            self._cutter.enable_truncation(limit, direction="left" if cut == "start" else "right")
            shortened = self._cutter.encode_batch([batch[index] for index in long])
            for index, encoding in zip(long, shortened, strict=True):
                whole[index] = encoding
        return [
            _encoded(encoding, text if isinstance(text, str) else text[0], length)
            for encoding, text, length in zip(whole, texts, lengths, strict=True)
        ]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens as the vocabulary spells them; an id outside of it is shown as a number."""
        return [self._backend.id_to_token(index) or f"<{index}>" for index in ids]

    def _check_limit(self, limit: int, pairs: bool) -> None:
        special = self._backend.num_special_tokens_to_add(pairs)
        if limit <= special:
            raise ModelError(
                f"max_length {limit} leaves no room for text: this tokenizer adds {special} special tokens.",
                remedy=f"Set train.max_length to {special + 1} or more.",
                code="max_length_too_small",
                param="train.max_length",
            )


def bert_tokens(folder: Path) -> TextTokens:
    """What `models.tokenizer.load_tokenizer` gives of a BERT in `folder`, for encoding only.

    Read from its files as they stand: for bases whose files are pinned, and which a test holds against transformers.
    """
    config, settings = read_json(folder / "config.json"), read_json(folder / "tokenizer_config.json")
    serialised = (folder / "tokenizer.json").read_text(encoding="utf-8")
    limit = min(int(settings["model_max_length"]), int(config["max_position_embeddings"]))
    pad_id = Backend.from_str(serialised).token_to_id(str(settings["pad_token"]))
    assert pad_id is not None
    return TextTokens(
        serialised, pad_id=pad_id, max_length=limit, uses_type_ids=int(config.get("type_vocab_size", 0)) > 1
    )


def _encoded(encoding: Encoding, text: str, full_length: int) -> Encoded:
    offsets = encoding.offsets
    if None in encoding.sequence_ids or 1 in encoding.sequence_ids:
        offsets = [pair if which == 0 else (0, 0) for pair, which in zip(offsets, encoding.sequence_ids, strict=True)]
    return Encoded(
        ids=encoding.ids,
        type_ids=encoding.type_ids,
        offsets=[_trimmed(start, end, text) for start, end in offsets],
        full_length=full_length,
    )


def _trimmed(start: int, end: int, text: str) -> tuple[int, int]:
    """Some tokenizers count the space before a word as part of its token: no span begins with it."""
    while start < end and text[start].isspace():
        start += 1
    return (start, end) if start < end else (0, 0)
