"""A generative base model's own tokenizer behind `core.text.ChatTokenizer`."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Encoding
from tokenizers import Tokenizer as Backend
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from luthier.core.errors import ModelError
from luthier.models.quiet import quiet

_VOCABULARIES = ("tokenizer.json", "vocab.json")
_UNKNOWN_LENGTH = 1 << 20
"""transformers' own word for an unknown length is 10**30."""


class HuggingChatTokenizer:
    """Texts in which special tokens are written out, to ids; the tokens come from the Rust backend.

    `hugging` is the transformers tokenizer that it wraps (for exports); its state is not used for
    encoding. Masks go by position everywhere, so no padding token is needed: `pad_id` is then `eos_id`.
    """

    def __init__(self, hugging: PreTrainedTokenizerBase, config: Any) -> None:
        self.hugging = hugging
        self._config = config
        self._backend = Backend.from_str(_exact_offsets(hugging.backend_tokenizer.to_str()))
        self._backend.no_truncation()
        self._backend.no_padding()
        self._special = {str(name): str(token) for name, token in hugging.special_tokens_map.items()}
        self._bos_id = _bos_id(self._backend)
        positions = getattr(config.get_text_config(), "max_position_embeddings", None)  # state space models: none
        self._max_length = min(int(hugging.model_max_length), int(positions or _UNKNOWN_LENGTH))
        identity = json.dumps([self._backend.to_str(), self._special, self.eos_id], sort_keys=True)
        self._fingerprint = hashlib.sha256(identity.encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The sha256 of the serialised tokenizer and of its special tokens, without the chat template."""
        return self._fingerprint

    @property
    def max_length(self) -> int:
        """The context of the base model, in tokens."""
        return self._max_length

    @property
    def chat_template(self) -> str | None:
        """The Jinja source that the base came with; of several named ones, the default."""
        template = self.hugging.chat_template
        found = template.get("default") if isinstance(template, dict) else template
        return None if found is None else str(found)

    @property
    def special_tokens(self) -> dict[str, str]:
        """bos_token, eos_token and others, as templates name them."""
        return dict(self._special)

    @property
    def bos_id(self) -> int | None:
        """What this tokenizer puts before plain text; None where it puts nothing."""
        return self._bos_id

    @property
    def eos_id(self) -> int:
        """The token that ends a text."""
        return int(self.hugging.eos_token_id)

    @property
    def pad_id(self) -> int:
        """The id that fills a batch's rows."""
        return self.eos_id if self.hugging.pad_token_id is None else int(self.hugging.pad_token_id)

    def pieces(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """(ids, character offsets) of a text as it stands; nothing is added."""
        return _pieces(self._backend.encode(text, add_special_tokens=False))

    def pieces_batch(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """`pieces` of many texts."""
        return [_pieces(encoding) for encoding in self._backend.encode_batch(list(texts), add_special_tokens=False)]

    def token_id(self, token: str) -> int | None:
        """The id of exactly this token."""
        found = self._backend.token_to_id(token)
        return None if found is None else int(found)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens as the vocabulary spells them; an id outside of it is shown as a number."""
        return [self._backend.id_to_token(index) or f"<{index}>" for index in ids]

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text that the ids spell."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special)

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


def _pieces(encoding: Encoding) -> tuple[list[int], list[tuple[int, int]]]:
    return encoding.ids, encoding.offsets


def _exact_offsets(serialised: str) -> str:
    """Byte-level tokenizers may leave the blank before a word out of the token's characters (Llama 3 does), and
    then nobody can see that a token reaches across the border of an answer."""
    settings = json.loads(serialised)
    waiting = [settings["post_processor"]]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "trim_offsets" in part:
                part["trim_offsets"] = False
            waiting.extend(part.get("processors", ()))
    return json.dumps(settings, ensure_ascii=False)


def _bos_id(backend: Backend) -> int | None:
    plain, whole = backend.encode("a", add_special_tokens=False).ids, backend.encode("a").ids
    return None if whole[:1] == plain[:1] else int(whole[0])
