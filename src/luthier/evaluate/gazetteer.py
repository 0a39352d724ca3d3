"""The dictionary baseline for spans: what was labelled in training is labelled again wherever it stands."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from luthier.core.predictor import Prediction, SpanPrediction, TextInput
from luthier.data.samples import Sample, Span
from luthier.evaluate.baselines import BatchPredictor

_TOKEN = re.compile(r"\w+|[^\w\s]")
_Key = tuple[str, ...]


def _tokens(text: str) -> list[tuple[str, int, int]]:
    """Words and signs in lower case with their (start, end)."""
    return [(match.group().lower(), match.start(), match.end()) for match in _TOKEN.finditer(text)]


class DictionaryPredictor(BatchPredictor):
    """Labels every known token sequence, the longest first; `scores` are shares seen in training."""

    def __init__(self, labels: Sequence[str], entries: dict[_Key, tuple[str, float]]) -> None:
        super().__init__("extract", labels)
        self.entries = entries
        longest: defaultdict[str, int] = defaultdict(int)
        for key in entries:
            longest[key[0]] = max(longest[key[0]], len(key))
        self._longest = dict(longest)

    def predict(self, texts: Sequence[TextInput]) -> list[Prediction]:
        return [Prediction(spans=tuple(self._spans(text if isinstance(text, str) else text[0]))) for text in texts]

    def _spans(self, text: str) -> Iterable[SpanPrediction]:
        tokens = _tokens(text)
        words = tuple(token[0] for token in tokens)
        place = 0
        while place < len(tokens):
            length = min(self._longest.get(words[place], 0), len(tokens) - place)
            while length and words[place : place + length] not in self.entries:
                length -= 1
            if length:
                label, score = self.entries[words[place : place + length]]
                start, end = tokens[place][1], tokens[place + length - 1][2]
                yield SpanPrediction(start, end, label, text[start:end], score)
            place += max(length, 1)


class Dictionary:
    """Keeps the strings that were labelled at least half of the times they stood in the training texts."""

    def __init__(self, *, labels: Sequence[str] = ()) -> None:
        self.labels = list(labels)

    def fit(self, samples: Iterable[Sample]) -> DictionaryPredictor:
        """Learn from samples (kept in memory: their strings are counted in a second pass)."""
        rows = [(sample.text, sample.target) for sample in samples if isinstance(sample.target, tuple)]
        labelled: defaultdict[_Key, Counter[str]] = defaultdict(Counter)
        for text, spans in rows:
            for span in spans:
                if isinstance(span, Span):
                    key = tuple(token[0] for token in _tokens(text[span.start : span.end]))
                    if key:
                        labelled[key][span.label] += 1
        lengths = sorted({len(key) for key in labelled})
        seen: Counter[_Key] = Counter()
        for text, _ in rows:
            words = tuple(token[0] for token in _tokens(text))
            for length in lengths:
                for place in range(len(words) - length + 1):
                    key = words[place : place + length]
                    if key in labelled:
                        seen[key] += 1
        entries = {}
        for key, counts in labelled.items():
            label, number = counts.most_common(1)[0]
            # a span inside a word is labelled without being seen as tokens
            share = number / max(seen[key], counts.total())
            if share >= 0.5:
                entries[key] = (label, share)
        names = {label for counts in labelled.values() for label in counts}
        return DictionaryPredictor(self.labels or sorted(names), entries)
