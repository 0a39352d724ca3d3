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
