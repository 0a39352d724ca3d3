"""What was forgotten, on models whose loss is known: agreement, probe and knee by hand, and the section of the page."""

from __future__ import annotations

import numpy as np
import pytest
from fake_reports import HOSTILE, fake_report
from fake_writers import FakeWriter, chat

from luthier.data.general import topic_sentences
from luthier.data.samples import Sample
from luthier.evaluate.forgetting import TradeOff, judge_reader, judge_writer, knee_of, neighbour_agreement, summarise
from luthier.evaluate.forgetting.curve import curve_report
from luthier.evaluate.report_page import render_page


class FakeReader:
    """Vectors by text."""

    def __init__(self, texts, vectors):
        self.vectors = dict(zip(texts, vectors, strict=True))

    def embed(self, texts):
        return np.stack([self.vectors[text] for text in texts])


def test_agreement_is_counted_by_hand():
    # on a circle, so that cosine is the angle: 0, 10, 30, 90 degrees
    before = np.array([[np.cos(a), np.sin(a)] for a in np.radians([0, 10, 30, 90])])
    after = np.array([[np.cos(a), np.sin(a)] for a in np.radians([0, 10, 90, 30])])  # the last two have changed places
    assert neighbour_agreement(before, after, k=1).tolist() == [1.0, 1.0, 0.0, 0.0]
    # the two nearest of 0 were {10, 30} and are {10, 90}; of 10 {0, 30} and {0, 90}; of 30 {10, 0} and {30, 10}, ...
    assert neighbour_agreement(before, after, k=2).tolist() == [0.5, 0.5, 0.5, 0.5]
    assert neighbour_agreement(before, 3.0 * before).tolist() == [1.0] * 4  # length is no direction
    with pytest.raises(ValueError, match="no neighbours"):
        neighbour_agreement(before[:1], before[:1])


def _topics(seed, spread):
    """Sentences of ten topics as vectors around ten centres."""
    generator = np.random.default_rng(seed)
    samples = topic_sentences()
    names = sorted({sample.target for sample in samples})
    centres = 5 * np.eye(len(names), 16)
    vectors = np.stack([centres[names.index(sample.target)] for sample in samples])
    return samples, vectors + spread * generator.normal(size=vectors.shape)


def test_a_reader_that_did_not_move_forgot_nothing():
    samples, vectors = _topics(0, 1.0)
    reader = FakeReader([sample.input for sample in samples], vectors)
    found = judge_reader("general sentences", reader, reader, samples)
    assert (found.outcome, found.forgotten, found.tests["probe"]["difference"]["value"]) == ("kept", 0.0, 0.0)
    assert found.tests["probe"]["base"] > 0.9
    assert "No forgetting is shown" in found.sentence


def test_a_reader_that_lost_its_topics_forgot():
    samples, vectors = _topics(0, 1.0)
    noise = np.random.default_rng(1).normal(size=vectors.shape)
    texts = [sample.input for sample in samples]
    found = judge_reader("general sentences", FakeReader(texts, vectors), FakeReader(texts, noise), samples)
    assert found.outcome == "forgot"
    assert found.tests["probe"]["tuned"] < 0.3
    assert found.tests["neighbours"]["tuned"] < 0.2
    assert found.sentence.startswith("It forgot.")


def test_without_classes_there_is_no_probe():
    samples, vectors = _topics(0, 1.0)
    texts = [sample.input for sample in samples]
    plain = [Sample(text) for text in texts]
    mixed = FakeReader(texts, vectors[::-1])
    found = judge_reader("texts of yours", FakeReader(texts, vectors), mixed, plain)
    assert list(found.tests) == ["neighbours"]
    assert found.outcome == "moved"


def _anchors(count=30):
    return [chat(f"question {i}", " ".join(["word"] * (3 + i % 5)), line=i) for i in range(count)]


@pytest.mark.parametrize(
    ("change", "outcome", "words"), [(0.5, "forgot", "It forgot: loss on 30 general conversations rose"),
                                     (-0.5, "gained", "It forgot nothing"), (0.0, "kept", "No forgetting is shown")]
)  # fmt: skip
def test_a_writer_is_judged_by_the_change_of_its_loss(change, outcome, words):
    def noisy(seed):
        generator = np.random.default_rng(seed)
        by_line = {i: 0.1 * generator.normal() for i in range(30)}
        return lambda sample: 2.0 + by_line[sample.line]

    base, tuned = noisy(0), noisy(0 if change else 1)
    found = judge_writer(
        "general conversations", FakeWriter(lambda text: "old", base),
        FakeWriter(lambda text: "new", lambda sample: tuned(sample) + change), _anchors(), answers=3,
    )  # fmt: skip
    assert found.outcome == outcome
    assert found.sentence.startswith(words)
    if change:
        assert found.forgotten == pytest.approx(change)
    assert [answer["tuned"] for answer in found.answers] == ["new"] * 3
    assert [answer["prompt"] for answer in found.answers] == ["question 0", "question 10", "question 20"]


def test_the_knee_is_the_point_farthest_from_the_chord():
    """Kneedle's rule on known points: with all axes scaled the distance of (gain g, loss l) is (g - l) / sqrt 2."""
    shares, gain, loss = (0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 0.5, 0.8, 0.9, 1.0), (0.0, 0.05, 0.1, 0.6, 1.0)
    lower = [TradeOff(s, None, 5.0 - 2.0 * g, 3.0 + 0.4 * x) for s, g, x in zip(shares, gain, loss, strict=True)]
    knee = knee_of(lower, task_higher=False, retained_higher=False)
    assert knee is not None
    assert (knee.share, knee.gain, knee.loss) == pytest.approx((0.5, 0.8, 0.1))
    higher = [TradeOff(s, None, 0.5 + 0.3 * g, 1.0 - 0.4 * x) for s, g, x in zip(shares, gain, loss, strict=True)]
    again = knee_of([*reversed(higher), TradeOff(None, 3, 9.0, 9.0)], task_higher=True, retained_higher=True)
    assert again is not None
    assert again.share == 0.5


@pytest.mark.parametrize(
    "points", [
        [(0.0, 0.5, 1.0), (0.5, 0.6, 0.8), (1.0, 0.7, 0.6)],  # the chord itself
        [(0.0, 0.5, 1.0), (0.5, 0.51, 0.7), (1.0, 0.7, 0.6)],  # below it
        [(0.0, 0.5, 1.0), (0.5, 0.7, 0.9), (1.0, 0.4, 0.6)],  # the tuned end gained nothing
        [(0.0, 0.5, 0.9), (0.5, 0.7, 0.9), (1.0, 0.9, 0.9)],  # nothing was lost
        [(0.0, 0.5, 1.0), (1.0, 0.9, 0.5)],  # two ends
    ]
)  # fmt: skip
def test_where_nothing_bends_there_is_no_knee(points):
    trade_offs = [TradeOff(share, None, task, retained) for share, task, retained in points]
    assert knee_of(trade_offs, task_higher=True, retained_higher=True) is None


def test_the_report_has_the_section_with_its_chart_and_how_to_use_the_knee():
    samples, vectors = _topics(0, 1.0)
    texts = [sample.input for sample in samples]
    finding = judge_reader("sentences", FakeReader(texts, vectors), FakeReader(texts, vectors[::-1]), samples)
    writers = FakeWriter(lambda text: HOSTILE), FakeWriter(lambda text: "new")
    written = judge_writer("conversations", *writers, _anchors())
    points = [TradeOff(0.0, None, 0.1, 1.0), TradeOff(0.5, None, 0.8, 0.9), TradeOff(1.0, None, 0.9, 0.5),
              TradeOff(None, 7, 0.85, 0.6)]  # fmt: skip
    curve = curve_report(
        points, metric="accuracy", task_higher=True, retained="same neighbours", retained_higher=True, run="runs/one"
    )
    forgetting = summarise([written, finding], curve, 1.25)
    assert forgetting["outcome"] == "moved"
    page = render_page({**fake_report(3, 60), "forgetting": forgetting})
    for part in ("What it forgot", "train.average=0.5", "88% of the gain for 20% of", "step 7", "Measured in 1.2 s",
                 "Same nearest neighbours", "Linear probe of topics", "--remedy forgetting"):  # fmt: skip
        assert part in page, part
    assert HOSTILE not in page
