"""A base model's own tokenizer behind `core.text.TextEncoder`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from luthier.core import durable
from luthier.core.errors import ModelError
from luthier.core.text import Side
from luthier.models.base_source import read_json
from luthier.models.families import position_limit
from luthier.models.quiet import quiet
from luthier.models.text_tokens import TextTokens

_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")


class Tokenizer(TextTokens):
    """Texts to token ids as the base model reads them; the tokens come from the Rust backend.

    `hugging` is the transformers tokenizer that it wraps (for exports); its state is not used
    for encoding, so nobody can change an answer by changing it.
    """

    def __init__(self, hugging: PreTrainedTokenizerBase, config: Any) -> None:
        self.hugging = hugging
        super().__init__(
            hugging.backend_tokenizer.to_str(),
            pad_id=int(hugging.pad_token_id),
            max_length=min(int(hugging.model_max_length), position_limit(config)),
            uses_type_ids=bool(config.to_dict().get("type_vocab_size", 0) > 1),
        )

    def save(self, folder: Path, *, max_length: int | None = None, cut: Side = "end") -> None:
        """Write the tokenizer into `folder` so that other libraries cut as the run did."""
        with quiet():
            self.hugging.save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        settings = read_json(path)
        settings["model_max_length"] = max_length or self._max_length
        settings["truncation_side"] = "left" if cut == "start" else "right"
        durable.write_json(path, settings)


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
