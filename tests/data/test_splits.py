"""Splits: seeded, stratified, grouped and without leaks."""

import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.core.errors import DataError
from luthier.data.dataset import Dataset
from luthier.data.duplicates import jaccard, near_text, normalised_hash
from luthier.data.samples import Sample, Span
from luthier.data.splits import plan_split

REPO = Path(__file__).resolve().parents[2]
BANKING = REPO.parent / "shared" / "data" / "banking77" / "train.csv"


def texts(count, seed=0):
    random_ = random.Random(seed)
    return ["".join(random_.choices("abcdefghijklmnopqrstuvwxyz ", k=40)) for _ in range(count)]


def split(samples, fraction=0.2, seed=0, **options):
    return plan_split(lambda: iter(samples), fraction, seed, **options)


def sides(samples, plan, key):
    found = defaultdict(set)
    for sample, side in zip(samples, plan.assignment.tolist(), strict=True):
        found[key(sample)].add(side)
    return found


def test_every_class_keeps_its_share():
    names = ["common"] * 600 + ["middle"] * 300 + ["rare"] * 100
    samples = [Sample(text, target=name) for text, name in zip(texts(1000), names, strict=True)]
    plan = split(samples)
    held = Counter(sample.target for sample, side in zip(samples, plan.assignment, strict=True) if side)
    assert held == {"common": 120, "middle": 60, "rare": 20}
    assert plan.counts == {"train": 800, "validation": 200}
    assert plan.assignment.dtype == np.int8


def test_many_small_classes_add_up_to_the_fraction():
    samples = [Sample(text, target=str(k % 200)) for k, text in enumerate(texts(600))]
    plan = split(samples, 0.1)
    assert plan.counts["validation"] == pytest.approx(60, abs=2)
    assert all(0 in found for found in sides(samples, plan, lambda sample: sample.target).values())


def test_the_split_is_a_function_of_data_and_seed():
    samples = [Sample(text, target=str(k % 3)) for k, text in enumerate(texts(300))]
    one, same, other = split(samples, seed=5), split(samples, seed=5), split(samples, seed=6)
    assert np.array_equal(one.assignment, same.assignment)
    assert not np.array_equal(one.assignment, other.assignment)


def test_duplicates_of_every_kind_stay_on_one_side():
    samples = []
    for k, text in enumerate(texts(400)):
        near = text[:20] + "#" + text[20:]
        typo = f"{text} and then some more words that both of them share{'s' if k % 2 else ''}"
        samples += [Sample(text), Sample(text.upper() + "!"), Sample(near), Sample(typo), Sample(typo + " x")]
    random.Random(0).shuffle(samples)
    plan = split(samples)
    assert 0.15 < plan.counts["validation"] / len(samples) < 0.25
    assert all(len(found) == 1 for found in sides(samples, plan, normalised_hash).values())
    by_start = defaultdict(list)
    for sample, side in zip(samples, plan.assignment, strict=True):
        by_start[near_text(sample)[:10]].append((near_text(sample), side))
    near_pairs = [
        (one[1], other[1])
        for group in by_start.values()
        for one in group
        for other in group
        if jaccard(one[0], other[0]) >= 0.85
    ]
    assert len(near_pairs) > len(samples)
    assert all(one == other for one, other in near_pairs)


def test_groups_stay_on_one_side_only_when_asked():
    samples = [Sample(text, target=str(k % 2), group=f"user {k % 50}") for k, text in enumerate(texts(1000))]
    assert all(len(found) == 1 for found in sides(samples, split(samples, group=True), lambda s: s.group).values())
    assert any(len(found) == 2 for found in sides(samples, split(samples), lambda s: s.group).values())


def test_rows_without_a_group_are_on_their_own():
    samples = [Sample(text, target=str(k % 2)) for k, text in enumerate(texts(100))]
    assert split(samples, group=True).counts["validation"] == 20


def test_several_labels_are_shared_out_rarest_first():
    random_ = random.Random(0)
    names = {"a": 0.6, "b": 0.3, "c": 0.05, "d": 0.03}
    samples = [
        Sample(text, target=tuple(name for name, share in names.items() if random_.random() < share))
        for text in texts(2000)
    ]
    plan = split(samples, 0.1)
    for name in names:
        having = np.array([name in sample.target for sample in samples])
        assert plan.assignment[having].mean() == pytest.approx(0.1, abs=0.03)


def test_scores_are_shared_out_by_quantile():
    random_ = random.Random(0)
    scores = [random_.gauss(0, 1) ** 3 for _ in range(1000)]
    samples = [Sample(text, target=(score, 0.0)) for text, score in zip(texts(1000), scores, strict=True)]
    plan = split(samples, 0.1)
    ranks = np.argsort(np.argsort(scores))
    held = Counter((ranks[plan.assignment == 1] // 100).tolist())
    assert set(held.values()) <= {9, 10, 11}
    assert plan.counts["validation"] == 100


def test_spans_are_shared_out_by_the_labels_in_a_row():
    samples = [
        Sample(text, target=(Span(0, 3, "DRUG"), Span(4, 6, "DRUG")) if k % 20 == 0 else ())
        for k, text in enumerate(texts(1000))
    ]
    plan = split(samples)
    having = np.array([bool(sample.target) for sample in samples])
    assert plan.assignment[having].sum() == 10
    assert plan.counts["validation"] == 200


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.lists(st.sampled_from("abcde"), max_size=3, unique=True)),
        min_size=2,
        max_size=40,
    ),
    st.floats(0.05, 0.6),
    st.integers(0, 3),
)
def test_each_label_keeps_a_row_in_train_and_no_text_is_on_two_sides(rows, fraction, seed):
    pool = texts(13, 9)
    samples = [Sample(pool[k], target=tuple(names)) for k, names in rows]
    try:
        plan = split(samples, fraction, seed)
    except DataError as error:
        if error.code != "cannot_split":
            raise
        return
    assert all(len(found) == 1 for found in sides(samples, plan, normalised_hash).values())
    in_train = {
        name for sample, side in zip(samples, plan.assignment, strict=True) if side == 0 for name in sample.target
    }
    assert in_train == {name for sample in samples for name in sample.target}
    assert plan.counts["train"] + plan.counts["validation"] == len(samples)
    assert min(plan.counts.values()) > 0


def test_few_rows_give_at_least_one_for_validation():
    samples = [Sample(text, target=str(k % 2)) for k, text in enumerate(texts(5))]
    assert split(samples, 0.1).counts == {"train": 4, "validation": 1}


@pytest.mark.parametrize(
    ("samples", "code"),
    [
        ([Sample("one")], "too_few_rows"),
        ([], "too_few_rows"),
        ([Sample("same"), Sample("Same!"), Sample("same")], "cannot_split"),
        ([Sample("one text", target="a"), Sample("quite another", target="b")], "cannot_split"),
    ],
)
def test_what_cannot_be_split_is_said(samples, code):
    with pytest.raises(DataError) as caught:
        split(samples, 0.5)
    assert caught.value.code == code
    assert caught.value.remedy


def test_nothing_is_split_off_when_nothing_is_asked():
    assert split([Sample("a"), Sample("b")], 0.0).counts == {"train": 2, "validation": 0}


@pytest.mark.skipif(not BANKING.is_file(), reason="the shared data sets are not here")
def test_banking77():
    data = Dataset.open(str(BANKING))
    plan = plan_split(data, 0.1, 0)
    samples = list(data.samples())
    held = Counter(sample.target for sample, side in zip(samples, plan.assignment, strict=True) if side)
    whole = Counter(sample.target for sample in samples)
    assert plan.counts["validation"] == pytest.approx(1000, abs=10)
    assert max(abs(held[name] - 0.1 * whole[name]) for name in whole) <= 3
    assert all(len(found) == 1 for found in sides(samples, plan, normalised_hash).values())


MEASURE = """
import random, sys
from luthier.data.samples import Sample
from luthier.data.splits import plan_split
rows = int(sys.argv[1])
def samples():
    source = random.Random(0)
    words = ["".join(source.choices("abcdefghijklmnopqrst", k=source.randint(2, 9))) for _ in range(5000)]
    for k in range(rows):
        yield Sample(" ".join(source.choices(words, k=source.randint(4, 14))), target=f"class {k % 20}")
plan = plan_split(samples, 0.1, 0)
print(plan.counts["validation"])
"""


@pytest.fixture
def peak(measured):
    def run(rows):
        words, megabytes = measured(MEASURE, rows)
        assert int(words[0]) == pytest.approx(rows / 10, rel=0.01)
        return megabytes

    return run


def test_memory_per_row_is_small(peak):
    assert peak(50_000) < 80


@pytest.mark.slow
def test_a_million_rows_are_split_within_300_mb(peak):
    assert peak(1_000_000) < 300
