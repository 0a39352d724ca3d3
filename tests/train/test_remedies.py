"""Each remedy against forgetting does what its paper says, by hand, and keeps the golden equivalences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_causal import tiny_causal
from toy import Crash, TrainToy, equal, farthest, losses, parts, rows, state, write

from luthier.core.errors import DataError, RecipeError
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.data.general import conversations, open_anchors, open_replay
from luthier.data.prepare import prepare
from luthier.evaluate.scorers import scorer_for
from luthier.models.trainable import load_trainable_state, trainable_state
from luthier.train.collate import collate
from luthier.train.remedies.kl import linear_kl
from luthier.train.remedies.path import along, average
from luthier.train.remedies.pull import Pull, pull_of
from luthier.train.remedies.replay import mixed_rows
from luthier.train.run import Trained, new_run, train

LORA = {"kind": "lora", "rank": 4}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal base with chat data."""
    folder = tmp_path_factory.mktemp("remedies")
    tiny_causal(folder / "base", "llama", max_position_embeddings=256)
    settings = json.loads((folder / "base" / "tokenizer_config.json").read_text())
    settings["model_max_length"] = 256
    (folder / "base" / "tokenizer_config.json").write_text(json.dumps(settings))
    for name, count in (("train", 12), ("held", 6), ("general", 5)):
        turns = [[{"role": "user", "content": f"{name} {i}"}, {"role": "assistant", "content": "red " * (1 + i % 4)}]
                 for i in range(count)]  # fmt: skip
        write(folder / f"{name}.jsonl", [{"messages": one} for one in turns])
    return folder


def _chat(place: Path, out: Path, **changes: Any) -> Recipe:
    recipe = Recipe.build({
        "model": str(place / "base"), "task": "chat", "out": str(out),
        "data": {"train": str(place / "train.jsonl"), "validation": str(place / "held.jsonl")},
        "train": {"epochs": 2, "batch_size": 6, "learning_rate": 3e-3}, "evaluate": {"samples": 0},
    })  # fmt: skip
    return recipe.replace(**changes)


def _train(recipe: Recipe, run: RunDir | None = None, crash_after: int = 0, resume: bool = False) -> Trained:
    def hear(event: Any) -> None:
        if crash_after and event.kind == "step" and event.data["step"] == crash_after:
            raise Crash

    return train(recipe, run or new_run(recipe), scorer_for=scorer_for, listener=hear, resume=resume, preflight=False)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_kl_is_torchs_kl_with_its_gradients(softcap: float | None, with_bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    hidden, weight, base, weights = draw(7, 5), draw(11, 5), draw(7, 11), draw(7).abs()
    bias = draw(11) if with_bias else None
    inputs = [tensor.requires_grad_() for tensor in (hidden, weight, bias) if tensor is not None]
    logits = torch.nn.functional.linear(hidden, weight, bias)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    each = torch.nn.functional.kl_div(logits.log_softmax(-1), base.log_softmax(-1), log_target=True, reduction="none")
    expected = (each.sum(-1) * weights).sum()
    wanted = torch.autograd.grad(expected, inputs)
    for chunk in (1, 3, 100):
        found = linear_kl(hidden, weight, bias, lambda here: base[here], weights, softcap=softcap, chunk_tokens=chunk)
        torch.testing.assert_close(found, expected)
        for ours, theirs in zip(torch.autograd.grad(found, inputs), wanted, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_l2_sp_adds_alpha_times_the_way_from_the_start_but_not_of_the_head(base: Any) -> None:
    made = parts(base("toy").path)
    recipe = Recipe.build({"data": "none", "train": {"l2_sp": 0.5}})
    made.runner.pull = pull_of(recipe, made.model)
    made.runner.forward.vocabulary = None
    start = made.weights
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.01)
    batch = collate(made.table, torch.arange(8).numpy(), False)
    made.runner.backward([batch])
    plain = {name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None}
    made.runner.add_pull()
    heads = {id(parameter) for parameter in made.model.head_parameters()}
    penalty = 0.0
    for name, parameter in made.model.named_parameters():
        assert parameter.grad is not None
        moved = parameter.detach() - start[name]
        if id(parameter) in heads:
            assert torch.equal(parameter.grad, plain[name])
        else:
            torch.testing.assert_close(parameter.grad, plain[name] + 0.5 * moved)
            penalty += 0.25 * float(moved.square().sum())
    assert made.runner.facts()["penalty"] == pytest.approx(penalty, rel=1e-5)
    assert heads, "or nothing was left out"


def test_the_pull_of_several_micro_batches_is_that_of_one() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    pull = Pull([weight], 2.0)
    with torch.no_grad():
        weight.add_(0.5)
    weight.grad = torch.zeros(3)
    assert pull() == pytest.approx(0.5 * 2.0 * 3 * 0.25)
    assert weight.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("stream", [True, False])
def test_an_encoders_distance_is_the_squared_distance_of_its_features(toy: TrainToy, stream: bool) -> None:
    trained = toy.train(toy.recipe(**{"train.kl_to_base": 0.7, "head.pooling": "mean"}))
    runner = trained.runner
    if not stream:
        runner.forward.encoder = runner.distance._forward.encoder = None
    trained.model.eval()
    table = trained.validator.table  # type: ignore[union-attr]
    batch = collate(table, torch.arange(5).numpy(), False)
    features = [forward.read(batch)[1].detach() for forward in (runner.forward, runner.distance._forward)]
    expected = 0.7 * float((features[0] - features[1]).square().sum())
    with torch.no_grad():
        loss, apart = runner.sums(batch, None, penalised=True)
    assert expected > 1e-4
    assert float(apart) == pytest.approx(expected, rel=1e-4)
    with torch.no_grad():
        assert float(loss) == pytest.approx(float(runner.loss_sum(batch)), rel=1e-5)
    assert runner.sums(batch, None, penalised=False)[1] is None


def test_a_writers_distance_is_kl_on_the_learned_tokens(place: Path, tmp_path: Path) -> None:
    """The hand-derived stream against the stock decoder's own logits."""
    trained = _train(_chat(place, tmp_path, **{"train.kl_to_base": 2.0}))
    runner: Any = trained.runner
    assert runner.forward.way == runner.distance._forward.way == "stream"
    batch = collate(trained.validator.table, torch.arange(4).numpy(), True)  # type: ignore[union-attr]
    with torch.no_grad():
        _, apart = runner.sums(batch, None, penalised=True)
    ids, mask, _ = batch.padded(0)
    flat = torch.zeros(mask.shape)
    flat[mask.bool()] = batch.weights
    with torch.no_grad():
        q, p = (model(ids, mask).log_softmax(-1) for model in (trained.model, runner.distance._forward.model))
    expected = 2.0 * float((((p.exp() * (p - q)).sum(-1)) * flat).sum())
    assert expected > 1e-3
    assert float(apart) == pytest.approx(expected, rel=1e-4)


REMEDIES: dict[str, dict[str, Any]] = {
    "full": {"train.l2_sp": 0.05, "train.kl_to_base": 0.5, "train.replay": 0.25, "train.average": 0.5},
    "lora": {"method": LORA, "train.kl_to_base": 0.5, "train.average": 0.5},
    "frozen": {"freeze.layers": 1, "train.l2_sp": 0.05, "train.kl_to_base": 0.5, "train.average": 0.25},
}


def _changes(changes: dict[str, Any], general: str) -> dict[str, Any]:
    return {**changes, "data.replay": general} if "train.replay" in changes else changes


@pytest.mark.parametrize("name", REMEDIES)
def test_a_writer_cut_differently_or_killed_and_resumed_is_the_same(place: Path, tmp_path: Path, name: str) -> None:
    changes = _changes(REMEDIES[name], str(place / "general.jsonl"))
    recipe = _chat(place, tmp_path, **{"train.save_every_steps": 1, **changes})
    whole = _train(recipe)
    run = new_run(recipe)
    with pytest.raises(Crash):
        _train(recipe, run, crash_after=3)
    assert equal(state(whole), state(_train(recipe, run, resume=True)))
    cut = _train(recipe.replace(**{"train.batch_size": 3, "train.accumulate": 2}))
    assert losses(whole.run) == pytest.approx(losses(cut.run), rel=1e-4)


@pytest.mark.parametrize("name", REMEDIES)
def test_an_encoder_cut_differently_or_killed_and_resumed_is_the_same(toy: TrainToy, name: str) -> None:
    general = str(write(toy.folder / "general.jsonl", rows("classify", 5, 9)))
    recipe = toy.recipe(**{"head.dropout": 0.0, **_changes(REMEDIES[name], general)})
    whole = toy.train(recipe)
    folder = toy.folder / "crashed"
    with pytest.raises(Crash):
        toy.train(recipe, folder, crash_after=4)
    assert equal(state(whole), state(toy.train(recipe, folder, resume=True)))
    cut = toy.train(recipe.replace(**{"train.batch_size": 2, "train.accumulate": 4}))
    assert losses(whole.run) == pytest.approx(losses(cut.run), rel=1e-4)
    assert farthest(state(whole), state(cut)) < 1e-3


def test_the_golden_loss_is_told_without_the_penalty(toy: TrainToy) -> None:
    plain, held = toy.train(toy.recipe()), toy.train(toy.recipe(**{"train.kl_to_base": 5.0, "train.l2_sp": 1.0}))
    assert losses(plain.run)[0] == pytest.approx(losses(held.run)[0], rel=1e-5)
    steps = [line for line in held.run.metrics() if line["kind"] == "step"]
    assert steps[0]["penalty"] == 0.0
    assert steps[-1]["penalty"] > 0.0


@pytest.mark.parametrize("method", ["full", LORA, {"kind": "lora", "rank": 4, "dora": True},
                                    {"kind": "adapter", "bottleneck": 4}, "ia3"])  # fmt: skip
def test_average_0_answers_like_the_base_and_1_like_the_tuned(place: Path, tmp_path: Path, method: Any) -> None:
    trained = _train(_chat(place, tmp_path, method=method, **{"train.average": 0.5}))
    model, start = trained.model, trained.start
    assert start is not None
    batch = collate(trained.validator.table, torch.arange(4).numpy(), True)  # type: ignore[union-attr]
    ids, mask, _ = batch.padded(0)
    tuned = _train(_chat(place, tmp_path, method=method))
    load_trainable_state(model, along(model, start, trainable_state(tuned.model), 0.0))
    base = _train(_chat(place, tmp_path, **{"train.learning_rate": 1e-12})).model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(ids, mask), base(ids, mask), atol=1e-5, rtol=0)
    load_trainable_state(model, along(model, start, trainable_state(tuned.model), 1.0))
    assert equal(state(tuned), {name: tensor.clone() for name, tensor in trainable_state(model).items()})


def test_average_of_full_is_the_mean_of_the_weights(place: Path, tmp_path: Path) -> None:
    tuned = state(_train(_chat(place, tmp_path)))
    mixed = _train(_chat(place, tmp_path, **{"train.average": 0.25}))
    assert mixed.start is not None
    for name, tensor in state(mixed).items():
        torch.testing.assert_close(tensor, 0.75 * mixed.start[name] + 0.25 * tuned[name])


def test_average_of_lora_scales_the_update_by_its_share(place: Path, tmp_path: Path) -> None:
    tuned, mixed = (_train(_chat(place, tmp_path, method=LORA, **{"train.average": share})) for share in (1.0, 0.4))
    pairs = [
        [part.get_delta_weight("default").detach() for part in one.model.modules() if hasattr(part, "get_delta_weight")]
        for one in (tuned, mixed)
    ]
    assert pairs[0]
    for whole, part in zip(*pairs, strict=True):
        assert float(whole.abs().max()) > 0
        torch.testing.assert_close(part, 0.4 * whole)


def test_average_keeps_a_new_head_as_it_was_tuned(toy: TrainToy) -> None:
    trained = toy.train(toy.recipe(**{"train.average": 0.5, "head.pooling": "mean"}))
    tuned = state(toy.train(toy.recipe(**{"head.pooling": "mean"})))
    assert torch.equal(state(trained)["head.linear.weight"], tuned["head.linear.weight"])
    average(trained.model, trained.start or {}, 0.0)
    assert torch.equal(state(trained)["head.linear.weight"], tuned["head.linear.weight"])


def test_replay_is_its_share_of_the_rows_drawn_by_the_seed(toy: TrainToy) -> None:
    general = str(write(toy.folder / "general.jsonl", rows("classify", 5, 9)))
    recipe = toy.recipe(**{"train.replay": 0.25, "data.replay": general})
    prepared = prepare(recipe.data, "classify", 0)
    mixed = mixed_rows(recipe, prepared, "toy")
    assert len(mixed) == 24 + 8  # 8 / 32 = 0.25; five rows, and three of them again
    drawn = [sample.text for sample in mixed][24:]
    assert set(drawn[:5]) == {sample.text for sample in open_replay(general, "classify", "toy", None)}
    assert [s.text for s in mixed_rows(recipe, prepared, "toy")] == [s.text for s in mixed]
    other = mixed_rows(recipe.replace(**{"train.seed": 3}), prepared, "toy")
    assert [s.text for s in other] != [s.text for s in mixed]
    steps = [line["rows"] for line in toy.train(recipe).run.metrics() if line["kind"] == "step"]
    assert sum(steps) == 2 * 32


@pytest.mark.parametrize(
    ("task", "changes", "code"),
    [
        ("chat", {"train.replay": 0.1}, "no_replay"),  # this base is none that comes with general samples
        ("chat", {"data.replay": "<general>"}, "no_replay"),
        ("chat", {"method": LORA, "train.l2_sp": 0.1}, "remedy_does_not_fit"),
        ("chat", {"method": {"kind": "prefix", "tokens": 2}, "train.average": 0.5}, "remedy_does_not_fit"),
        ("classify", {"train.replay": 0.1}, "no_replay"),
        ("classify", {"method": "head", "train.kl_to_base": 0.1}, "remedy_does_not_fit"),
        ("classify", {"method": "head", "train.l2_sp": 0.1}, "remedy_does_not_fit"),
        ("classify", {"train.replay": 0.1, "data.replay": "<unknown>"}, "unknown_label"),
        ("classify", {"train.replay": 0.1, "data.replay": "<empty>"}, "empty_file"),
        ("classify", {"train.replay": 0.1, "data.replay": "<missing>"}, "not_found"),
    ],
)
def test_what_a_remedy_cannot_do_is_refused_before_training(
    place: Path, toy: TrainToy, task: str, changes: dict[str, Any], code: str
) -> None:
    strange = [{"text": "ok", "label": "x"}, {"text": "k", "label": "y"}]
    stands = {"<general>": place / "general.jsonl", "<empty>": write(toy.folder / "empty.jsonl", []),
              "<missing>": toy.folder / "no.jsonl", "<unknown>": write(toy.folder / "u.jsonl", strange)}  # fmt: skip
    settled = {k: str(stands.get(v, v)) if isinstance(v, str) else v for k, v in changes.items()}
    recipe = _chat(place, toy.folder, **settled) if task == "chat" else toy.recipe(**settled)
    with pytest.raises((RecipeError, DataError)) as caught:
        _train(recipe)
    assert caught.value.code == code
    assert caught.value.remedy


def test_shipped_replay_shares_nothing_with_the_anchors() -> None:
    anchors, replay = (conversations(part, "chat") for part in ("anchors", "replay"))
    assert len(anchors) == 100
    said = [{sample.target.messages[0].content for sample in part} for part in (anchors, replay)]  # type: ignore[union-attr]
    assert len(said[0]) == 100
    assert not said[0] & said[1]
    texts = conversations("replay", "complete")
    assert texts[0].text.startswith("Question: ")
    assert len(open_replay(None, "chat", "luthier-nano", None)) == len(replay)


def test_general_rows_that_no_interval_can_be_made_of_are_refused(tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", [{"text": f"a text {i}"} for i in range(3)])
    with pytest.raises(DataError) as caught:
        open_anchors(str(few), "classify")
    assert caught.value.code == "too_few_anchors"
    twelve = write(tmp_path / "twelve.jsonl", [{"text": f"a text {i}"} for i in range(12)])
    assert len(open_anchors([str(twelve)], "classify")) == 12
