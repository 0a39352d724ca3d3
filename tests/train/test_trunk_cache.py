"""The cache of frozen layers: exact, reused, and never stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import TrainToy, equal, farthest, parts, rows, state, write

from luthier.core import durable
from luthier.train import trunk_cache
from luthier.train.collate import collate
from luthier.train.trunk_cache import TrunkCache, cache_folder


def _files(cache: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in cache.glob("*/vectors.npy")}


@pytest.mark.parametrize(
    ("task", "family", "changes"),
    [
        ("classify", "bert", {"method": {"kind": "head"}}),
        ("classify", "bert", {"method": {"kind": "head"}, "head.pooling": "mean"}),
        ("classify", "bert", {"freeze.layers": 1}),
        ("classify", "bert", {"freeze.layers": 2, "method": {"kind": "lora", "rank": 4}}),
        ("classify", "bert", {"freeze.layers": 2, "method": {"kind": "adapter", "bottleneck": 4}}),
        ("extract", "bert", {"method": {"kind": "head"}}),
        ("extract", "bert", {"freeze.layers": 2}),
        ("regress", "distilbert", {"method": {"kind": "head"}}),
        ("classify", "distilbert", {"freeze.layers": 2}),
    ],
)
def test_with_and_without_is_the_same(
    toy: TrainToy, base: Any, cache: Path, task: str, family: str, changes: dict[str, Any]
) -> None:
    toy.base = base(family).path
    recipe = toy.recipe(task, **changes, **{"train.learning_rate": 1e-4, "head.dropout": 0.0})
    without = toy.train(recipe.replace(**{"train.cache": False}))
    assert not cache.exists()
    cached = toy.train(recipe)
    assert cached.runner.cache is not None
    assert len(_files(cache)) == 2, "training and validation rows"
    assert farthest(state(without), state(cached)) < 2e-6
    for one, other in zip(without.progress.history, cached.progress.history, strict=True):
        assert one.pop("metric_name") == other.pop("metric_name")
        assert one == pytest.approx(other, rel=1e-4)


def test_the_second_run_reads_what_the_first_computed(toy: TrainToy, cache: Path) -> None:
    recipe = toy.recipe(method={"kind": "head"})
    first = toy.train(recipe)
    assert "computed once" in toy.messages()
    before = _files(cache)
    second = toy.train(recipe.replace(**{"train.learning_rate": 2e-3, "train.seed": 0}))
    assert "read from the cache" in toy.messages()
    assert second.runner.cache is not None
    assert second.runner.cache.reused
    assert _files(cache) == before
    assert equal(state(first), state(toy.train(recipe))), "a reused cache must not change a bit"


def test_other_content_is_another_file(toy: TrainToy, base: Any, cache: Path) -> None:
    recipe = toy.recipe(method={"kind": "head"})
    found: set[str] = set()
    for changes in (
        {},
        {"data.train": str(toy.data("classify", 20, 5))},
        {"train.max_length": 5},
        {"head.pooling": "mean"},
        {"method": {"kind": "full"}, "freeze.layers": 1},
        {"method": {"kind": "full"}, "freeze.layers": 2},
        {"model": str(base("roberta").path)},
    ):
        trained = toy.train(recipe.replace(**{"data.validation": 0.0, **changes}))
        assert trained.runner.cache is not None
        assert not trained.runner.cache.reused, changes
        new = set(_files(cache)) - found
        assert len(new) == 1, changes
        found |= new


def test_targets_do_not_matter_to_it(toy: TrainToy, cache: Path) -> None:
    both = write(toy.folder / "both.jsonl", [{**row, "score": len(row["text"])} for row in rows("classify", 24)])
    recipe = toy.recipe(method={"kind": "head"}, **{"data.train": str(both), "data.validation": 0.0})
    toy.train(recipe)
    before = _files(cache)
    assert toy.train(recipe.replace(task="regress")).coder.task == "regress"
    assert _files(cache) == before


def test_rows_come_back_as_they_were(base: Any) -> None:
    made = parts(base("toy").path, method="full", freeze={"layers": 2})
    forward = made.runner.forward
    cache = TrunkCache.open(forward, made.table, base={}, batch_size=4, max_tokens=999)
    assert cache is not None
    rows = np.array([5, 0, 3])
    wanted = forward.at_boundary(collate(made.table, rows, False))
    torch.testing.assert_close(cache.rows(rows), wanted, rtol=1e-5, atol=1e-5)


def test_nothing_frozen_no_cache(base: Any, cache: Path) -> None:
    for options in ({"method": "full"}, {"method": "lora"}, {"method": "bitfit"}):
        made = parts(base("toy").path, **options)
        assert TrunkCache.open(made.runner.forward, made.table, base={}, batch_size=4, max_tokens=999) is None
    assert not cache.exists()


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("LUTHIER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b" / "luthier" / "trunk"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c" / ".cache" / "luthier" / "trunk"


def test_too_little_room_trains_without(toy: TrainToy, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = toy.recipe(method={"kind": "head"}, **{"data.validation": 0.0})
    real = durable.free_bytes
    monkeypatch.setattr(durable, "free_bytes", lambda path: 1000 if "cache" in str(path) else real(path))
    trained = toy.train(recipe)
    assert trained.runner.cache is None
    assert "too little room" in toy.messages()
    assert not cache.exists()


def test_old_caches_go_first(base: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    made = parts(base("toy").path, method="head")

    def opened(name: str) -> None:
        TrunkCache.open(made.runner.forward, made.table, base={"n": name}, batch_size=4, max_tokens=999)

    opened("first")
    size = next(iter(cache.glob("*/vectors.npy"))).stat().st_size
    first = set(_files(cache))
    os.utime(cache / next(iter(first)), (1, 1))
    opened("second")
    monkeypatch.setattr(trunk_cache, "KEEP_BYTES", 2 * size)
    opened("third")
    assert len(_files(cache)) == 2
    assert not first & set(_files(cache))
