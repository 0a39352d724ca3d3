"""Character spans as tags per token, and back: the BIO scheme of Ramshaw and Marcus 1995.

`offsets` are (start, end) characters per token; an empty one (start == end) belongs to no text:
special tokens, and tokens of a second text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from luthier.core.predictor import SpanPrediction
from luthier.data.samples import Span

OUTSIDE = "O"

# Scripts written without spaces: there every token boundary may end a word.
_JOINING = re.compile(
    r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)


def bio_labels(labels: Sequence[str]) -> list[str]:
    """The model's outputs for span labels: O, then B- and I- of each, in the given order."""
    return [OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in ("B", "I"))]


def encode_spans(
    spans: Sequence[Span], offsets: Sequence[tuple[int, int]], labels: Sequence[str]
) -> tuple[list[int], list[float]]:
    """Tag ids and weights per token: ([L], [L]), ids as `bio_labels(labels)` numbers them.

    The first token that touches a span is B, the rest I; a token with no characters weighs 0.
    Where spans overlap, the one that starts first keeps the tokens. A span whose tokens were cut
    off leaves no tag.
    """
    begin = {label: 1 + 2 * index for index, label in enumerate(labels)}
    ids = [0] * len(offsets)
    weights = [1.0 if end > start else 0.0 for start, end in offsets]
    ordered = sorted(spans, key=lambda span: (span.start, -span.end))
    current = 0
    opened = -1
    for token, (start, end) in enumerate(offsets):
        if end <= start:
            continue
        while current < len(ordered) and ordered[current].end <= start:
            current += 1
        if current == len(ordered):
            break
        span = ordered[current]
        if span.start < end:
            ids[token] = begin[span.label] + (1 if opened == current else 0)
            opened = current
    return ids, weights


def decode_spans(
    tags: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    labels: Sequence[str],
    text: str,
    scores: Sequence[float] | None = None,
) -> list[SpanPrediction]:
    """Spans from tag ids [L]; `scores` [L] are the probabilities of those tags.

    The first token of a word decides for the word. An I- that continues nothing begins a span
    (the repair of conlleval). A span's score is the mean over its words.
    """
    spans: list[SpanPrediction] = []
    label = ""
    start = end = 0
    gathered: list[float] = []

    def close() -> None:
        if label:
            score = sum(gathered) / len(gathered)
            spans.append(SpanPrediction(start, end, label, text[start:end], score))

    for token, word_start, word_end in words(offsets, text):
        tag = tags[token]
        name = labels[(tag - 1) // 2] if tag else ""
        begins = bool(tag) and (tag % 2 == 1 or name != label)
        if not tag or begins:
            close()
            label, gathered = name, []
            start = word_start
        if tag:
            end = word_end
            gathered.append(1.0 if scores is None else float(scores[token]))
    close()
    return spans


def words(offsets: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int, int]]:
    """Words as (index of the first token, start, end): tokens that meet inside letters or digits join."""
    found: list[tuple[int, int, int]] = []
    for token, (start, end) in enumerate(offsets):
        if end <= start:
            continue
        if found:
            first, word_start, word_end = found[-1]
            meets = start == word_end and _JOINING.match(text[start - 1]) and _JOINING.match(text[start])
            if start < word_end or meets:  # byte-level tokens may share one character
                found[-1] = (first, word_start, max(word_end, end))
                continue
        found.append((token, start, end))
    return found
