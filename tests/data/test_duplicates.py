"""Exact, normalised and near duplicates, held against the definitions."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.clusters import Clusters
from luthier.data.duplicates import (
    BUCKET,
    NearDuplicates,
    Reread,
    exact_hash,
    jaccard,
    near_text,
    normalise,
    normalised_hash,
    shingles,
)
from luthier.data.samples import Sample


def noisy_texts(count, seed=0, copies=4):
    """Texts of random words, each with copies that differ by a little more each time."""
    random_ = random.Random(seed)
    words = ["".join(random_.choices("abcdefghijklmnop", k=random_.randint(2, 9))) for _ in range(400)]
    texts = []
    for _ in range(count):
        text = random_.choices(words, k=random_.randint(3, 30))
        texts.append(" ".join(text))
        for changes in range(1, copies):
            changed = list(text)
            for _ in range(changes):
                changed[random_.randrange(len(changed))] = random_.choice(words)
            texts.append(" ".join(changed))
    random_.shuffle(texts)
    return texts


def all_pairs(texts, threshold):
    """Every pair of at least `threshold`, by definition."""
    sets = [shingles(text) for text in texts]
    found = {}
    for i in range(len(sets)):
        for j in range(i + 1, len(sets)):
            shared = len(sets[i] & sets[j])
            if shared and shared >= threshold * (len(sets[i]) + len(sets[j]) - shared):
                found[i, j] = shared / (len(sets[i]) + len(sets[j]) - shared)
    return found


def filled(texts, batch=300):
    near = NearDuplicates()
    for k in range(0, len(texts), batch):
        near.add([Sample(text) for text in texts[k : k + batch]])
    return near


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is it  open?", "is it open"),
        ("\uff26\uff55\uff4c\uff4c width", "full WIDTH"),
        ("Stra\u00dfe", "STRASSE"),
        ("cafe\u0301", "caf\u00e9"),
        ("zero\u200bwidth", "zerowidth"),
        ("\u2018quoted\u2019 \u2014 text", "'quoted' - text"),
    ],
)
def test_normalise_makes_equal(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (":-)", ":-("),
        ("good \U0001f600", "good \U0001f621"),
        ("\u0915\u093f", "\u0915\u0940"),
        ("C++", "C"),
        ("ab c", "a bc"),
    ],
)
def test_normalise_keeps_apart(one, other):
    assert normalise(one) != normalise(other)


@given(st.text())
def test_normalise_is_stable(text):
    once = normalise(text)
    assert once == once.strip()
    assert "  " not in once


def test_hashes_tell_texts_and_pairs_apart():
    samples = [
        Sample("a"),
        Sample("A"),
        Sample("a", ""),
        Sample("ab", "c"),
        Sample("a", "bc"),
        Sample("\ud800"),
    ]
    assert len({exact_hash(sample) for sample in samples}) == len(samples)
    assert normalised_hash(Sample("A!")) == normalised_hash(Sample("a"))
    assert normalised_hash(Sample("a", "B")) == normalised_hash(Sample("A", "b!"))
    assert normalised_hash(Sample("a", "b")) != normalised_hash(Sample("b", "a"))
    assert 0 <= exact_hash(Sample("x" * 10_000)) < 2**64


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_measured_pairs_are_the_pairs_by_definition(seed):
    texts = noisy_texts(150, seed)
    true = all_pairs(texts, 0.85)
    found = list(filled(texts).pairs(0.85, lambda rows: {int(row): texts[row] for row in rows}))
    assert len(true) > 50
    assert len({pair[:2] for pair in found}) == len(found)
    assert {pair[:2] for pair in found} <= set(true)
    assert len(found) >= 0.98 * len(true)
    for i, j, similarity in found:
        assert i < j
        assert similarity == pytest.approx(true[i, j], abs=0.12)


def test_estimates_agree_with_jaccard():
    """64 permutations: standard error sqrt(J (1 - J) / 64), at most 0.0625."""
    texts = noisy_texts(200, 3)
    errors = [similarity - jaccard(texts[i], texts[j]) for i, j, similarity in filled(texts).pairs(0.7)]
    assert len(errors) > 100
    assert np.sqrt(np.mean(np.square(errors))) < 0.06
    assert abs(np.mean(errors)) < 0.03  # pairs are chosen by a high estimate, which leans upwards a little


def test_the_batch_size_changes_nothing():
    texts = noisy_texts(80)
    assert list(filled(texts, 7).pairs(0.8)) == list(filled(texts, 1000).pairs(0.8))


def test_equal_texts_come_as_pairs_with_the_first():
    texts = [
        "something else altogether",
        "The same text.",
        "the same text",
        "the  same TEXT!",
        "ok",
        "ok",
        "no",
    ]
    near = NearDuplicates()
    near.add([Sample(text) for text in texts])
    assert sorted(near.pairs()) == [(1, 2, 1.0), (1, 3, 1.0), (4, 5, 1.0)]


def test_pairs_of_texts_differ_when_one_of_them_does():
    near = NearDuplicates()
    near.add([Sample("the weather is fine", pair) for pair in ("a long first answer", "quite another reply")])
    assert list(near.pairs(0.6)) == []


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows_have_no_pairs(count):
    near = NearDuplicates()
    near.add([Sample("only this")] * count)
    assert len(near) == count
    assert list(near.pairs()) == []


def test_large_buckets_stay_linear_and_hang_together():
    texts = [
        f"my parcel with the number {k:04d} has not arrived yet and i want to know where it is" for k in range(3000)
    ]
    pairs = list(filled(texts).pairs(0.8))
    clusters = Clusters(len(texts))
    clusters.join(np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs]))
    assert len({pair[:2] for pair in pairs}) == len(pairs) < len(texts) * BUCKET
    assert np.bincount(clusters.roots()).max() > 0.95 * len(texts)


def test_reread_gives_the_wanted_texts_within_its_budget():
    samples = [Sample(f"Text {k}!", line=k) for k in range(100)]
    passes = []

    def again():
        passes.append(1)
        return iter(samples)

    reread = Reread(again, passes=2, characters=50)
    assert reread(np.array([3, 7])) == {3: "text 3", 7: "text 7"}
    assert 0 < len(reread(np.arange(100))) < 15
    assert reread(np.array([3])) == {}
    assert len(passes) == 2
    assert near_text(Sample("A", "B")) == "a\x1fb"


@given(
    st.integers(1, 60).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))),
            st.lists(st.integers(0, 5), min_size=n, max_size=n),
        )
    )
)
def test_clusters_are_the_connected_parts(case):
    count, edges, keys = case
    clusters = Clusters(count)
    clusters.join(
        np.array([edge[0] for edge in edges], dtype=np.int64),
        np.array([edge[1] for edge in edges], dtype=np.int64),
    )
    clusters.join_equal(np.array(keys, dtype=np.uint64))
    leader = list(range(count))
    edges = [*edges, *((i, keys.index(keys[i])) for i in range(count))]
    for _ in range(count):
        for one, other in edges:
            leader[one] = leader[other] = min(leader[one], leader[other])
    assert clusters.roots().tolist() == leader
