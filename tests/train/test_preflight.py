"""Each gate turns red when what it guards is broken, and leaves the model as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toy import Parts, TrainToy, equal, parts, rows, state, write

from luthier.core.errors import TrainingError
from luthier.core.events import Event
from luthier.core.recipe import TrainSpec
from luthier.train.forward import Forward
from luthier.train.optimizer import Optimizer
from luthier.train.preflight import Preflight, leak_gate
from luthier.train.step import StepRunner

METHODS = ["full", "lora", "adapter", "head", "bitfit", "ia3", "prefix"]


def fly(made: Parts, before: Any = None, policy: str = "end") -> list[Event]:
    heard: list[Event] = []

    def make_optimizer() -> Optimizer:
        spec = TrainSpec(learning_rate=1e-3, head_learning_rate=1e-3)
        return Optimizer(made.model, spec, made.runner.forward.vocabulary)

    Preflight(made.runner, made.table, heard.append).run(before, make_optimizer, policy)
    return heard


def red(made: Parts, **options: Any) -> TrainingError:
    with pytest.raises(TrainingError) as caught:
        fly(made, **options)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("method", METHODS)
def test_all_green_and_nothing_moved(base: Any, method: str) -> None:
    made = parts(base("toy").path, method=method)
    made.model.train()
    before, vocabulary = made.weights, made.runner.forward.vocabulary
    words = None if vocabulary is None else (vocabulary.parameter.detach().clone(), vocabulary.decayed)
    heard = fly(made)
    assert [event.data["id"] for event in heard] == ["G2", "G3", "G6", "G7", "G8"]
    assert all(event.data["ok"] and event.level == "info" for event in heard)
    assert equal(before, made.weights)
    assert made.model.training
    assert all(p.grad is None for _, p in made.runner.named())
    if vocabulary is not None and words is not None:
        assert torch.equal(vocabulary.parameter, words[0])
        assert vocabulary.decayed == words[1]


@pytest.mark.parametrize("method", ["full", "lora", "adapter"])
def test_a_run_with_and_without_preflight_is_the_same(toy: TrainToy, method: str) -> None:
    recipe = toy.recipe(method={"kind": method})
    assert equal(state(toy.train(recipe, preflight=True)), state(toy.train(recipe, preflight=False)))


def test_g6_rows_that_cancel_out_are_no_reason_to_stop(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    same = [{"text": "the parcel was late", "label": ("bad", "good")[i % 2]} for i in range(8)]
    monkeypatch.setattr("toy.rows", lambda *_: same)
    made = parts(base("toy").path, count=8)
    with torch.no_grad():
        made.model.get_parameter("backbone.classifier.weight").mul_(1e-3)  # 4 rows pull one way, 4 the other
    [gate] = [event.data for event in fly(made) if event.data["id"] == "G6"]
    assert gate["ok"]


@pytest.mark.parametrize("task", ["classify", "extract"])
def test_g2_nothing_to_learn(base: Any, task: str) -> None:
    made = parts(base("toy").path, task)
    made.table.weights[:] = 0
    error = red(made)
    assert error.code == "gate_g2"
    assert f"0 of {len(made.table)} rows" in error.message


def test_g2_a_target_that_is_not_a_number(base: Any) -> None:
    made = parts(base("toy").path, "regress")
    made.table.targets[3] = np.nan
    assert red(made).code == "gate_g2"


def test_g3_more_than_half_is_cut(toy: TrainToy) -> None:
    with pytest.raises(TrainingError) as caught:
        toy.train(toy.recipe(**{"train.max_length": 5}), preflight=True)
    assert caught.value.code == "gate_g3"
    assert "lose their end" in caught.value.message
    assert "max_length" in caught.value.remedy


def test_g3_dropped_rows_count_too(toy: TrainToy) -> None:
    short, long = [{"text": "ok", "label": "a"}] * 4, [{"text": "the parcel came again and again", "label": "b"}] * 6
    data = write(toy.folder / "uneven.jsonl", [*short, *long, {"text": "my", "label": "b"}])
    recipe = toy.recipe(**{"data.train": str(data), "data.validation": 0.0, "train.max_length": 6,
                           "train.truncate": "drop"})  # fmt: skip
    with pytest.raises(TrainingError) as caught:
        toy.train(recipe, preflight=True)
    assert caught.value.code == "gate_g3"
    assert "6 rows dropped" in caught.value.message
    kept = toy.train(recipe)
    assert kept.dropped == 6
    assert len(kept.runner.named()) > 0


def test_g3_a_few_cut_rows_are_told(toy: TrainToy) -> None:
    texts = ["ok my the", *["ok the"] * 9, "ok in"]
    data = write(toy.folder / "few.jsonl", [{"text": t, "label": "ab"[i % 2]} for i, t in enumerate(texts)])
    recipe = toy.recipe(**{"data.train": str(data), "data.validation": 0.0, "train.max_length": 4})
    toy.train(recipe, preflight=True)
    gate = next(event for event in toy.events if event.data.get("id") == "G3")
    assert gate.data["ok"]
    assert "1 rows lose their end" in gate.message


class _Neighbours(Forward):
    """Answers depend on who else is in the batch."""

    def __call__(self, batch: Any, cached: Any = None) -> Any:
        return super().__call__(batch, cached) * (1 + 0.1 * len(batch.rows))


def test_g6_answers_that_depend_on_the_batch(base: Any) -> None:
    made = parts(base("toy").path)
    made.runner.forward = _Neighbours(made.model, made.tokenizer.pad_id)
    assert red(made).code == "gate_g6"


def test_g7_a_tensor_that_gets_no_gradient(base: Any) -> None:
    made = parts(base("toy").path)
    made.model.register_parameter("ghost", nn.Parameter(torch.ones(3)))
    error = red(made)
    assert error.code == "gate_g7"
    assert "ghost" in error.message


def test_g7_a_part_that_is_cut_off(base: Any) -> None:
    """Trained on paper, but a dead activation lets nothing through."""
    made = parts(base("toy").path, method="adapter")
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if name.endswith("layer.1.output.dense.adapter.down.bias"):
                parameter.fill_(-1e4)
    error = red(made)
    assert error.code == "gate_g7"
    assert "layer.1.output.dense.adapter" in error.message


def test_g7_a_fresh_adapter_that_changes_the_answers(base: Any) -> None:
    made = parts(base("toy").path, method="lora")
    made.model.eval()
    with torch.no_grad():
        before = made.runner.forward(Preflight(made.runner, made.table, lambda event: None).probe())
    assert len(fly(made, before=before)) == 5
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    error = red(made, before=before)
    assert error.code == "gate_g7"
    assert "fresh adapter" in error.message


@pytest.mark.parametrize(
    "failure", [MemoryError(), RuntimeError("CUDA out of memory"), RuntimeError("can't allocate memory")]
)
def test_g8_the_longest_batch_does_not_fit(base: Any, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    made = parts(base("toy").path)
    made.model.train()
    real, seen = StepRunner.backward, []

    def backward(self: StepRunner, batches: Any, seed: int | None = None) -> float:
        if not self.forward.model.training:
            return real(self, batches, seed)
        seen.extend(batches)
        raise failure

    monkeypatch.setattr(StepRunner, "backward", backward)
    error = red(made)
    assert error.code == "gate_g8"
    assert "batch_size" in error.remedy
    assert int(seen[0].lengths.max()) == int(made.table.lengths.max())


def test_g8_another_failure_is_not_called_memory(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = parts(base("toy").path)
    made.model.train()
    real = StepRunner.backward

    def backward(self: StepRunner, batches: Any, seed: int | None = None) -> float:
        if self.forward.model.training:
            raise RuntimeError("shapes do not match")
        return real(self, batches, seed)

    monkeypatch.setattr(StepRunner, "backward", backward)
    with pytest.raises(RuntimeError, match="shapes"):
        fly(made)


def test_g9_leaks_are_told_but_do_not_stop(toy: TrainToy) -> None:
    leaked = rows("classify", 24)[:5]
    test = write(toy.folder / "test.jsonl", [*leaked, *rows("classify", 6, 3)])
    trained = toy.train(toy.recipe(**{"data.test": str(test)}), preflight=True)
    gate = next(event for event in toy.events if event.data.get("id") == "G9")
    assert "rows of test are also in train" in gate.message
    assert any("of test are also in train" in warning for warning in trained.warnings)
    assert leak_gate({"test": {"rows": 0}}).detail.startswith("no row")
