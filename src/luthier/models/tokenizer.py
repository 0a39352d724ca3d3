"""A base model's own tokenizer behind `core.text.TextEncoder`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Encoding
from tokenizers import Tokenizer as Backend
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from luthier.core import durable
from luthier.core.errors import ModelError
from luthier.core.predictor import TextInput
from luthier.core.text import Encoded, Side
from luthier.models.base_source import read_json
from luthier.models.families import position_limit
from luthier.models.quiet import quiet

_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")


class Tokenizer:
    """Texts to token ids as the base model reads them; the tokens come from the Rust backend.

    `hugging` is the transformers tokenizer that it wraps (for exports); its state is not used
    for encoding, so nobody can change an answer by changing it.
    """

    def __init__(self, hugging: PreTrainedTokenizerBase, config: Any) -> None:
        self.hugging = hugging
        serialised = hugging.backend_tokenizer.to_str()
        self._backend = Backend.from_str(serialised)
        self._backend.no_truncation()
        self._backend.no_padding()
        self._cutter = Backend.from_str(self._backend.to_str())
        self._max_length = min(int(hugging.model_max_length), position_limit(config))
        self._uses_type_ids = bool(config.to_dict().get("type_vocab_size", 0) > 1)
        identity = f"{self._backend.to_str()}\n{self._uses_type_ids}\n{self.pad_id}"
        self._fingerprint = hashlib.sha256(identity.encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The sha256 of the serialised tokenizer, of the padding id and of the use of type ids."""
        return self._fingerprint

    @property
    def pad_id(self) -> int:
        """The id that fills a batch's rows."""
        return int(self.hugging.pad_token_id)

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

    def save(self, folder: Path, *, max_length: int | None = None, cut: Side = "end") -> None:
        """Write the tokenizer into `folder` so that other libraries cut as the run did."""
        with quiet():
            self.hugging.save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        settings = read_json(path)
        settings["model_max_length"] = max_length or self._max_length
        settings["truncation_side"] = "left" if cut == "start" else "right"
        durable.write_json(path, settings)

    def _check_limit(self, limit: int, pairs: bool) -> None:
        special = self._backend.num_special_tokens_to_add(pairs)
        if limit <= special:
            raise ModelError(
                f"max_length {limit} leaves no room for text: this tokenizer adds {special} special tokens.",
                remedy=f"Set train.max_length to {special + 1} or more.",
                code="max_length_too_small",
                param="train.max_length",
            )


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a model folder, or a `ModelError` that says what is missing."""
    if not any((path / name).is_file() for name in _VOCABULARIES):
        raise ModelError(  # transformers would give an empty tokenizer of the configured type
            "there is no tokenizer here.",
            where=str(path),
            remedy=f"Put the base model's {' or '.join(_VOCABULARIES)} beside config.json.",
            code="tokenizer_missing",
            param="model",
        )
    try:
        with quiet():
            hugging = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"its tokenizer cannot be loaded: {str(error).strip().splitlines()[0]}",
            where=str(path),
            remedy="The folder needs a tokenizer.json beside config.json; save_pretrained writes one.",
            code="broken_tokenizer",
            param="model",
        ) from error
    if not hugging.is_fast:
        raise ModelError(
            "its tokenizer has no tokenizer.json, and offsets and speed need one.",
            where=str(path),
            remedy="Load it once with AutoTokenizer and save_pretrained it, or choose another base.",
            code="slow_tokenizer",
            param="model",
        )
    if len(hugging) > config.vocab_size:
        raise ModelError(
            f"its tokenizer knows {len(hugging)} tokens and its weights {config.vocab_size}: "
            "they are not of one model.",
            where=str(path),
            remedy="Fetch model and tokenizer again, from one place.",
            code="tokenizer_does_not_fit",
            param="model",
        )
    if hugging.pad_token_id is None:
        raise ModelError(
            "its tokenizer has no padding token.",
            where=str(path),
            remedy="Set pad_token in tokenizer_config.json.",
            code="no_pad_token",
            param="model",
        )
    return Tokenizer(hugging, config)


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
