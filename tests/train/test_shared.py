"""Runs that share equal runs that do not, bit for bit; a run in parts equals a run in one go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_causal import tiny_causal
from toy import TrainToy, equal, losses, state

from luthier.core.events import ignore
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.evaluate.scorers import scorer_for
from luthier.train import shared as shared_module
from luthier.train.run import Trained, train
from luthier.train.shared import Shared
from luthier.train.upkeep import Upkeep

CHANGES: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "lora": {"method": {"kind": "lora", "rank": 4}},
    "adapter": {"method": {"kind": "adapter", "bottleneck": 4}},
    "head": {"method": "head"},
    "frozen": {"method": {"kind": "lora", "rank": 2}, "freeze.layers": 2, "freeze.embeddings": True},
    "bitfit": {"method": "bitfit"},
}


def _run(
    recipe: Recipe, folder: Path, until: int | None = None, *, resume: bool = False, lean: bool = False,
    shared: Shared | None = None,
) -> Trained:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    return train(
        recipe, RunDir(folder), scorer_for=scorer_for, listener=ignore, resume=resume, preflight=False,
        upkeep=Upkeep(until_epoch=until, lean=lean), shared=shared,
    )  # fmt: skip


def _causal(folder: Path) -> Recipe:
    tiny_causal(folder / "base", "llama", max_position_embeddings=512)
    settings = json.loads((folder / "base" / "tokenizer_config.json").read_text())
    settings["model_max_length"] = 512
    (folder / "base" / "tokenizer_config.json").write_text(json.dumps(settings))
    rows = [
        {"messages": [{"role": "user", "content": f"say {word}"}, {"role": "assistant", "content": word}]}
        for word in ("red", "green", "blue", "one") * 3
    ]
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = str(folder / "chat.jsonl")
    return Recipe.build({
        "model": str(folder / "base"), "task": "chat", "data": {"train": data, "validation": data},
        "train": {"epochs": 3, "batch_size": 6, "learning_rate": 3e-3}, "evaluate": {"samples": 0},
    })  # fmt: skip


@pytest.fixture(params=["encoder", "causal"])
def recipe(request: pytest.FixtureRequest, toy: TrainToy, tmp_path: Path) -> Recipe:
    """Three epochs of a classifier, or of a model that writes."""
    if request.param == "causal":
        return _causal(tmp_path)
    return toy.recipe(**{"train.epochs": 3, "train.patience": 0})


@pytest.mark.parametrize("name", list(CHANGES))
@pytest.mark.parametrize("lean", [False, True])
def test_in_parts_is_in_one_go(recipe: Recipe, tmp_path: Path, name: str, lean: bool) -> None:
    if name == "bitfit" and recipe.task == "chat":
        pytest.skip("this family has no biases")
    changes = dict(CHANGES[name])
    if recipe.task == "chat" and "freeze.layers" in changes:
        changes["freeze.layers"] = 1
    recipe = recipe.replace(**changes)
    whole = _run(recipe, tmp_path / "whole")
    folder = tmp_path / "parts"
    for until in (1, 2):
        part = _run(recipe, folder, until, resume=until > 1, lean=lean)
        assert part.progress.epoch == until
        assert RunDir(folder).status != "trained"
    last = _run(recipe, folder, 3, resume=True, lean=lean)
    assert last.progress.history == whole.progress.history
    assert losses(last.run) == losses(whole.run)
    assert equal(state(last), state(whole))
    newest = RunDir(folder).steps()[-1]
    for member in ("model.safetensors", "optimizer.safetensors"):
        here, there = (RunDir(place).checkpoint(newest) / member for place in (folder, tmp_path / "whole"))
        assert here.read_bytes() == there.read_bytes(), "the last state too, not only the best"


@pytest.mark.parametrize("name", list(CHANGES))
def test_with_sharing_is_without(recipe: Recipe, tmp_path: Path, name: str) -> None:
    if name == "bitfit" and recipe.task == "chat":
        pytest.skip("this family has no biases")
    changes = dict(CHANGES[name])
    if recipe.task == "chat" and "freeze.layers" in changes:
        changes["freeze.layers"] = 1
    recipe = recipe.replace(**changes)
    shared = Shared()
    # Others train before it over the same base: nothing of theirs may be left in it.
    everything = recipe.replace(method="full", **{"freeze.layers": 0, "freeze.embeddings": False})
    _run(everything, tmp_path / "a", shared=shared)
    _run(recipe.replace(**{"train.learning_rate": 5e-3}), tmp_path / "b", shared=shared)
    first = _run(recipe, tmp_path / "c", shared=shared)
    alone = _run(recipe, tmp_path / "d")
    assert losses(first.run) == losses(alone.run)
    assert first.progress.history == alone.progress.history
    assert equal(state(first), state(alone))


def test_the_shared_base_never_changes(recipe: Recipe, tmp_path: Path) -> None:
    shared = Shared()
    _run(recipe.replace(method="head"), tmp_path / "first", 1, shared=shared)
    (base,) = shared._bases.values()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    one = _run(recipe.replace(method={"kind": "lora", "rank": 4}), tmp_path / "one", shared=shared)
    _run(recipe.replace(method="full"), tmp_path / "two", shared=shared)
    assert len(shared._bases) == 1, "one base for every method"
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    places = {parameter.data_ptr() for parameter in base.parameters()}
    frozen = [p for p in one.model.parameters() if not p.requires_grad and "lora" not in str(p.shape)]
    assert sum(p.data_ptr() in places for p in frozen) >= 0.8 * len(frozen), "frozen tensors are not copied"
    assert not any(p.data_ptr() in places for p in one.model.parameters() if p.requires_grad)


def test_work_is_done_once(toy: TrainToy, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"prepare": 0, "locate": 0}
    for name in counts:
        real = getattr(shared_module, name)

        def counted(*args: Any, _real: Any = real, _name: str = name) -> Any:
            counts[_name] += 1
            return _real(*args)

        monkeypatch.setattr(shared_module, name, counted)
    shared = Shared()
    tables = set()
    for rate in (1e-3, 2e-3, 3e-3):
        trained = _run(toy.recipe(**{"train.learning_rate": rate}), toy.folder / f"{rate}", 1, shared=shared)
        assert trained.validator is not None
        tables.add((id(trained.runner.forward), id(trained.validator.table)))
    assert counts == {"prepare": 1, "locate": 1}
    assert len({table for _, table in tables}) == 1
    longer = _run(toy.recipe(**{"train.max_length": 6}), toy.folder / "short", 1, shared=shared)
    assert longer.validator is not None
    assert id(longer.validator.table) not in {table for _, table in tables}, "another length, another table"
    other = toy.recipe(**{"data.validation": 0.5, "train.seed": 1})
    _run(other, toy.folder / "seed", 1, shared=shared)
    _run(other.replace(**{"train.seed": 2}), toy.folder / "seed2", 1, shared=shared)
    assert counts["prepare"] == 3, "a split by the seed is another split for another seed"


def test_a_lean_run_writes_the_newest_and_the_best_state_only(toy: TrainToy) -> None:
    recipe = toy.recipe(**{"train.epochs": 4, "train.patience": 0, "train.learning_rate": 3e-2})
    trained = _run(recipe, toy.folder / "lean", lean=True)
    wanted = {trained.progress.step, trained.progress.best_step}
    assert set(trained.run.steps()) == wanted
    assert equal(state(trained), state(_run(recipe, toy.folder / "kept")))
