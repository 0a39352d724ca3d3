"""The contract of every method on generative bases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from tiny_causal import CAUSAL_FAMILIES, tiny_causal
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from luthier.core.errors import RecipeError
from luthier.core.recipe import FreezeSpec, Method
from luthier.models import methods
from luthier.models.base_source import BaseSource, from_folder
from luthier.models.build_causal import build_causal
from luthier.models.causal_layout import CausalLayout
from luthier.models.causal_model import CausalModel
from luthier.models.groups import parameter_groups
from luthier.models.quiet import quiet
from luthier.models.trainable import frozen_boundary, load_trainable_state, trainable_state, trainable_summary

Causal = Callable[[str], BaseSource]
METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "rank": 4, "alpha": 8},
    "dora": {"kind": "lora", "rank": 4, "alpha": 8, "dora": True},
    "rslora": {"kind": "lora", "rank": 4, "alpha": 8, "rslora": True},
    "houlsby": {"kind": "adapter", "bottleneck": 8},
    "pfeiffer": {"kind": "adapter", "bottleneck": 8, "style": "pfeiffer", "activation": "relu"},
    "head": {"kind": "head"},
    "bitfit": {"kind": "bitfit"},
    "ia3": {"kind": "ia3"},
    "prefix": {"kind": "prefix", "tokens": 3},
}
BIASED = ("qwen2", "gpt2")
COMBINATIONS = [
    (family, name)
    for family in CAUSAL_FAMILIES
    for name in METHODS
    if (name != "bitfit" or family in BIASED)
    and (family == "llama" or (family == "gpt2" and name != "rslora") or name in ("full", "ia3", "bitfit"))
]
LENGTHS = (6, 9, 4)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Causal:
    made: dict[str, BaseSource] = {}

    def get(family: str) -> BaseSource:
        if family not in made:
            made[family] = from_folder(tiny_causal(tmp_path_factory.mktemp(family), family), name=family)
        return made[family]

    return get


def method(name: str) -> Method:
    spec: Method = TypeAdapter(Method).validate_python(METHODS[name])
    return spec


def stream() -> tuple[Tensor, CausalLayout]:
    ids = torch.randint(4, 300, (sum(LENGTHS),), generator=torch.Generator().manual_seed(2))
    return ids, CausalLayout.of(LENGTHS)


def tuned(source: BaseSource, name: str, freeze: FreezeSpec | None = None, **options: Any) -> CausalModel:
    model = build_causal(source, task="chat", seed=7, **options)
    methods.apply(model, method(name), freeze)
    return model


def answer(model: CausalModel) -> Tensor:
    return model.logits(model.hidden(*stream()))


@pytest.mark.parametrize(("family", "name"), COMBINATIONS)
def test_a_method_starts_neutral_trains_and_restores(causal: Causal, family: str, name: str) -> None:
    source = causal(family)
    plain = build_causal(source, task="chat").eval()
    model = tuned(source, name).eval()
    if name != "prefix":
        torch.testing.assert_close(answer(model), answer(plain), atol=1e-6, rtol=1e-5)

    trained, total = trainable_summary(model)
    assert trained == total if name == "full" else 0 < trained < total
    assert trained == (plain.output_weight.numel() if name == "head" else trained)
    fresh = {key: value.clone() for key, value in trainable_state(model).items()}
    frozen = {key: value.clone() for key, value in model.named_parameters() if not value.requires_grad}
    groups = parameter_groups(model, learning_rate=3e-4, weight_decay=0.0, layer_decay=0.9)
    assert sum(parameter.numel() for group in groups for parameter in group["params"]) == trained
    before = answer(model)
    optimizer = torch.optim.Adam(groups, eps=1e-12)
    model.train()
    targets = stream()[0].roll(-1)
    losses = []
    for _ in range(4):
        loss = cross_entropy(answer(model), targets)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert min(losses) < losses[0]
    state = trainable_state(model)
    assert set(state) == set(fresh)
    # softmax does not see a constant added to all keys: their bias, and what trains it, moves by rounding
    still = {key for key in state if torch.equal(state[key], fresh[key])}
    assert still == set()
    for key, value in model.named_parameters():
        assert key not in frozen or torch.equal(value, frozen[key])

    trained_answer = answer(model)
    again = tuned(source, name).eval()
    load_trainable_state(again, {key: value.clone() for key, value in state.items()})
    assert torch.equal(answer(again), trained_answer)
    load_trainable_state(model, fresh)
    torch.testing.assert_close(answer(model), before, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_lora_reaches_every_linear_layer_of_every_block(causal: Causal, family: str) -> None:
    model = tuned(causal(family), "lora")
    wrapped = {name for name, _ in model.layers[0].named_modules() if name.endswith("lora_A")}
    expected = {"phi3": 4, "gpt2": 4}.get(family, 7)
    assert len(wrapped) == expected
    assert all("lora_" in name for name in trainable_state(model))


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_a_prefix_is_that_of_peft_itself(causal: Causal, family: str) -> None:
    model = tuned(causal(family), "prefix").eval()
    assert model.reserved_positions == 3
    ids, layout = stream()
    found = answer(model)
    for part, logits in zip(ids.split(LENGTHS), found.split(LENGTHS), strict=True):
        with quiet():
            expected = model.peft(input_ids=part.unsqueeze(0), attention_mask=torch.ones(1, len(part))).logits[0]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.run_stream(model.embed_stream(ids), layout), model.hidden(ids, layout))
    assert frozen_boundary(model) == -1


def test_a_prefix_stands_before_the_shared_prefix_only_once(causal: Causal) -> None:
    model = tuned(causal("llama"), "prefix").eval()
    ids = stream()[0][:10]
    apart = model.hidden(torch.cat((ids[:7], ids[:4], ids[7:])), CausalLayout.of((7, 7)))
    shared = model.hidden(ids, CausalLayout.tree((4, 3, 3), (-1, 0, 0)))
    torch.testing.assert_close(shared, torch.cat((apart[:7], apart[11:])), atol=1e-6, rtol=1e-5)


def test_head_unties_the_output_matrix_and_says_so(causal: Causal) -> None:
    for family, tied in (("gemma2", True), ("llama", False)):
        model = tuned(causal(family), "head")
        assert model.output_weight is not model.embeddings.weight
        assert list(model.head_modules()) == ["lm_head"]
        assert list(trainable_state(model)) == ["backbone.lm_head.weight"]
        assert frozen_boundary(model) == 3
        assert bool(model.notes) == tied
        assert not model.config.tie_word_embeddings
    assert "tied" in tuned(causal("gpt2"), "head").notes[0]


@pytest.mark.parametrize("family", [family for family in CAUSAL_FAMILIES if family not in BIASED])
def test_bitfit_needs_biases(causal: Causal, family: str) -> None:
    with pytest.raises(RecipeError, match=f"{family} models have none") as error:
        tuned(causal(family), "bitfit")
    assert error.value.param == "method.kind"


@pytest.mark.parametrize("name", ["full", "lora", "houlsby", "ia3"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_frozen_layers_hold_still_and_can_be_cached(causal: Causal, family: str, name: str) -> None:
    model = tuned(causal(family), name, FreezeSpec(layers=2))
    assert frozen_boundary(model) == 2
    ids, layout = stream()
    below = model.run_stream(model.embed_stream(ids), layout, 0, 2)
    assert not below.requires_grad
    torch.testing.assert_close(model.run_stream(below, layout, 2), model.hidden(ids, layout), atol=1e-6, rtol=1e-6)
    assert not any(parameter.requires_grad for module in model.embedding_modules() for parameter in module.parameters())
    if family == "gemma2" and name == "full":
        assert not model.output_weight.requires_grad  # it is the embeddings


def test_freezing_the_embeddings_alone(causal: Causal) -> None:
    model = tuned(causal("llama"), "full", FreezeSpec(embeddings=True))
    assert frozen_boundary(model) == 0
    assert model.output_weight.requires_grad
    assert frozen_boundary(tuned(causal("llama"), "full")) == -1


@pytest.mark.parametrize(
    ("name", "freeze", "match"),
    [
        ("lora", 3, "no layer left"),
        ("prefix", 1, "stands in every layer"),
        ("lora", 4, "this base has 3 layers"),
        ("bitfit", 3, "nothing is left to train"),
    ],
)
def test_what_cannot_be_frozen_is_refused(causal: Causal, name: str, freeze: int, match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        tuned(causal("qwen2"), name, FreezeSpec(layers=freeze))


def test_gradient_checkpointing_with_adapters(causal: Causal) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tuned(causal("llama"), "lora", FreezeSpec(layers=1), gradient_checkpointing=checkpointing)
        assert not model.embed_stream(stream()[0]).requires_grad
        answer(model).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert set(gradients[0]) == set(gradients[1]) == set(trainable_state(model))
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-5)
    with pytest.raises(RecipeError, match="gradient checkpointing"):
        tuned(causal("llama"), "prefix", gradient_checkpointing=True)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_lora_gradients_are_those_of_peft_on_padded_rows(causal: Causal) -> None:
    from peft import get_peft_model

    model = tuned(causal("llama"), "lora").eval()
    config = model.peft.peft_config["default"]
    assert config.task_type == "CAUSAL_LM"
    with quiet():
        stock = get_peft_model(AutoModelForCausalLM.from_pretrained(causal("llama").path), config).eval()
    state = {name: torch.randn_like(value) * 0.1 for name, value in trainable_state(model).items()}
    load_trainable_state(model, state)
    other = dict(stock.named_parameters())
    names = {name: name.replace("backbone.", "base_model.model.", 1) for name in state}
    for name, value in state.items():
        other[names[name]].data.copy_(value)
    rows = stream()[0].split(LENGTHS)
    ids = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    expected = stock(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    torch.testing.assert_close(answer(model), expected, atol=1e-5, rtol=1e-5)
    answer(model).square().sum().backward()
    expected.square().sum().backward()
    own = dict(model.named_parameters())
    for name in state:
        torch.testing.assert_close(own[name].grad, other[names[name]].grad, atol=1e-4, rtol=1e-4)
