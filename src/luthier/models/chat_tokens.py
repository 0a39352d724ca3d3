"""Conversations to token ids from a tokenizer's own files, without transformers and torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Encoding
from tokenizers import Tokenizer as Backend

from luthier.models.base_source import read_json

UNKNOWN_LENGTH = 1 << 20
"""transformers' own word for an unknown length is 10**30."""
_SPECIAL: tuple[str, ...] = ("bos_token", "eos_token", "unk_token", "pad_token")


class ChatTokens:
    """Texts in which special tokens are written out, to ids: a tokenizer of the Rust library behind
    `core.text.ChatTokenizer`.

    Args:
        serialised: the content of tokenizer.json.
        special: eos_token and others, as templates name them.
    """

    def __init__(
        self,
        serialised: str,
        *,
        special: Mapping[str, str],
        eos_id: int,
        pad_id: int | None,
        template: str | None,
        max_length: int,
    ) -> None:
        self._backend = Backend.from_str(_exact_offsets(serialised))
        self._backend.no_truncation()
        self._backend.no_padding()
        self._special = dict(special)
        self._eos_id, self._pad_id, self._template, self._max_length = eos_id, pad_id, template, max_length
        self._bos_id = _bos_id(self._backend)
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
        return self._template

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
        return self._eos_id

    @property
    def pad_id(self) -> int:
        """The id that fills a batch's rows. Masks go by position everywhere, so none is needed: then `eos_id`."""
        return self._eos_id if self._pad_id is None else self._pad_id

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


def nano_tokens(folder: Path) -> ChatTokens:
    """What `models.chat_tokenizer.load_chat_tokenizer` gives of the shipped base in `folder`, for encoding only.

    Read from its files as they stand, which are pinned; a test holds it against transformers.
    """
    config, settings = read_json(folder / "config.json"), read_json(folder / "tokenizer_config.json")
    serialised = (folder / "tokenizer.json").read_text(encoding="utf-8")
    backend = Backend.from_str(serialised)
    template = folder / "chat_template.jinja"
    special = {name: str(settings[name]) for name in _SPECIAL if name in settings}
    ids = {name: backend.token_to_id(token) for name, token in special.items()}
    eos_id = ids["eos_token"]
    assert eos_id is not None
    return ChatTokens(
        serialised,
        special=special,
        eos_id=eos_id,
        pad_id=ids.get("pad_token"),
        template=template.read_text(encoding="utf-8") if template.is_file() else None,
        max_length=min(int(settings["model_max_length"]), int(config.get("max_position_embeddings", UNKNOWN_LENGTH))),
    )


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
