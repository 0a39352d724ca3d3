"""A run or a trial that was begun before a key of the recipe existed goes on: what it does not say is the default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy import TrainToy, equal, losses

from luthier import api
from luthier.core.errors import Interrupted, TrainingError
from luthier.core.events import Event
from luthier.core.recipe_methods import LoraMethod
from luthier.core.rundir import RunDir
from luthier.models.run_model import method_of
from luthier.searching.workbench import Workbench
from luthier.train import ready
from luthier.train.identity import lasting

LORA: dict[str, Any] = {"method": {"kind": "lora", "rank": 4}, "train.epochs": 3, "train.patience": 0}


def forget(run: Path, *keys: str) -> None:
    """Make recipe.yaml that of a version without these keys."""
    path = run / "recipe.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in keys:
        *parents, last = key.split(".")
        node = values
        for parent in parents:
            node = node[parent]
        del node[last]
    path.write_text(yaml.safe_dump(values), encoding="utf-8")


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    run = RunDir(folder)
    return load_file(run.checkpoint(run.steps()[-1]) / "model.safetensors")


@pytest.mark.parametrize(
    "keys",
    [("train.average", "train.l2_sp"), ("train.contrastive",), ("method.dora", "method.rslora"), ("head.fit",),
     ("freeze",), ("evaluate.canaries", "data.share")],
)  # fmt: skip
def test_a_trial_goes_on_without_keys_that_it_did_not_know(toy: TrainToy, keys: tuple[str, ...]) -> None:
    recipe = toy.recipe(**LORA)
    whole = Workbench(recipe).open(recipe, toy.folder / "whole").advance(3)
    Workbench(recipe).open(recipe, toy.folder / "trial").advance(1)
    forget(toy.folder / "trial", *keys)
    heard: list[Event] = []
    found = Workbench(recipe, listener=heard.append).open(recipe, toy.folder / "trial").advance(3)
    assert any(event.message.startswith("Going on from step") for event in heard)
    assert found.history == whole.history
    assert losses(RunDir(toy.folder / "trial")) == losses(RunDir(toy.folder / "whole"))
    assert equal(weights(toy.folder / "trial"), weights(toy.folder / "whole"))


def test_another_value_than_the_default_is_still_another(toy: TrainToy) -> None:
    recipe = toy.recipe(**LORA, **{"train.weight_decay": 0.3})
    Workbench(recipe).open(recipe, toy.folder / "trial").advance(1)
    forget(toy.folder / "trial", "train.weight_decay")
    with pytest.raises(TrainingError, match=r"another train\.weight_decay: 0\.01, not 0\.3") as caught:
        Workbench(recipe).open(recipe, toy.folder / "trial").advance(2)
    assert caught.value.code == "checkpoint_of_other_run"


def stops_at(step: int) -> Callable[[Event], None]:
    def hear(event: Event) -> None:
        if event.kind == "step" and event.data["step"] == step:
            raise Interrupted("stopped")

    return hear


def test_a_run_goes_on_without_keys_that_it_did_not_know(toy: TrainToy, tmp_path: Path) -> None:
    recipe = toy.recipe(**LORA, **{"train.save_every_steps": 1, "evaluate.baselines": [], "evaluate.bootstrap": 100})
    whole = api.train(recipe.replace(out=str(tmp_path / "a")))
    with pytest.raises(Interrupted):
        api.train(recipe.replace(out=str(tmp_path / "b")), listener=stops_at(4))
    (begun,) = (tmp_path / "b").iterdir()
    forget(begun, "train.average", "train.kl_to_base", "method.dora", "freeze", "head.class_weights")
    found = api.resume(begun)
    assert found.metrics == whole.metrics
    assert losses(RunDir(begun)) == losses(RunDir(whole.path))
    assert equal(weights(begun), weights(whole.path))


class Newer(LoraMethod):
    """The method as a later version may have it."""

    warmth: float = 0.0


def test_a_checkpoint_is_that_of_its_run_when_methods_have_got_a_key(
    toy: TrainToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lasting(Newer(rank=4)) == LoraMethod(rank=4).model_dump()
    assert lasting(Newer(rank=4, warmth=1.0))["warmth"] == 1.0
    recipe = toy.recipe(**LORA)
    Workbench(recipe).open(recipe, toy.folder / "trial").advance(1)
    identities: list[Any] = []
    whole = ready.newest_checkpoint
    monkeypatch.setattr(
        ready, "newest_checkpoint", lambda run, identity: identities.append(identity) or whole(run, identity)
    )
    kept = ready.lasting
    monkeypatch.setattr(
        ready, "lasting", lambda spec: kept(Newer(**spec.model_dump()) if isinstance(spec, LoraMethod) else spec)
    )
    assert Workbench(recipe).open(recipe, toy.folder / "trial").advance(2).epoch == 2
    assert identities


def test_a_tuned_model_of_an_older_version_has_the_defaults() -> None:
    method, freeze = method_of({"method": {"kind": "lora", "rank": 4}, "freeze": {"layers": 1}})
    assert method == LoraMethod(rank=4)
    assert (freeze.layers, freeze.embeddings) == (1, False)
