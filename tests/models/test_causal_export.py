"""Trained generative models on disk: what other libraries load answers as Luthier's model does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from pydantic import TypeAdapter
from tiny_causal import CAUSAL_FAMILIES, CHAT_TEMPLATE, tiny_causal
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.core.errors import ModelError
from luthier.core.recipe import FreezeSpec, Method
from luthier.models import methods
from luthier.models.base_source import BaseSource, from_folder
from luthier.models.build_causal import build_causal
from luthier.models.causal_layout import CausalLayout
from luthier.models.causal_model import CausalModel
from luthier.models.chat_tokenizer import load_chat_tokenizer
from luthier.models.export import SETTINGS_JSON
from luthier.models.export_causal import layout_of_causal, merge, save_causal
from luthier.models.quiet import quiet
from luthier.models.run_model import load_causal_run
from luthier.models.trainable import load_trainable_state, trainable_state

# PEFT 0.21 reads a property that transformers 5.23 renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
Causal = Callable[[str], BaseSource]
METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "head": {"kind": "head"},
    "bitfit": {"kind": "bitfit"},
    "lora": {"kind": "lora", "rank": 4, "alpha": 8},
    "dora": {"kind": "lora", "rank": 4, "alpha": 8, "dora": True},
    "ia3": {"kind": "ia3"},
    "prefix": {"kind": "prefix", "tokens": 3},
    "adapter": {"kind": "adapter", "bottleneck": 8},
}
LENGTHS = (6, 9, 4)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Causal:
    made: dict[str, BaseSource] = {}

    def get(family: str) -> BaseSource:
        if family not in made:
            made[family] = from_folder(tiny_causal(tmp_path_factory.mktemp(family), family), name=family)
        return made[family]

    return get


def rows() -> tuple[Tensor, ...]:
    ids = torch.randint(4, 300, (sum(LENGTHS),), generator=torch.Generator().manual_seed(2))
    return ids.split(LENGTHS)


def answer(model: CausalModel) -> Tensor:
    return model.logits(model.hidden(torch.cat(rows()), CausalLayout.of(LENGTHS))).detach()


@torch.no_grad()
def foreign_answer(model: Any) -> Tensor:
    model.eval()
    return torch.cat(
        [model(input_ids=row[None], attention_mask=torch.ones_like(row[None])).logits[0] for row in rows()]
    )


def trained(source: BaseSource, name: str, freeze: FreezeSpec | None = None) -> CausalModel:
    """A model whose trained tensors were moved as training would move them."""
    model = build_causal(source, task="chat", seed=7)
    methods.apply(model, TypeAdapter(Method).validate_python(METHODS[name]), freeze)
    generator = torch.Generator().manual_seed(11)
    state = {
        key: value + 0.05 * torch.randn(value.shape, generator=generator)
        for key, value in trainable_state(model).items()
    }
    load_trainable_state(model, state)
    return model.eval()


def save(model: CausalModel, source: BaseSource, folder: Path) -> Path:
    folder.mkdir()
    save_causal(
        model, load_chat_tokenizer(source.path), source, folder, {"max_length": 48, "template": "the base's own"}
    )
    return folder


def by_other_libraries(folder: Path, source: BaseSource, name: str) -> Any:
    with quiet():
        if name in ("full", "head", "bitfit"):
            return AutoModelForCausalLM.from_pretrained(folder)
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(source.path), folder)


COMBINATIONS = [
    (family, name)
    for family in CAUSAL_FAMILIES
    for name in METHODS
    if (name != "bitfit" or family in ("qwen2", "gpt2"))
    and (
        family == "llama"
        or (name in ("full", "head", "bitfit", "lora", "prefix") and family in ("gemma2", "gpt2"))
        or (name == "lora" and family in ("qwen3", "gemma3_text", "phi3"))
        or (family, name) == ("qwen2", "bitfit")
    )
]


@pytest.mark.parametrize(("family", "name"), COMBINATIONS)
def test_a_saved_model_answers_the_same_here_and_elsewhere(
    causal: Causal, tmp_path: Path, family: str, name: str
) -> None:
    source = causal(family)
    model = trained(source, name)
    expected = answer(model)
    assert not torch.allclose(expected, answer(build_causal(source, task="chat").eval()), atol=1e-3)
    folder = save(model, source, tmp_path / "model")
    if name != "adapter":
        found = foreign_answer(by_other_libraries(folder, source, name))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

    again, tokenizer_folder, settings = load_causal_run(folder)
    assert not again.training
    torch.testing.assert_close(answer(again), expected, atol=1e-6, rtol=1e-6)
    assert AutoTokenizer.from_pretrained(tokenizer_folder).chat_template == CHAT_TEMPLATE
    assert settings["layout"] == layout_of_causal(model)
    assert settings["method"]["kind"] == METHODS[name]["kind"]
    assert (settings["task"], settings["max_length"], settings["template"]) == ("chat", 48, "the base's own")
    assert settings["base"]["path"] == str(source.path)


@pytest.mark.parametrize("family", ["gemma2", "gpt2"])
def test_tied_weights_stay_tied_unless_the_head_was_trained(causal: Causal, tmp_path: Path, family: str) -> None:
    source = causal(family)
    for name, tied in (("full", True), ("head", False)):
        folder = save(trained(source, name), source, tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        assert config["tie_word_embeddings"] is tied
        other = by_other_libraries(folder, source, name)
        assert (other.get_output_embeddings().weight is other.get_input_embeddings().weight) is tied
    assert "tied" in load_causal_run(tmp_path / "head")[2]["notes"][0]


def test_a_run_says_when_its_base_has_changed(causal: Causal, tmp_path: Path) -> None:
    base = from_folder(tiny_causal(tmp_path / "base"), name="base")
    folder = save(trained(base, "lora", FreezeSpec(layers=1)), base, tmp_path / "model")
    assert load_causal_run(folder)[0].freeze.layers == 1
    tiny_causal(tmp_path / "base", hidden_size=64)
    with pytest.raises(ModelError, match="has changed since") as error:
        load_causal_run(folder)
    assert error.value.code == "base_changed"


def test_other_tasks_and_formats_are_refused(causal: Causal, tmp_path: Path) -> None:
    source = causal("llama")
    folder = save(trained(source, "full"), source, tmp_path / "model")
    settings = json.loads((folder / SETTINGS_JSON).read_text())
    (folder / SETTINGS_JSON).write_text(json.dumps({**settings, "task": "classify"}))
    with pytest.raises(ModelError, match="trained for classify"):
        load_causal_run(folder)
    (folder / SETTINGS_JSON).write_text(json.dumps({**settings, "format": 99}))
    with pytest.raises(ModelError, match="format 99"):
        load_causal_run(folder)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        *((family, "lora") for family in ("llama", "gemma3_text", "phi3", "gpt2")),
        ("llama", "dora"),
        ("llama", "ia3"),
        ("gpt2", "ia3"),
    ],
)
def test_merged_weights_answer_as_the_adapter_does(causal: Causal, tmp_path: Path, family: str, name: str) -> None:
    model = trained(causal(family), name)
    expected = answer(model)
    merged = merge(model)
    assert merged.difference < 1e-5 < 1e-3 < merged.effect
    torch.testing.assert_close(answer(model), expected)  # the model itself stays as it was
    with quiet():
        merged.backbone.save_pretrained(tmp_path)
        plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(parameter.dtype == torch.float32 for parameter in plain.parameters())
    torch.testing.assert_close(foreign_answer(plain), expected, atol=1e-5, rtol=1e-5)


def test_a_merge_that_loses_the_tune_is_refused(causal: Causal, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(causal("llama"), "lora")
    monkeypatch.setattr(type(model.peft.base_model), "merge_and_unload", lambda self: self.unload())
    with pytest.raises(ModelError, match="would change its answers") as error:
        merge(model)
    assert error.value.code == "merge_differs"
    # an effect far below the absolute limit is no excuse for losing it
    state = {key: value * 1e-3 if "lora_B" in key else value for key, value in trainable_state(model).items()}
    load_trainable_state(model, {key: value.clone() for key, value in state.items()})
    with pytest.raises(ModelError, match=r"effect is .*e-0[45]"):
        merge(model)


def test_what_cannot_be_merged_says_so(causal: Causal) -> None:
    for name in ("adapter", "prefix"):
        with pytest.raises(ModelError, match="cannot be merged") as error:
            merge(trained(causal("llama"), name))
        assert error.value.code == "not_mergeable"
    model = trained(causal("llama"), "full")
    whole = merge(model)
    assert whole.difference == 0.0
    assert whole.backbone is not model.backbone
    torch.testing.assert_close(foreign_answer(whole.backbone), answer(model), atol=1e-5, rtol=1e-5)
