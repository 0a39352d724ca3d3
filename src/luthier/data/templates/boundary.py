"""Tokens of a text in which some characters begin an answer.

A text is tokenised as a whole, so that its ids are those of the base's own tokenizer. But serving sees only
what stands before the answer, and a whole text can be cut elsewhere there: a token may reach across the
border, or the splitting pattern may look ahead (GPT-2's keeps the last of several blanks for the next
word). This module finds out, without tokenising the prompt a second time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache

from luthier.core.text import ChatTokenizer

Pieces = tuple[list[int], list[tuple[int, int]]]
_WINDOWS = 512


class Boundary:
    """Whether tokens agree with those of the text before a border.

    Special tokens cut a text before anything else looks at it, so only what stands between the last one
    and the border is tokenised again; in chats that is a role's name, the same every time.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: Callable[[str], list[int]] = lru_cache(_WINDOWS)(lambda text: tokenizer.pieces(text)[0])
        self._special: dict[int, bool] = {}

    def is_special(self, index: int) -> bool:
        """Whether the tokenizer treats this token apart from text."""
        found = self._special.get(index)
        if found is None:
            written, shown = (self._tokenizer.decode([index], skip_special=skip) for skip in (False, True))
            found = self._special[index] = bool(written) and not shown
        return found

    def agrees(self, text: str, border: int, pieces: Pieces) -> bool:
        """Whether the tokens before character `border` are those of ``text[:border]`` alone.

        Ids decide, not characters: Phi 3's ``<|assistant|>`` takes all blanks after it and stays the same token.
        """
        ids, offsets = pieces
        after = first_at(offsets, border)
        first = after
        while first and not self.is_special(ids[first - 1]):
            first -= 1
        first = max(first - 1, 0)
        begin = offsets[first][0] if first else 0
        return self._window(text[begin:border]) == ids[first:after]

    def split(self, text: str, border: int) -> Pieces:
        """Tokens of what stands before `border`, then of the rest."""
        ids, offsets = self._tokenizer.pieces(text[:border])
        more_ids, more_offsets = self._tokenizer.pieces(text[border:])
        return ids + more_ids, offsets + [(start + border, end + border) for start, end in more_offsets]


def first_at(offsets: list[tuple[int, int]], place: int) -> int:
    """Index of the first token that begins at character `place` or later."""
    return bisect_left(offsets, place, key=lambda pair: pair[0])
