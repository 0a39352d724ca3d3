"""A running batch: prompts in parts, rows that are cancelled, errors that stay with whose they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_generation_decoder import CONTEXT, prompts, request, tiny
from tiny_causal import CAUSAL_FAMILIES

from luthier.core.generation import Generation
from luthier.models.generation import Decoder
from luthier.models.generation.forward import ModelForward
from luthier.models.generation.running import RunningBatch


def run(batch: RunningBatch, steps: int = 100) -> dict[Any, Generation]:
    found = {}
    for _ in range(steps):
        for progress in batch.step():
            assert progress.error is None
            if progress.generation is not None:
                found[progress.key] = progress.generation
    return found


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_prompts_that_are_read_in_parts_while_others_are_answered(family: str) -> None:
    model = tiny(family)
    asked = [request(ids, frozenset()) for ids in prompts()]
    expected = Decoder(model, context=CONTEXT).generate(asked)
    batch = RunningBatch(ModelForward(model), context=CONTEXT, rows=4, prompt_tokens=4)
    batch.add(asked[0], 0)
    found = run(batch, 2)
    assert batch.active == 1
    for key, one in enumerate(asked[1:], 1):
        batch.add(one, key)
    batch.step()
    assert batch.waiting >= 3, "all prompts were read at once, and the first answer stood still"
    found |= run(batch)
    assert {key: answer.text for key, answer in found.items()} == {
        key: answer.text for key, answer in enumerate(expected)
    }


def test_every_step_gives_a_token_to_who_is_answered_already() -> None:
    batch = RunningBatch(ModelForward(tiny("llama")), context=CONTEXT, prompt_tokens=2)
    batch.add(request(prompts()[0], frozenset(), max_tokens=12), "first")
    batch.step()
    batch.add(request(prompts()[5], frozenset()), "long")  # 30 tokens
    for _ in range(8):
        assert [progress.key for progress in batch.step()] == ["first"]
    assert (batch.active, batch.waiting) == (1, 1)


def test_cancelled_in_every_state() -> None:
    model, asked = tiny("qwen2"), [request(ids, frozenset()) for ids in prompts()]
    expected = Decoder(model, context=CONTEXT).generate(asked)
    batch = RunningBatch(ModelForward(model), context=CONTEXT, rows=3, prompt_tokens=4)
    for key in (0, 6):  # of one length
        batch.add(asked[key], key)
    batch.step()
    batch.cancel(0)
    assert batch.active == 1
    for key in (1, 3, 2, 4):
        batch.add(asked[key], key)
    batch.step()
    batch.cancel(1)  # it is being read, together with the next
    batch.cancel(2)  # it waits
    batch.cancel("nobody")
    found = run(batch)
    assert {key: answer.text for key, answer in found.items()} == {key: expected[key].text for key in (3, 4, 6)}
    assert (batch.active, batch.waiting) == (0, 0)
    assert not batch._keys
    batch.add(asked[0], "all")
    batch.add(asked[1], "all", 1)
    batch.step()
    batch.cancel("all")
    assert (batch.active, batch.waiting) == (0, 0)


class Failing(ModelForward):
    """Fails where it reads a token that is poison, and when it is told to."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.broken = False

    def _logits(self, ids: Any, *args: Any) -> Any:
        if self.broken:
            raise MemoryError
        if bool((ids == 7).any()) and ids.shape[1] > 1:
            raise ValueError("poison")
        return super()._logits(ids, *args)


def test_errors_belong_to_who_made_them() -> None:
    forward = Failing(tiny("llama"))
    clean = [tuple(token if token != 7 else 8 for token in ids) for ids in prompts()]
    batch = RunningBatch(forward, context=CONTEXT, rows=2)
    batch.add(request(clean[0], frozenset(), max_tokens=30), "runs")
    batch.step()
    batch.add(request((5, 7, 9), frozenset()), "poison")
    (failed,) = [progress for progress in batch.step() if progress.error is not None]
    assert (failed.key, str(failed.error)) == ("poison", "poison")
    assert batch.active == 1
    batch.add(request(clean[1], frozenset(), max_tokens=1), "short")
    batch.add(request(clean[2], frozenset()), "waits")
    forward.broken = True
    (failed,) = batch.step()[:1]
    forward.broken = False
    assert isinstance(failed.error, MemoryError)
    assert set(run(batch)) <= {"waits", "short"}
    assert not batch._keys


def test_the_torn_row_alone_is_given_up() -> None:
    class Torn(ModelForward):
        def step(self, rows: Any, ids_B: torch.Tensor) -> torch.Tensor:
            logits = super().step(rows, ids_B).clone()
            logits[0, 5] = float("nan")
            return logits

    model = tiny("llama")
    batch = RunningBatch(Torn(model), context=CONTEXT)
    for key in (1, 3):  # of one length
        batch.add(request(prompts()[key], frozenset()), key)
    found = batch.step()
    errors = [progress for progress in found if progress.error is not None]
    assert [progress.key for progress in errors] == [1]
    assert getattr(errors[0].error, "code", "") == "nonfinite_output"
    assert batch.active == 1
