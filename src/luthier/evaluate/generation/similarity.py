"""How alike two texts are, from 0 to 1, by the measures that OpenAI's text_similarity grader names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from luthier.core.errors import UsageError
from luthier.evaluate.generation.packages import need

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Texts to vectors of one width."""


def similarity(metric: str, text: str, reference: str, embed: Embed | None = None) -> float:
    """`metric` of `text` against `reference`.

    fuzzy_match is rapidfuzz's normalised Levenshtein ratio; bleu sacrebleu's sentence BLEU; gleu Google's
    (Wu et al. 2016, up to 4-grams); meteor Banerjee and Lavie's (2005) with exact and stem matches, without
    synonyms; rouge_* the F1 of rouge-score; cosine that of the vectors which `embed` gives.

    Raises `UsageError` when the package of a measure is missing, or cosine has no `embed`.
    """
    if metric == "cosine":
        return _cosine(text, reference, embed)
    if metric == "fuzzy_match":
        need("rapidfuzz", "fuzzy_match")
        from rapidfuzz import fuzz

        return float(fuzz.ratio(text, reference)) / 100
    if metric == "bleu":
        need("sacrebleu", "bleu")
        return float(_bleu().sentence_score(text, [reference]).score) / 100
    if metric == "gleu":
        return gleu(text.split(), reference.split())
    need("rouge_score", metric)
    if metric == "meteor":
        return _meteor(text.split(), reference.split())
    kind = metric.replace("_l", "L").replace("_", "")
    return float(_rouge(kind).score(reference, text)[kind].fmeasure)


def gleu(words: Sequence[str], reference: Sequence[str]) -> float:
    """The smaller of precision and recall over all n-grams up to 4."""
    ours, theirs = _ngrams(words), _ngrams(reference)
    longest = max(ours.total(), theirs.total())
    return (ours & theirs).total() / longest if longest else 1.0


def _ngrams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1))


def _cosine(text: str, reference: str, embed: Embed | None) -> float:
    if embed is None:
        raise UsageError(
            "a text_similarity grader with 'cosine' needs a model that embeds texts.",
            remedy="Use fuzzy_match, bleu, gleu or rouge_l, or call grade(..., embed=...) from Python.",
            code="no_embedder",
            param="evaluate.graders",
        )
    a, b = ([float(x) for x in vector] for vector in embed([text, reference]))
    norm = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else 0.0


@lru_cache(maxsize=1)
def _bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


@lru_cache(maxsize=8)
def _rouge(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=False)


class _NoSynonyms:
    def synsets(self, word: str) -> list[Any]:
        return []


def _meteor(words: Sequence[str], reference: Sequence[str]) -> float:
    from nltk.translate.meteor_score import single_meteor_score  # comes with rouge-score

    return float(single_meteor_score(reference, words, wordnet=_NoSynonyms()))
