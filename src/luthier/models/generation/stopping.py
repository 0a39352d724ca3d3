"""Token ids become text that can be shown at once, and stop texts end it."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.core.text import ChatTokenizer

_BROKEN = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """The text of a growing list of ids, piece by piece; the pieces together are the text of all ids.
    (Not always so where tokens are single bytes of no valid UTF-8 and the tokenizer judges a whole run of them.)

    A character may be spread over several tokens (byte-level BPE): what ends in a broken one is held back
    until the rest has come. A token's text may depend on the token before it (a blank that only shows
    between words), so some are decoded again with each new one.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = []  # shown whole, decoded again for the sake of what follows
        self._after: list[int] = []
        self._shown = 0  # characters of the text of `_before` and `_after` that were given out

    def push(self, token: int) -> str:
        """What can be shown now."""
        self._after.append(token)
        text = self._text()
        whole = text.rstrip(_BROKEN)
        piece = whole[self._shown :]
        self._shown = max(self._shown, len(whole))
        if piece and len(whole) == len(text):
            self._before, self._after = self._after, []
            self._shown = len(self._tokenizer.decode(self._before))
        return piece

    def flush(self) -> str:
        """What was held back, broken characters included."""
        text = self._text()
        piece = text[self._shown :]
        self._shown = max(self._shown, len(text))
        return piece

    def _text(self) -> str:
        return self._tokenizer.decode([*self._before, *self._after])


class StopFinder:
    """Finds the first stop text, also across pieces; nothing of it is ever given out."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, piece: str) -> tuple[str, bool]:
        """(what can be shown, whether a stop text was found)."""
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self._held = ""
            return text[: min(places)], True
        begins = max((self._overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - begins :]
        return text[: len(text) - begins], False

    def flush(self) -> str:
        """What was held back because a stop text might have begun there."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """How many characters at the end of `text` begin `stop`."""
        longest = min(len(text), len(stop) - 1)
        return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
