"""Character 5-grams of normalised texts, as sets and as arrays of hashes, and those that say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

SHINGLE = 5
"""Characters per gram."""
CHARACTERS_PER_STEP = 262_144
LONG = 4096
LOOKED_AT, CHARACTERS = 1000, 4000
"""Texts, and characters of each, in which frequent grams are counted."""
SHARE, LEAST = 0.1, 8
"""Grams of more than this share of the texts, and of so many at least, are frequent."""

Starts = NDArray[np.int64]
Grams = NDArray[np.uint32]
NONE: Grams = np.empty(0, np.uint32)


def shingles(text: str) -> set[str]:
    """The character 5-grams of a `near_text`; a shorter text is padded to one gram."""
    text = text.ljust(SHINGLE, "\0")
    return {text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)}


def jaccard(one: str, other: str, ignored: Grams = NONE) -> float:
    """The exact resemblance of two normalised texts: shared grams over all grams, 0 to 1."""
    if len(ignored) == 0 and len(one) + len(other) < LONG:  # sets are faster for short texts
        first, second = shingles(one), shingles(other)
        return len(first & second) / len(first | second)
    left, right = (np.unique(without(*shingle_hashes([text]), ignored)[0]) for text in (one, other))
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)


def shingle_hashes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], Starts]:
    """Hashes of all grams of all texts in a row, and where each text's grams begin."""
    padded = [text.ljust(SHINGLE, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    total = int(lengths.sum()) - SHINGLE + 1
    rolling = np.zeros(total, dtype=np.uint64)
    for k in range(SHINGLE):
        rolling *= np.uint64(0x9E3779B97F4A7C15)
        rolling += codes[k : total + k]
    rolling ^= rolling >> np.uint64(29)
    rolling *= np.uint64(0xBF58476D1CE4E5B9)
    ends = np.cumsum(lengths)
    inside = np.ones(total + SHINGLE - 1, dtype=bool)
    for k in range(1, SHINGLE):
        inside[ends - k] = False  # grams that would reach into the next text
    counts = lengths - SHINGLE + 1
    starts = np.cumsum(counts) - counts
    return (rolling >> np.uint64(32)).astype(np.uint32)[inside[:total]], starts


def steps(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in batches of bounded size."""
    begin, size = 0, 0
    for k, text in enumerate(texts):
        size += len(text)
        if size >= CHARACTERS_PER_STEP:
            yield texts[begin : k + 1]
            begin, size = k + 1, 0
    if begin < len(texts):
        yield texts[begin:]


def frequent(texts: Sequence[str]) -> Grams:
    """The hashes of grams that many of the first texts share: a prompt's fixed words, and common ones."""
    looked = [text[:CHARACTERS] for text in texts[:LOOKED_AT]]
    found = []
    for batch in steps(looked):
        hashes, starts = shingle_hashes(batch)
        found += [np.unique(grams) for grams in np.split(hashes, starts[1:])]
    grams, counts = np.unique(np.concatenate(found), return_counts=True)
    return grams[(counts >= LEAST) & (counts > SHARE * len(looked))]


def without(hashes: Grams, starts: Starts, ignored: Grams) -> tuple[Grams, Starts]:
    """`shingle_hashes` less those that are `ignored`; a text of nothing else keeps them all."""
    if len(ignored) == 0:
        return hashes, starts
    at = np.minimum(np.searchsorted(ignored, hashes), len(ignored) - 1)
    keep = ignored[at] != hashes
    sizes = np.diff(np.append(starts, len(hashes)))
    kept = np.add.reduceat(keep.astype(np.int64), starts)
    keep |= np.repeat(kept == 0, sizes)
    kept = np.where(kept == 0, sizes, kept)
    return hashes[keep], np.cumsum(kept) - kept
