"""What a tokenizer is to the rooms that hold no torch: texts in, token ids out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from luthier.core.predictor import TextInput

Side = Literal["end", "start"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text (or pair) as the model reads it, special tokens included.

    `offsets` are (start, end) characters of `text` per token; (0, 0) for special tokens and for
    tokens of the second text. `full_length` is the number of tokens before anything was cut.
    """

    ids: list[int]
    type_ids: list[int]
    offsets: list[tuple[int, int]]
    full_length: int


class TextEncoder(Protocol):
    """A tokenizer with the base model's own special tokens."""

    @property
    def fingerprint(self) -> str:
        """A hash of everything that the ids depend on."""
        ...

    @property
    def pad_id(self) -> int: ...

    @property
    def max_length(self) -> int:
        """The longest input, in tokens, that the base model takes."""
        ...

    @property
    def uses_type_ids(self) -> bool:
        """Whether the base model reads token type ids."""
        ...

    def encode(self, texts: Sequence[TextInput], *, max_length: int | None = None, cut: Side = "end") -> list[Encoded]:
        """Encode a batch; what is longer than `max_length` loses its `cut` side, special tokens stay."""
        ...

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens as the vocabulary spells them, to show people."""
        ...


class ChatTokenizer(Protocol):
    """A generative base model's tokenizer: texts in which special tokens are written out, to ids."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def max_length(self) -> int:
        """The context of the base model, in tokens."""
        ...

    @property
    def chat_template(self) -> str | None:
        """The Jinja source that the base came with; None for a base without one."""
        ...

    @property
    def special_tokens(self) -> dict[str, str]:
        """bos_token, eos_token, pad_token, unk_token and others, as templates name them."""
        ...

    @property
    def bos_id(self) -> int | None:
        """What the base's own tokenizer puts before plain text; None where it puts nothing."""
        ...

    @property
    def eos_id(self) -> int: ...

    @property
    def pad_id(self) -> int: ...

    def pieces(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """(ids, character offsets) of a text as it stands: special tokens written in it become their one
        id, and none is added."""
        ...

    def pieces_batch(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]: ...

    def token_id(self, token: str) -> int | None:
        """The id of exactly this token, None when there is none."""
        ...

    def tokens(self, ids: Sequence[int]) -> list[str]: ...

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str: ...
