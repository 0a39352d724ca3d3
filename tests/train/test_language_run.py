"""Generative runs from file to model: gates, resume, samples, and every recipe key that only they read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_causal import tiny_causal
from toy import Crash, equal, losses, state
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.core.errors import DataError, TrainingError
from luthier.core.events import Event, ignore
from luthier.core.recipe import Recipe
from luthier.evaluate.scorers import scorer_for
from luthier.models.chat_tokenizer import load_chat_tokenizer
from luthier.models.quiet import quiet
from luthier.proof import prove
from luthier.train.run import Trained, new_run, train

WORDS = ("red", "green", "blue", "one", "two", "three")
SYSTEM = "Repeat the colour or the number that you are told, and nothing else but that one word."


def _chat(path: Path, count: int, **message: Any) -> str:
    rows = []
    for index in range(count):
        word = WORDS[index % len(WORDS)]
        turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"say {word} now, row {index}"},
                 {"role": "assistant", "content": word, **message}]  # fmt: skip
        rows.append(json.dumps({"messages": turns}))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and its data."""
    folder = tmp_path_factory.mktemp("language")
    tiny_causal(folder / "base", "llama", max_position_embeddings=512)
    settings = json.loads((folder / "base" / "tokenizer_config.json").read_text())
    settings["model_max_length"] = 512
    (folder / "base" / "tokenizer_config.json").write_text(json.dumps(settings))
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder / "base")
        marks = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]
        tokenizer.add_special_tokens({"additional_special_tokens": marks})
        model = AutoModelForCausalLM.from_pretrained(folder / "base")
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.save_pretrained(folder / "gaps")
        tokenizer.save_pretrained(folder / "gaps")
    _chat(folder / "train.jsonl", 18)
    _chat(folder / "held.jsonl", 6)
    texts = [f"{w} and {w} " * 25 for w in WORDS] + [f"{w} {n}" for w in WORDS for n in (7, 8, 9)]
    (folder / "plain.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return folder


def _recipe(place: Path, out: Path, **changes: Any) -> Recipe:
    recipe = Recipe.build({
        "model": str(place / "base"), "task": "chat", "out": str(out),
        "data": {"train": str(place / "train.jsonl"), "validation": str(place / "held.jsonl")},
        "train": {"epochs": 2, "batch_size": 6, "learning_rate": 3e-3},
        "evaluate": {"samples": 1, "max_tokens": 4},
    })  # fmt: skip
    for key, value in changes.items():
        recipe = recipe.replace(**{key: value})
    return recipe


def _train(recipe: Recipe, heard: list[Event] | None = None, **options: Any) -> Trained:
    found: list[Event] = [] if heard is None else heard
    run = options.pop("run", None) or new_run(recipe)
    return train(recipe, run, scorer_for=scorer_for, listener=found.append, **options)


def test_a_run_learns_passes_every_gate_and_shows_samples(place: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    trained = _train(_recipe(place, tmp_path, **{"train.epochs": 6}), heard)
    history = trained.progress.history
    assert history[-1]["validation_loss"] < 0.8 * history[0]["validation_loss"]
    assert [e.data["id"] for e in heard if e.kind == "gate"] == ["G2", "G3", "G6", "G7", "G8", "G1", "G4", "G5", "G9"]
    shown = [e.data for e in heard if e.kind == "sample"]
    assert [item["step"] for item in shown] == [0, *(entry["step"] for entry in history)]
    assert shown[0]["reference"] == "red"
    assert all(0 <= e.data["token_accuracy"] <= 1 for e in heard if e.kind == "step")
    assert trained.runner.saved > 0.2 * trained.runner.tokens  # the system prompt, once per step


@pytest.mark.parametrize("method", ["full", {"kind": "lora", "rank": 4}, {"kind": "adapter", "bottleneck": 4},
                                    "head", "ia3", {"kind": "prefix", "tokens": 3}])  # fmt: skip
def test_every_method_trains_a_causal_model(place: Path, tmp_path: Path, method: Any) -> None:
    trained = _train(_recipe(place, tmp_path, method=method, **{"train.epochs": 3}))
    history = trained.progress.history
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    trained.export()
    assert (trained.run.model / "luthier.json").is_file()


@pytest.mark.parametrize("method", ["full", {"kind": "lora", "rank": 4}])
def test_killed_and_resumed_is_uninterrupted_bit_for_bit(place: Path, tmp_path: Path, method: Any) -> None:
    recipe = _recipe(place, tmp_path, method=method, **{"train.save_every_steps": 1})
    whole = _train(recipe)
    steps = 0

    def power_cut(event: Event) -> None:
        nonlocal steps
        steps += event.kind == "step"
        if steps == 4:
            raise Crash

    run = new_run(recipe)
    with pytest.raises(Crash):
        train(recipe, run, scorer_for=scorer_for, listener=power_cut)
    again = _train(recipe, run=run, resume=True)
    assert equal(state(whole), state(again))
    assert losses(whole.run) == losses(again.run)


def test_one_batch_of_six_is_two_of_three(place: Path, tmp_path: Path) -> None:
    whole = _train(_recipe(place, tmp_path))
    parts = _train(_recipe(place, tmp_path, **{"train.batch_size": 3, "train.accumulate": 2}))
    assert losses(whole.run) == pytest.approx(losses(parts.run), rel=1e-4)


def _tokens(trained: Trained) -> int:
    return trained.progress.tokens


SEES: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[Trained], Any]]] = {
    "data.template": ({}, {"data.template": "<template>"}, lambda t: losses(t.run)),
    "data.learn": ({"data.train": "<turns>"}, {"data.learn": "last"}, lambda t: t.notes["trained_tokens_share"]),
    "data.fill_middle": ({"task": "complete", "data.train": "<plain>", "data.validation": 0.2, "model": "<gaps>"},
                         {"data.fill_middle": 0.9}, _tokens),
    "train.shared_prefix": ({}, {"train.shared_prefix": False}, lambda t: t.runner.saved),
    "train.gradient_checkpointing": ({}, {"train.gradient_checkpointing": True}, lambda t: t.runner.forward.way),
    "train.truncate": ({"train.max_length": 30, "task": "complete", "data.train": "<plain>", "data.validation": 0.2,
                        "train.truncate": "end"}, {"train.truncate": "split"}, _tokens),
    "evaluate.samples": ({}, {"evaluate.samples": 2}, lambda t: t.run.events_jsonl.read_text().count('"sample"')),
    "evaluate.max_tokens": ({}, {"evaluate.max_tokens": 1}, lambda t: next(
        line for line in t.run.events_jsonl.read_text().splitlines() if '"sample"' in line).split('"output"')[1]),
    "evaluate.canaries": ({}, {"evaluate.canaries": 2}, lambda t: len(t.prepared.train)),
    "evaluate.memorisation": ({}, {"evaluate.memorisation": 3}, lambda t: prove(t, ignore)[0]["memorisation"]["rows"]),
}  # fmt: skip


@pytest.mark.parametrize("key", SEES)
def test_flipping_a_key_changes_something(place: Path, tmp_path: Path, key: str) -> None:
    on, to, sees = SEES[key]
    template = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + ': ' + m['content'] + '<|im_end|>' }}"
    template += "{% endfor %}"
    template += "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
    (tmp_path / "own.jinja").write_text(template)
    turns = json.loads((place / "train.jsonl").read_text().splitlines()[0])
    longer = {"messages": [*turns["messages"], *turns["messages"][1:]]}
    lines = (json.dumps(longer).replace("row 0", f"row {i}") for i in range(12))
    (tmp_path / "turns.jsonl").write_text("\n".join(lines) + "\n")
    stands = {"<template>": str(tmp_path / "own.jinja"), "<turns>": str(tmp_path / "turns.jsonl"),
              "<plain>": str(place / "plain.jsonl"), "<gaps>": str(place / "gaps")}  # fmt: skip
    seen = []
    for changes in (on, {**on, **to}):
        plain = {k: stands.get(v, v) if isinstance(v, str) else v for k, v in changes.items()}
        seen.append(sees(_train(_recipe(place, tmp_path / "runs", **plain))))
    assert seen[0] != seen[1]


def test_the_template_goes_with_the_model(place: Path, tmp_path: Path) -> None:
    trained = _train(_recipe(place, tmp_path))
    trained.export()
    assert load_chat_tokenizer(trained.run.model).chat_template == load_chat_tokenizer(place / "base").chat_template


def test_a_template_without_an_end_stops_the_run(place: Path, tmp_path: Path) -> None:
    """G1: the model would never learn to stop."""
    (tmp_path / "endless.jinja").write_text(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    with pytest.raises(TrainingError, match="G1") as caught:
        _train(_recipe(place, tmp_path, **{"data.template": str(tmp_path / "endless.jinja")}))
    assert "data.template" in str(caught.value)


def test_packed_neighbours_that_see_each_other_stop_the_run(place: Path, tmp_path: Path) -> None:
    """G5: the gate sees a forward pass that mixes rows."""
    from luthier.train.language_gates import packing_gate

    trained = _train(_recipe(place, tmp_path))
    runner, plan = trained.runner, trained.runner.forward.plan
    table = trained.validator.table if trained.validator is not None else None
    assert table is not None
    assert packing_gate(runner, table).ok

    def mixed(batch: Any) -> Any:
        stream = plan(batch)
        joined = type(stream.layout).of((stream.layout.total,))
        return type(stream)(stream.ids_S, joined, stream.pick, stream.targets, stream.weights, stream.keep, 0)

    runner.forward.plan = mixed
    assert not packing_gate(runner, table).ok


def test_a_conversation_that_teaches_nothing_is_refused(place: Path, tmp_path: Path) -> None:
    """G2."""
    silent = _chat(tmp_path / "silent.jsonl", 6, weight=0)
    with pytest.raises(DataError, match="weight"):
        _train(_recipe(place, tmp_path, **{"data.train": silent}))


def test_loss_is_the_same_with_and_without_shared_prefixes(place: Path, tmp_path: Path) -> None:
    shared = _train(_recipe(place, tmp_path))
    apart = _train(_recipe(place, tmp_path, **{"train.shared_prefix": False}))
    assert losses(shared.run) == pytest.approx(losses(apart.run), rel=1e-4)
    pairs = zip(state(shared).values(), state(apart).values(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in pairs)
