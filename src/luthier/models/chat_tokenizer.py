"""A generative base model's own tokenizer behind `core.text.ChatTokenizer`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from luthier.core.errors import ModelError
from luthier.models.chat_tokens import UNKNOWN_LENGTH, ChatTokens
from luthier.models.quiet import quiet

_VOCABULARIES = ("tokenizer.json", "vocab.json")


class HuggingChatTokenizer(ChatTokens):
    """A transformers tokenizer as `ChatTokens`.

    `hugging` is what it wraps (for exports); its state is not used for encoding.
    """

    def __init__(self, hugging: PreTrainedTokenizerBase, config: Any) -> None:
        self.hugging = hugging
        self._config = config
        positions = getattr(config.get_text_config(), "max_position_embeddings", None)  # state space models: none
        template = hugging.chat_template
        found = template.get("default") if isinstance(template, dict) else template
        super().__init__(
            hugging.backend_tokenizer.to_str(),
            special={str(name): str(token) for name, token in hugging.special_tokens_map.items()},
            eos_id=int(hugging.eos_token_id),
            pad_id=None if hugging.pad_token_id is None else int(hugging.pad_token_id),
            template=None if found is None else str(found),
            max_length=min(int(hugging.model_max_length), int(positions or UNKNOWN_LENGTH)),
        )

    def save(self, folder: Path) -> None:
        """Write the tokenizer with its chat template, as transformers writes it."""
        with quiet():
            self.hugging.save_pretrained(folder)

    def with_template(self, source: str) -> HuggingChatTokenizer:
        """The same tokenizer with another chat template, which `save` then writes."""
        hugging = copy.deepcopy(self.hugging)
        hugging.chat_template = source
        return HuggingChatTokenizer(hugging, self._config)


def load_chat_tokenizer(path: Path) -> HuggingChatTokenizer:
    """The tokenizer in the folder of a generative model, or a `ModelError` that says what is missing.

    The chat template is read from chat_template.jinja or tokenizer_config.json, as transformers does.
    """
    if not any((path / name).is_file() for name in _VOCABULARIES):
        raise _error(
            path,
            "there is no tokenizer here.",
            f"Put the base model's {' or '.join(_VOCABULARIES)} beside config.json.",
            "tokenizer_missing",
        )
    try:
        with quiet():
            hugging = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise _error(
            path,
            f"its tokenizer cannot be loaded: {str(error).strip().splitlines()[0]}",
            "The folder needs a tokenizer.json beside config.json; save_pretrained writes one.",
            "broken_tokenizer",
        ) from error
    if not hugging.is_fast:
        raise _error(
            path,
            "its tokenizer has no tokenizer.json, and offsets and speed need one.",
            "Load it once with AutoTokenizer and save_pretrained it, or choose another base.",
            "slow_tokenizer",
        )
    size = config.get_text_config().vocab_size
    if len(hugging) > size:
        raise _error(
            path,
            f"its tokenizer knows {len(hugging)} tokens and its weights {size}: they are not of one model.",
            "Fetch model and tokenizer again, from one place.",
            "tokenizer_does_not_fit",
        )
    if hugging.eos_token_id is None:
        raise _error(
            path,
            "its tokenizer names no token that ends a text, so the model could never stop.",
            "Set eos_token in tokenizer_config.json.",
            "no_eos_token",
        )
    return HuggingChatTokenizer(hugging, config)


def _error(path: Path, message: str, remedy: str, code: str) -> ModelError:
    return ModelError(message, where=str(path), remedy=remedy, code=code, param="model")
