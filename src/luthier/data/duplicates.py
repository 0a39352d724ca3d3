"""The same text twice: exactly, after normalisation, or nearly.

Near duplicates are found by MinHash (Broder, "On the resemblance and containment of documents",
1997) over character 5-grams of the normalised text, with 64 permutations of which only the lowest
8 bits are kept (Li and Koenig, "b-bit minwise hashing", 2010), so that a million rows cost 64 MB.
Candidates come from locality-sensitive hashing, one band after another.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from luthier.core.conversation import Completion, Conversation
from luthier.data.clusters import Clusters
from luthier.data.language_text import asked_text, whole_text
from luthier.data.samples import Sample
from luthier.data.shingles import NONE, frequent, jaccard, shingle_hashes, shingles, steps, without

__all__ = [
    "BATCH", "BATCH_CHARACTERS", "NearDuplicates", "Reread", "both_hashes", "exact_hash", "in_batches", "jaccard",
    "near_text", "normalise", "normalised_hash", "shingles",
]  # fmt: skip

PERMUTATIONS = 64
BUCKET = 24
"""Up to so many distinct rows in a bucket are compared each with each; larger ones by their first row
and by neighbours, since templates ("order 1234 is late") would give quadratically many pairs."""
MARGIN = 0.12
"""An estimate from 64 permutations is off by more than this (2.6 standard errors at 0.85) in 1 % of cases."""
PAIRS_PER_STEP = 100_000
BATCH, BATCH_CHARACTERS = 4096, 4_000_000
"""Rows, and characters in them, that are hashed together."""

Rows = NDArray[np.int64]
Pairs = tuple[Rows, Rows, NDArray[np.float64]]
Texts = Callable[[Rows], Mapping[int, str]]
"""Gives `near_text` of the asked rows; rows may be left out."""


@functools.lru_cache(maxsize=1)
def _table() -> dict[int, str | None]:
    """Punctuation, separators and control characters become a space, invisible ones vanish.

    By category and not by `\\w`, which leaves out the vowel signs of Indic scripts.
    """
    table: dict[int, str | None] = {}
    for code in range(min(sys.maxunicode, 0x1FFFF) + 1):
        category = unicodedata.category(chr(code))
        if category[0] in "PZ" or category == "Cc":
            table[code] = " "
        elif category == "Cf":
            table[code] = None
    return table


def normalise(text: str) -> str:
    """NFKC, casefold, punctuation and whitespace collapsed to single spaces.

    A text of nothing but punctuation keeps it: ":-)" and ":-(" are not the same.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(_table()).split()) or " ".join(folded.split())


def _hash(text: str, text_pair: str | None) -> int:
    digest = blake2b(digest_size=8)
    first = text.encode("utf-8", "surrogatepass")
    if text_pair is not None:  # the length keeps ("ab", "c") and ("a", "bc") apart
        digest.update(f"{len(first)}:".encode())
        digest.update(first)
        digest.update(text_pair.encode("utf-8", "surrogatepass"))
    else:
        digest.update(b"-:" + first)
    return int.from_bytes(digest.digest(), "little")


def exact_hash(sample: Sample) -> int:
    """64 bits of the sample's text or pair of texts, as they stand; of all that a generative sample asks."""
    if isinstance(sample.target, Conversation | Completion):
        return _hash(asked_text(sample.target), None)
    return _hash(sample.text, sample.text_pair)


def normalised_hash(sample: Sample) -> int:
    """64 bits of the normalised text or pair of texts; of all that a generative sample asks."""
    if isinstance(sample.target, Conversation | Completion):
        return _hash(normalise(asked_text(sample.target)), None)
    return _hash(normalise(sample.text), None if sample.text_pair is None else normalise(sample.text_pair))


def both_hashes(sample: Sample) -> tuple[int, int]:
    """(`normalised_hash`, 64 bits of the normalised question and answer); equal where there is no question."""
    target = sample.target
    asked = normalised_hash(sample)
    if isinstance(target, Conversation) or (isinstance(target, Completion) and target.prompt.strip()):
        return asked, _hash(normalise(whole_text(target)), None)
    return asked, asked


def in_batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Batches for `NearDuplicates.add`, bounded in rows and in characters."""
    batch: list[Sample] = []
    size = 0
    for sample in samples:
        batch.append(sample)
        size += len(sample.text)
        if len(batch) == BATCH or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def near_text(sample: Sample) -> str:
    """What near duplicates are measured on: the normalised text, or both texts with a mark between."""
    text = normalise(sample.text)
    return text if sample.text_pair is None else f"{text}\x1f{normalise(sample.text_pair)}"


class NearDuplicates:
    """Collects signatures (64 bytes per row) and gives the pairs of rows that resemble each other.

    Rows are counted from 0 in the order of `add`. Among rows with one signature (equal texts above
    all) only the first is compared with others, and each of the rest is paired with that first one:
    join the pairs (`Clusters`) to have everything that belongs together.
    """

    def __init__(self, *, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self._factor = random.integers(0, 2**31, PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        self._shift = random.integers(0, 2**32, PERMUTATIONS, dtype=np.uint32)
        self._signatures: NDArray[np.uint8] = np.empty((1024, PERMUTATIONS), dtype=np.uint8)
        self._rows = 0
        self._frequent: NDArray[np.uint32] | None = None

    def __len__(self) -> int:
        return self._rows

    def add(self, samples: Sequence[Sample]) -> None:
        """Take a batch of rows; some thousand at a time are fastest.

        Of questions the grams that many share are left out, as the first batch shows them: a
        prompt's fixed words would make all of them alike.
        """
        found = [near_text(sample) for sample in samples]
        if self._frequent is None and samples:
            target = samples[0].target
            asks = isinstance(target, Conversation) or (isinstance(target, Completion) and target.prompt != "")
            self._frequent = frequent(found) if asks else NONE
        for texts in steps(found):
            self._grow(self._rows + len(texts))
            hashes, starts = without(*shingle_hashes(texts), NONE if self._frequent is None else self._frequent)
            values = np.empty_like(hashes)
            for k in range(PERMUTATIONS):
                np.multiply(hashes, self._factor[k], out=values)
                np.add(values, self._shift[k], out=values)
                lowest = np.minimum.reduceat(values, starts)
                self._signatures[self._rows : self._rows + len(texts), k] = lowest & np.uint32(255)
            self._rows += len(texts)

    def _grow(self, rows: int) -> None:
        if rows > len(self._signatures):
            # realloc in place: a copy would double the peak
            self._signatures.resize((rows + rows // 4, PERMUTATIONS), refcheck=False)

    def pairs(self, threshold: float = 0.85, texts: Texts | None = None) -> Iterator[tuple[int, int, float]]:
        """Pairs (row, later row, resemblance) of at least `threshold`, each once.

        Without `texts` the resemblance is the estimate. With it, doubtful pairs are measured exactly.
        """
        for first, second, similarity in self.batches(threshold, texts):
            yield from zip(first.tolist(), second.tolist(), similarity.tolist(), strict=True)

    def batches(self, threshold: float = 0.85, texts: Texts | None = None) -> Iterator[Pairs]:
        """The same as arrays, some ten thousand pairs at a time."""
        if texts is None:
            yield from self._candidates(threshold)
            return
        waiting: list[Pairs] = []
        for first, second, estimate in self._candidates(threshold - MARGIN):
            sure = estimate >= threshold + MARGIN
            yield first[sure], second[sure], estimate[sure]
            waiting.append((first[~sure], second[~sure], estimate[~sure]))
            if sum(len(pairs[0]) for pairs in waiting) >= PAIRS_PER_STEP:
                yield _verified(waiting, threshold, texts, self._frequent)
                waiting = []
        if any(len(pairs[0]) for pairs in waiting):
            yield _verified(waiting, threshold, texts, self._frequent)

    def _candidates(self, least: float) -> Iterator[Pairs]:
        signatures = self._signatures[: self._rows]
        words = signatures.view(np.uint64)
        keys = np.zeros(self._rows, dtype=np.uint64)
        for k in range(words.shape[1]):
            keys = (keys ^ words[:, k]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(32)
        order = np.argsort(keys, kind="stable")
        fresh = np.ones(self._rows, dtype=bool)
        fresh[1:] = keys[order[1:]] != keys[order[:-1]]
        heads = order[fresh]
        repeated = np.flatnonzero(~fresh)
        first = heads[np.cumsum(fresh)[repeated] - 1]
        for k in range(0, len(repeated), PAIRS_PER_STEP):
            second = order[repeated[k : k + PAIRS_PER_STEP]]
            yield first[k : k + PAIRS_PER_STEP], second, np.ones(len(second))
        heads.sort()
        del keys, order, fresh, repeated, first
        yield from _Bands(signatures, heads).pairs(least)


def _verified(
    waiting: list[Pairs], threshold: float, texts: Texts, frequent: NDArray[np.uint32] | None
) -> Pairs:
    first, second, similarity = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
    known = texts(np.unique(np.concatenate([first, second])))
    for k, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        if i in known and j in known:
            similarity[k] = jaccard(known[i], known[j], NONE if frequent is None else frequent)
    near = similarity >= threshold
    return first[near], second[near], similarity[near]


class _Bands:
    """Locality-sensitive hashing over distinct signatures, one band in memory at a time."""

    def __init__(self, signatures: NDArray[np.uint8], heads: Rows) -> None:
        self.signatures, self.heads = signatures, heads
        # 12 bands of 5 find 99.9 % of the pairs at 0.85; above 200,000 rows 10 bands of 6 (99.1 %)
        # keep the number of chance candidates, which grows with the square, within seconds.
        self.bands, self.width = (12, 5) if len(heads) <= 200_000 else (10, 6)
        self.crowded = np.zeros(len(heads), dtype=np.uint16)  # bit b: in band b the row's bucket was too large
        self.joined = Clusters(len(heads))
        self.from_crowds = np.empty(0, dtype=np.int64)  # pairs already given from large buckets

    def pairs(self, least: float) -> Iterator[Pairs]:
        for band in range(self.bands):
            keys = np.zeros(len(self.heads), dtype=np.uint64)
            for k in range(band * self.width, (band + 1) * self.width):
                keys = (keys << np.uint64(8)) | self.signatures[self.heads, k]
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else order
            sizes = np.diff(np.append(starts, len(keys)))
            large = np.repeat(sizes > BUCKET, sizes)
            self.crowded[order[large]] |= np.uint16(1 << band)
            for distance in range(1, BUCKET):
                near = (keys[distance:] == keys[:-distance]) & ~large[distance:]
                if not near.any():
                    break
                yield from self._judge(order[:-distance][near], order[distance:][near], band, least, crowd=False)
            if large.any():
                leader = np.repeat(order[starts], sizes)
                follows = large & (leader != order)
                yield from self._judge(leader[follows], order[follows], band, least, crowd=True)
                beside = follows[1:] & (keys[1:] == keys[:-1]) & (leader[1:] != order[:-1])
                yield from self._judge(order[:-1][beside], order[1:][beside], band, least, crowd=True)

    def _judge(self, first: Rows, second: Rows, band: int, least: float, *, crowd: bool) -> Iterator[Pairs]:
        for k in range(0, len(first), PAIRS_PER_STEP):
            one = np.minimum(first[k : k + PAIRS_PER_STEP], second[k : k + PAIRS_PER_STEP])
            two = np.maximum(first[k : k + PAIRS_PER_STEP], second[k : k + PAIRS_PER_STEP])
            equal = self.signatures[self.heads[one]] == self.signatures[self.heads[two]]
            # 8 bits agree by chance in 1 of 256 cases (Li and Koenig 2010, equation 3)
            similarity = np.maximum(equal.mean(axis=1) * 256 - 1, 0) / 255
            near = similarity >= least
            if crowd:  # a spanning forest is enough
                near &= self.joined.roots()[one] != self.joined.roots()[two]
            else:
                for earlier in range(band):
                    slots = slice(earlier * self.width, (earlier + 1) * self.width)
                    crowded = (self.crowded[one] >> np.uint16(earlier)) & np.uint16(1)
                    near &= ~(equal[:, slots].all(axis=1) & (crowded == 0))
                near &= ~np.isin(one * len(self.heads) + two, self.from_crowds)
            if near.any():
                one, two = one[near], two[near]
                self.joined.join(one, two)
                if crowd:
                    self.from_crowds = np.append(self.from_crowds, one * len(self.heads) + two)
                yield self.heads[one], self.heads[two], similarity[near]


class Reread:
    """`Texts` from another pass over the data, in bounded memory.

    At most `passes` passes, and at most `characters` characters per pass; what goes beyond stays
    with its estimate.
    """

    def __init__(
        self, samples: Callable[[], Iterable[Sample]], *, passes: int = 4, characters: int = 32_000_000
    ) -> None:
        self._samples, self._passes, self._characters = samples, passes, characters

    def __call__(self, rows: Rows) -> dict[int, str]:
        found: dict[int, str] = {}
        if self._passes == 0:
            return found
        self._passes -= 1
        wanted = iter(rows.tolist())
        following = next(wanted, -1)
        left = self._characters
        for row, sample in enumerate(self._samples()):
            if row == following:
                found[row] = near_text(sample)
                left -= len(found[row])
                following = next(wanted, -1)
                if following < 0 or left < 0:
                    break
        return found
