"""Sampling against transformers' processors, and against the probabilities that it should have."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from luthier.core.errors import UsageError
from luthier.core.generation import Sampling
from luthier.models.generation.sampling import RowSampler, check_sampling, choose, filter_scores

VOCABULARY = 40


def logits(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


def reference(scores: Tensor, sampling: Sampling) -> Tensor:
    """transformers, one row at a time."""
    processors = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        processors.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        processors.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        processors.append(MinPLogitsWarper(sampling.min_p))
    return processors(torch.zeros(1, 1, dtype=torch.long), scores.unsqueeze(0))[0]


settings_of_a_row = st.builds(
    Sampling,
    temperature=st.floats(0.1, 3),
    top_k=st.sampled_from([0, 1, 3, 17, VOCABULARY, 1000]),
    top_p=st.sampled_from([1.0, 0.01, 0.5, 0.9, 0.999]),
    min_p=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(settings_of_a_row, min_size=1, max_size=5), st.integers(0, 1000))
def test_filters_are_those_of_transformers_row_by_row(rows: list[Sampling], seed: int) -> None:
    scores = logits(len(rows), seed)
    ours = filter_scores(scores, rows)
    for row, sampling in enumerate(rows):
        torch.testing.assert_close(ours[row], reference(scores[row], sampling))


def test_the_repetition_penalty_is_that_of_transformers() -> None:
    scores, prompt = logits(1), [3, 5, 5, 9]
    row = RowSampler(Sampling(repetition_penalty=1.7), prompt)
    row.accept(11)
    theirs = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([[*prompt, 11]]), scores.clone())
    torch.testing.assert_close(row.penalise(scores[0]), theirs[0])


def test_presence_and_frequency_are_of_the_answer_only() -> None:
    row = RowSampler(Sampling(presence_penalty=0.5, frequency_penalty=0.25), [1, 2])
    for token in (7, 7, 9):
        row.accept(token)
    change = row.penalise(torch.zeros(VOCABULARY))
    expected = torch.zeros(VOCABULARY)
    expected[7], expected[9] = -0.5 - 2 * 0.25, -0.5 - 0.25
    torch.testing.assert_close(change, expected)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    scores = torch.tensor([[0.0, math.log(2), math.log(5), -math.inf]])
    row = RowSampler(Sampling(temperature=1.0, seed=1), [])
    drawn = torch.tensor([choose(scores, [row])[0] for _ in range(4000)])
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(shares, torch.tensor([1 / 8, 2 / 8, 5 / 8, 0]), atol=0.03, rtol=0)
    assert shares[3] == 0


def test_a_row_is_drawn_alike_alone_and_among_others() -> None:
    sampling = Sampling(temperature=1.3, top_p=0.95, repetition_penalty=1.2, seed=5)
    others = [Sampling(), Sampling(temperature=0.4, top_k=3), Sampling(temperature=2, seed=9, min_p=0.1)]
    alone, together = RowSampler(sampling, [1]), RowSampler(sampling, [1])
    batch = [RowSampler(other, [2]) for other in others]
    for step in range(20):
        scores = logits(4, step)
        (token,) = choose(scores[1:2], [alone])
        tokens = choose(scores, [batch[0], together, *batch[1:]])
        assert tokens[1] == token
        assert tokens[0] == int(scores[0].argmax())
        alone.accept(token)
        together.accept(token)


def test_without_a_seed_answers_differ() -> None:
    rows = [RowSampler(Sampling(temperature=1.0), []) for _ in range(8)]
    assert len({row.draw() for row in rows}) == 8


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"min_p": 1.5},
        {"repetition_penalty": 0.0},
        {"presence_penalty": math.inf},
        {"max_tokens": 0},
        {"logprobs": -1},
        {"stop": ("",)},
    ],
)
def test_settings_out_of_range_are_named(wrong: dict[str, object]) -> None:
    check_sampling(Sampling())
    with pytest.raises(UsageError) as caught:
        check_sampling(replace(Sampling(), **wrong))  # type: ignore[arg-type]
    assert caught.value.param == next(iter(wrong))
