"""Every recipe field does something (PITFALLS A5): flip it, and something observable changes.

A new key without an entry in `FIELDS` fails the last test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from toy import TrainToy, losses, rows, state, write

import luthier
from luthier.core.recipe import Recipe, known_keys
from luthier.train.run import Trained, new_run


@dataclass(frozen=True)
class Flip:
    """`to` is the changed recipe, `sees` what must differ, `on` what both recipes share."""

    sees: str
    to: dict[str, Any]
    on: dict[str, Any] = field(default_factory=dict)


def _weights(trained: Trained) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state(trained).items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


SEES: dict[str, Callable[[Trained], Any]] = {
    "weights": _weights,
    "shapes": lambda t: sorted((name, tuple(tensor.shape)) for name, tensor in state(t).items()),
    "steps": lambda t: t.progress.step,
    "epochs": lambda t: t.progress.epoch,
    "losses": lambda t: losses(t.run),
    "rates": lambda t: [line["learning_rate"] for line in t.run.metrics() if line["kind"] == "step"],
    "rows per step": lambda t: [line["rows"] for line in t.run.metrics() if line["kind"] == "step"],
    "tokens": lambda t: t.progress.tokens,
    "dropped": lambda t: t.dropped,
    "checkpoints": lambda t: t.run.steps(),
    "task": lambda t: t.coder.task,
    "labels": lambda t: t.coder.labels,
    "description": lambda t: t.prepared.description["rows"],
    "split": lambda t: t.prepared.description.get("split"),
    "cache": lambda t: t.runner.cache is None,
    "precision": lambda t: t.model.precision,
    "pooling": lambda t: t.model.pooling,
    "warnings": lambda t: t.warnings,
    "written": lambda t: t.run.recipe_yaml.read_text(),
}
LORA = {"method": {"kind": "lora", "rank": 4}}
ADAPTER = {"method": {"kind": "adapter", "bottleneck": 4}}
MEAN = {"head.pooling": "mean"}
HEAD = {"method": {"kind": "head"}, **MEAN}
PAIRS = {"train.contrastive": {"passes": 1}}
STILL = {"train.learning_rate": 1e-12, "train.head_learning_rate": 1e-12, "train.epochs": 4}
PARENT = Flip("", {})
"""Keys that only hold other keys, which have their own entries."""

FIELDS: dict[str, Flip] = {
    "model": Flip("weights", {"model": "<roberta>"}),
    "task": Flip("task", {"task": "regress"}),
    "data": PARENT,
    "data.train": Flip("weights", {"data.train": "<other>"}),
    "data.validation": Flip("description", {"data.validation": 0.25}),
    "data.test": Flip("description", {"data.test": "<other>"}),
    "data.columns": Flip("labels", {"data.columns": {"label": "group"}}, {"data.validation": 0.0}),
    "data.replay": Flip("losses", {"data.replay": "<uneven>"}, {"train.replay": 0.25, "data.replay": "<other>"}),
    "data.group": Flip("split", {"data.group": "group"}, {"data.validation": 0.25}),
    "data.share": Flip("description", {"data.share": 0.5}),
    "data.split_seed": Flip("split", {"data.split_seed": 5}, {"data.validation": 0.25}),
    "method": PARENT,
    "method.kind": Flip("shapes", {"method": {"kind": "bitfit"}}),
    "method.rank": Flip("shapes", {"method.rank": 2}, LORA),
    "method.alpha": Flip("weights", {"method.alpha": 8}, LORA),
    "method.dropout": Flip("weights", {"method.dropout": 0.5}, LORA),
    "method.targets": Flip("shapes", {"method.targets": ["query"]}, LORA),
    "method.dora": Flip("shapes", {"method.dora": True}, LORA),
    "method.rslora": Flip("weights", {"method.rslora": True}, LORA),
    "method.style": Flip("shapes", {"method.style": "pfeiffer"}, ADAPTER),
    "method.bottleneck": Flip("shapes", {"method.bottleneck": 2}, ADAPTER),
    "method.activation": Flip("weights", {"method.activation": "relu"}, ADAPTER),
    "method.tokens": Flip("shapes", {"method.tokens": 3}, {"method": {"kind": "prefix", "tokens": 2}}),
    "head": PARENT,
    "head.pooling": Flip("pooling", {"head.pooling": "mean"}),
    "head.class_weights": Flip("losses", {"head.class_weights": "balanced"}, {"data.train": "<uneven>"}),
    "head.dropout": Flip("losses", {"head.dropout": 0.5}, {"head.dropout": 0.0}),
    "head.fit": Flip("steps", {"head.fit": "closed"}, HEAD),
    "head.strength": Flip("weights", {"head.strength": 3.0}, {**HEAD, "head.fit": "closed"}),
    "freeze": PARENT,
    "freeze.embeddings": Flip("shapes", {"freeze.embeddings": True}),
    "freeze.layers": Flip("shapes", {"freeze.layers": 2}),
    "train": PARENT,
    "train.epochs": Flip("epochs", {"train.epochs": 3}),
    "train.learning_rate": Flip("rates", {"train.learning_rate": 2e-3}),
    "train.learning_rate_multiplier": Flip("rates", {"train.learning_rate_multiplier": 3.0}),
    "train.head_learning_rate": Flip("weights", {"train.head_learning_rate": 9e-3}),
    "train.batch_size": Flip("rows per step", {"train.batch_size": 6}),
    "train.max_length": Flip("tokens", {"train.max_length": 6}),
    "train.warmup": Flip("rates", {"train.warmup": 0.5}),
    "train.schedule": Flip("rates", {"train.schedule": "linear"}),
    "train.weight_decay": Flip("weights", {"train.weight_decay": 0.5}),
    "train.layer_decay": Flip("weights", {"train.layer_decay": 0.5}),
    "train.dropout": Flip("losses", {"train.dropout": 0.5}),
    "train.accumulate": Flip("steps", {"train.accumulate": 2}),
    "train.precision": Flip("precision", {"train.precision": "bf16"}, {"train.precision": "fp32"}),
    "train.patience": Flip("epochs", {"train.patience": 1}, {**STILL, "train.patience": 0}),
    "train.save_every_steps": Flip("checkpoints", {"train.save_every_steps": 1}),
    "train.max_grad_norm": Flip("weights", {"train.max_grad_norm": 1e-3}),
    "train.truncate": Flip("losses", {"train.truncate": "start"}, {"train.max_length": 6}),
    "train.cache": Flip("cache", {"train.cache": False}, {"method": {"kind": "head"}}),
    "train.seed": Flip("weights", {"train.seed": 7}),
    "train.replay": Flip("rows per step", {"train.replay": 0.4}, {"train.replay": 0.2, "data.replay": "<other>"}),
    "train.l2_sp": Flip("weights", {"train.l2_sp": 0.5}),
    "train.kl_to_base": Flip("weights", {"train.kl_to_base": 0.5}),
    "train.average": Flip("weights", {"train.average": 0.5}),
    "train.contrastive": Flip("losses", {"train.contrastive": True}, MEAN),
    "train.contrastive.rows_per_label": Flip("losses", {"train.contrastive.rows_per_label": 4}, PAIRS),
    "train.contrastive.passes": Flip("steps", {"train.contrastive.passes": 2}, PAIRS),
    "evaluate": PARENT,
    "evaluate.metrics": Flip("report", {"evaluate.metrics": ["accuracy"]}),
    "evaluate.baselines": Flip("report", {"evaluate.baselines": ["majority", "tfidf"]}),
    "evaluate.bootstrap": Flip("report", {"evaluate.bootstrap": 300}),
    "evaluate.forgetting": Flip("report", {"evaluate.forgetting": True}),
    "evaluate.forgetting.anchors": Flip("report", {"evaluate.forgetting": {"anchors": "<held>"}},
                                        {"evaluate.forgetting": True}),
    "evaluate.fairness": Flip("report", {"evaluate.fairness": {"group": "group"}}),
    "evaluate.fairness.group": Flip("report", {"evaluate.fairness.group": "half"},
                                    {"evaluate.fairness": {"group": "group"}}),
    "evaluate.fairness.swaps": Flip("report", {"evaluate.fairness.swaps": "none"},
                                    {"evaluate.fairness": {"group": "group"}}),
    "out": Flip("folder", {"out": "<elsewhere>"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, base: Any) -> tuple[TrainToy, dict[str, str], dict[str, Any]]:
    """One place for all fields, what stands for the words in angle brackets, and what was seen there."""
    toy = TrainToy(tmp_path_factory.mktemp("fields"), base("toy").path)
    both = [{**row, "score": float(i % 4), "group": "uvw"[i % 3]} for i, row in enumerate(rows("classify", 24))]
    write(toy.folder / "train.jsonl", both)
    write(toy.folder / "other.jsonl", [{**row, "score": 1.0} for row in rows("classify", 24, 4)])
    write(toy.folder / "uneven.jsonl", [row for i, row in enumerate(both) if i % 2 or i < 8])
    held = [
        {**row, "score": 1.0, "group": "uvw"[i % 3], "half": "ab"[i % 2]}
        for i, row in enumerate(rows("classify", 24, 1))
    ]
    write(toy.folder / "held.jsonl", held)
    stands = {f"<{name}>": str(toy.folder / f"{name}.jsonl") for name in ("other", "uneven")}
    stands |= {"<roberta>": str(base("roberta").path), "<elsewhere>": str(toy.folder / "elsewhere")}
    return toy, stands, {}


def _recipe(toy: TrainToy, stands: dict[str, str], changes: dict[str, Any]) -> Recipe:
    here = {"data.train": str(toy.folder / "train.jsonl"), "data.validation": str(toy.folder / "held.jsonl"),
            "evaluate.baselines": ["majority"], "evaluate.bootstrap": 100}  # fmt: skip
    plain = {k: stands.get(v, v) if isinstance(v, str) else v for k, v in changes.items()}
    if plain.get("evaluate.forgetting") == {"anchors": "<held>"}:
        plain["evaluate.forgetting"] = {"anchors": str(toy.folder / "held.jsonl")}
    recipe = toy.recipe(**here)
    for key, value in plain.items():  # in order: method before method.rank
        recipe = recipe.replace(**{key: value})
    return recipe


def _report(recipe: Recipe) -> str:
    report = luthier.train(recipe).report
    sets = [(one["name"], one["rows"]) for one in (report["forgetting"] or {"sets": []})["sets"]]
    parts = [report["metrics"], sorted(report["baselines"]), sets, report["fairness"]]
    return json.dumps(parts, sort_keys=True)


@pytest.mark.parametrize("key", [key for key, flip in FIELDS.items() if flip is not PARENT])
def test_flipping_it_changes_something(shared: Any, key: str) -> None:
    toy, stands, seen = shared
    flip = FIELDS[key]
    assert any(key == changed or key.startswith(f"{changed}.") for changed in flip.to), "the entry flips another key"
    found = []
    for changes in (flip.on, {**flip.on, **flip.to}):
        recipe = _recipe(toy, stands, changes)
        if flip.sees == "folder":
            found.append(new_run(recipe).path.parent)
            continue
        name = repr(changes) + ("report" if flip.sees == "report" else "")
        if name not in seen:
            seen[name] = _report(recipe) if flip.sees == "report" else toy.train(recipe)
        found.append(seen[name] if flip.sees == "report" else SEES[flip.sees](seen[name]))
    assert found[0] != found[1]


@pytest.mark.parametrize("sees", [name for name in SEES if name != "written"])
def test_what_is_seen_does_not_change_by_itself(shared: Any, sees: str) -> None:
    """Else the test above could not fail."""
    toy, stands, seen = shared
    for name in ("first", "second"):
        if name not in seen:
            seen[name] = toy.train(_recipe(toy, stands, {}))
    assert SEES[sees](seen["first"]) == SEES[sees](seen["second"])


def test_the_report_does_not_change_by_itself(shared: Any) -> None:
    toy, stands, _ = shared
    recipe = _recipe(toy, stands, {})
    assert _report(recipe) == _report(recipe)


ONLY_GENERATIVE = {
    "data.template", "data.learn", "data.fill_middle", "train.shared_prefix", "train.gradient_checkpointing",
    "evaluate.samples", "evaluate.max_tokens", "evaluate.canaries",
    "evaluate.memorisation",
}  # fmt: skip
"""Flipped in test_language_run.py."""
JUDGED = {"evaluate.generate_rows", "evaluate.run_code", "evaluate.graders"}
"""Flipped where generative runs are judged: tests/evaluate/test_generation_proof.py."""

TRACKED = {key for key in known_keys() if key.split(".")[0] == "track"}
"""Flipped where mirrors are tested: tests/tracking/test_mirrors.py."""


def test_every_key_has_an_entry() -> None:
    assert set(FIELDS) | ONLY_GENERATIVE | JUDGED | TRACKED == set(known_keys())
    here = Path(__file__).parent
    judging = (here.parent / "evaluate" / "test_generation_proof.py").read_text()
    for key in JUDGED:
        assert f'("{key.removeprefix("evaluate.")}", ' in judging, f"{key} is flipped nowhere"
    mirrors = (here.parent / "tracking" / "test_mirrors.py").read_text()
    for key in TRACKED - {"track", "track.wandb"}:  # these two only hold others
        assert f'("{key.removeprefix("track.")}", ' in mirrors, f"{key} is flipped nowhere"
    for key in ONLY_GENERATIVE:
        assert f'"{key}"' in (here / "test_language_run.py").read_text(), f"{key} is flipped nowhere"
    for key, flip in FIELDS.items():
        if flip is PARENT:
            assert any(other.startswith(f"{key}.") for other in FIELDS), f"{key} holds no keys"


def test_resolved_recipe_gives_every_reason(toy: TrainToy, tmp_path: Path) -> None:
    recipe = toy.recipe().replace(train={"epochs": 1}, task="auto")
    trained = toy.train(recipe)
    text = trained.run.recipe_yaml.read_text()
    # evaluate.metrics: auto means all that the rows allow, which is known when they are judged
    assert ": auto" not in text.replace("metrics: auto", "")
    for key in ("learning_rate", "head_learning_rate", "batch_size", "max_length", "precision", "dropout", "pooling"):
        lines = text.splitlines()
        index = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        assert lines[index - 1].strip().startswith("# auto:"), key
    assert Recipe.from_yaml(trained.run.recipe_yaml) == trained.recipe
