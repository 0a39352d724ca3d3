"""The index: by words against the formula, by meaning against dot products, by both against hand-made ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.approaches.index import Index, Passage, words_of
from luthier.core.errors import UsageError

TEXTS = ["the parcel is late", "a late late train", "flowers and bees", "the bees of the garden", "nothing here"]
PASSAGES = [Passage(text, text.upper(), f"p{number}", number) for number, text in enumerate(TEXTS)]


def by_letters(texts):
    """Vectors that count letters."""
    return np.asarray([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], float)


def okapi(question, documents, k1=1.5, b=0.75):
    """Robertson and Zaragoza 2009 with Lucene's rarity, written out."""
    parted = [words_of(text) for text in documents]
    average = sum(map(len, parted)) / len(parted)
    found = []
    for words in parted:
        total = 0.0
        for word in words_of(question):
            holding = sum(word in other for other in parted)
            if holding:
                rarity = math.log(1 + (len(parted) - holding + 0.5) / (holding + 0.5))
                times = words.count(word)
                total += rarity * times / (times + k1 * (1 - b + b * len(words) / average))
        found.append(total)
    return found


@pytest.mark.parametrize("question", ["late", "the bees", "late parcel late", "unknown", ""])
def test_words_are_weighed_by_bm25(question):
    index = Index(PASSAGES)
    (found,) = index.search([question], 5, "words")
    wanted = okapi(question, TEXTS)
    assert [score for _, score in found] == pytest.approx(sorted(wanted, reverse=True), rel=1e-5)
    assert [passage.row for passage, _ in found] == sorted(range(5), key=lambda row: (-round(wanted[row], 6), row))


def test_meaning_is_the_cosine():
    index = Index(PASSAGES, by_letters)
    question = "a bee in a garden"
    (found,) = index.search([question], 5, "meaning")
    vectors = by_letters([question, *TEXTS])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    wanted = vectors[1:] @ vectors[0]
    assert [passage.row for passage, _ in found] == np.argsort(-wanted, kind="stable").tolist()
    assert [score for _, score in found] == pytest.approx(sorted(wanted, reverse=True))


def test_both_is_reciprocal_rank_fusion():
    index = Index(PASSAGES, by_letters)
    question = "the bees"
    ranks = {}
    for how in ("words", "meaning"):
        (found,) = index.search([question], 5, how)
        for rank, (passage, _) in enumerate(found, start=1):
            ranks.setdefault(passage.row, []).append(1 / (60 + rank))
    wanted = sorted(ranks, key=lambda row: (-sum(ranks[row]), row))
    (found,) = index.search([question], 3, "both")
    assert [passage.row for passage, _ in found] == wanted[:3]
    assert [score for _, score in found] == pytest.approx([sum(ranks[row]) for row in wanted[:3]])


def test_changed_passages_are_found_and_the_rest_is_kept():
    asked = []

    def embed(texts):
        asked.append(len(texts))
        return by_letters(texts)

    index = Index(PASSAGES, embed)
    index.search(["bees"], 1)
    shown = index.replaced({2: Passage(TEXTS[2], "NEW", "p2", 2)})
    assert shown.search(["flowers"], 1)[0][0][0].text == "NEW"
    moved = index.replaced({0: Passage("zebra zoo", "ZOO", "p0", 0)})
    assert moved.search(["zebra"], 1)[0][0][0].text == "ZOO"
    assert index.search(["flowers"], 1)[0][0][0].text == "FLOWERS AND BEES"
    assert asked.count(len(TEXTS)) == 1  # the vectors of all were made once


def test_an_index_of_nothing_and_a_search_that_it_lacks():
    with pytest.raises(UsageError) as caught:
        Index([])
    assert caught.value.code == "no_passages"
    with pytest.raises(UsageError) as caught:
        Index(PASSAGES).search(["a"], 1, "meaning")
    assert caught.value.code == "no_vectors"
    assert Index([Passage("!!!", "x")]).search(["anything"], 3, "words")[0][0][1] == 0.0
