"""Rows in another language than the others (py3langid, after Lui and Baldwin 2012, "langid.py")."""

from __future__ import annotations

import functools
import heapq
from collections import Counter
from collections.abc import Iterator
from typing import Any

from luthier.data.checks.base import Context
from luthier.data.samples import Finding, Sample

SAMPLED = 2000
"""Rows whose language is looked at, chosen by a hash of their place."""
LETTERS = 40
"""Shorter texts tell too little; half as many do where the script is not a Latin one."""
CHARACTERS = 400
SURE = 0.95
MAJORITY = 0.8
LEAST = 10

NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew",
    "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
_NONE = ("und", "zxx")  # undetermined, no language


def long_enough(text: str) -> bool:
    """Whether a text has the letters to tell its language."""
    if len(text) < LETTERS // 2:
        return False
    letters = sum(map(str.isalpha, text))
    return letters >= LETTERS or (letters >= LETTERS // 2 and sum(map(str.isascii, text)) < len(text) // 2)


@functools.lru_cache(maxsize=1)
def _identifier() -> Any:
    """The model, which takes a second to load; its scores are probabilities."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


class Languages:
    """Keeps a sample of the longer texts while rows are read, and names their languages at the end."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._heap: list[tuple[int, int, str]] = []
        self._counts: Counter[str] = Counter()

    def see(self, index: int, sample: Sample) -> None:
        if self._context.is_code:
            return
        # a multiplicative hash of the place: the same rows each time, spread over the whole file
        key = ((index + self._context.seed + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        if len(self._heap) >= SAMPLED and key >= -self._heap[0][0]:
            return
        text = sample.text[:CHARACTERS]
        if not long_enough(text):
            return
        if len(self._heap) < SAMPLED:
            heapq.heappush(self._heap, (-key, index, text))
        else:
            heapq.heapreplace(self._heap, (-key, index, text))

    def finish(self) -> Iterator[Finding]:
        if len(self._heap) < LEAST:
            return
        identifier = _identifier()
        found: list[tuple[int, str]] = []
        for _, index, text in sorted(self._heap, key=lambda entry: entry[1]):
            language, confidence = identifier.classify(text)
            if language not in _NONE and confidence >= SURE:
                found.append((index, str(language)))
        self._counts.update(language for _, language in found)
        if len(found) < LEAST:
            return
        usual, count = self._counts.most_common(1)[0]
        if count < MAJORITY * len(found):
            return
        for index, language in found:
            if language != usual:
                yield self._context.table.finding(
                    index,
                    "language_outlier",
                    "info",
                    f"this looks like {NAMES.get(language, language)}; most rows are in {NAMES.get(usual, usual)}.",
                    "Keep it if the model will get such texts, else leave it out.",
                    language=language,
                )

    def stats(self) -> dict[str, Any]:
        return {"languages": dict(self._counts.most_common()), "languages_sampled": len(self._heap)}
