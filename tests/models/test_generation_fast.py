"""The fast decode path computes what the model of transformers computes, and says where it cannot."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_causal import tiny_causal, tiny_config
from tiny_tuned import tiny_tuned
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from luthier.core.generation import Sampling
from luthier.models.generation import AdapterPool, Decoder, Request
from luthier.models.generation import fast_adapters as fast_adapters_module
from luthier.models.generation.fast_choice import forward_of
from luthier.models.generation.fast_forward import FastForward
from luthier.models.generation.fast_parts import FAMILIES, why_not
from luthier.models.generation.forward import ModelForward
from luthier.models.generation.running import Forward
from luthier.models.quiet import quiet

# PEFT 0.21 reads a property that transformers 5.23 renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
VOCABULARY = 330
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
FULL = {"mistral": {"sliding_window": None}}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "one-group": {"num_key_value_heads": 1},
    "no-groups": {"num_key_value_heads": 4},
}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def tiny(family: str, **overrides: Any) -> Any:
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(
            tiny_config(family, VOCABULARY, **{**FULL.get(family, {}), **overrides})
        )
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def with_adapters(family: str = "llama", configs: dict[str, dict[str, Any]] | None = None) -> PeftModel:
    """Adapters of different ranks, on different layers."""
    configs = configs or {
        "all": {"r": 4, "target_modules": ALL},
        "some": {"r": 2, "target_modules": ["q_proj", "down_proj"], "lora_alpha": 16},
        "wide": {"r": 6, "target_modules": ALL, "use_rslora": True, "lora_alpha": 3},
        "first": {"r": 3, "target_modules": ALL, "layers_to_transform": [0]},
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model: Any = tiny(family)
        for name, options in configs.items():
            config = LoraConfig(init_lora_weights=False, **{"lora_alpha": 8, **options})
            if isinstance(model, PeftModel):
                model.add_adapter(name, config)
            else:
                model = get_peft_model(model, config, adapter_name=name)
    return model.eval()  # type: ignore[no-any-return]


def prompts(*lengths: int, seed: int = 1) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(4, VOCABULARY) for _ in range(length)] for length in lengths]


@torch.no_grad()
def stock_logits(model: Any, ids: Sequence[int], adapter: str | None = None) -> Tensor:
    """[V] of the last position, computed from the beginning."""
    options: dict[str, Any] = {}
    if isinstance(model, PeftModel):
        options["adapter_names"] = [adapter or "__base__"]
    logits: Tensor = model(input_ids=torch.tensor([list(ids)]), **options).logits
    return logits[0, -1]


class Together:
    """Rows that come, go and take steps; after each, all logits are compared with the stock model's."""

    def __init__(self, forward: Forward, model: Any) -> None:
        self.forward, self.model = forward, model
        self.rows: Any = None
        self.ids: list[list[int]] = []
        self.adapters: list[str | None] = []
        self._draw = random.Random(5)

    def come(
        self, group: list[list[int]], adapters: Sequence[str | None] | None = None, parts: Sequence[int] = ()
    ) -> None:
        """Read prompts of one length, all at once or in parts that end there."""
        names = list(adapters or [None] * len(group))
        begins, ends = (0, *parts), (*parts, len(group[0]))
        rows, logits = self.forward.read(torch.tensor([ids[: ends[0]] for ids in group]), names)
        for begin, end in zip(begins[1:], ends[1:], strict=True):
            logits = self.forward.extend(rows, torch.tensor([ids[begin:end] for ids in group]))
        self._compare(logits, group, names)
        if self.rows is None:
            self.rows = rows
        else:
            self.rows.join(rows)
        self.ids += [list(ids) for ids in group]
        self.adapters += names

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            for ids in self.ids:
                ids.append(self._draw.randrange(4, VOCABULARY))
            logits = self.forward.step(self.rows, torch.tensor([ids[-1] for ids in self.ids]))
            assert [len(ids) for ids in self.ids] == list(self.rows.lengths)
            self._compare(logits, self.ids, self.adapters)

    def leave(self, *gone: int) -> None:
        order = self.rows.keep([row for row in range(len(self.ids)) if row not in gone])
        assert sorted(order) == [row for row in range(len(self.ids)) if row not in gone]
        self.ids = [self.ids[row] for row in order]
        self.adapters = [self.adapters[row] for row in order]
        assert len(self.rows) == len(order)

    def _compare(self, logits: Tensor, ids: Sequence[Sequence[int]], adapters: Sequence[str | None]) -> None:
        expected = torch.stack([stock_logits(self.model, *row) for row in zip(ids, adapters, strict=True)])
        torch.testing.assert_close(logits, expected, **CLOSE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_stock_model(family: str, shape: str) -> None:
    model = tiny(family, **SHAPES[shape])
    assert why_not(model) is None
    both = Together(FastForward(model, release=False), model)
    both.come(prompts(5, 5))
    both.step(3)


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {"head_dim": 12}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}}),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "rope_theta": 1e4,
                                       "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}),
        ("qwen3", {"attention_bias": True}),
        ("qwen2", {"rms_norm_eps": 0.1}),
    ],
)  # fmt: skip
def test_other_configurations_are_followed(family: str, overrides: dict[str, Any]) -> None:
    model = tiny(family, **overrides)
    assert why_not(model) is None
    both = Together(FastForward(model, release=False), model)
    both.come(prompts(9))
    both.step(2)


def test_rows_come_and_go_without_padding_the_others() -> None:
    model = tiny("qwen2")
    both = Together(FastForward(model, release=False), model)
    both.come(prompts(7, 7, seed=1))
    both.step(2)
    both.come(prompts(20, seed=2))  # longer than those that are there
    both.step(1)
    both.come(prompts(1, 1, 1, seed=3))  # one token
    both.step(2)
    both.leave(0, 2)  # the first, and the longest
    both.step(1)
    both.come(prompts(12, 12, 12, 12, 12, seed=4))  # more rows than there was room for
    both.leave(8)  # the last
    both.step(2)
    both.leave(*range(1, len(both.ids)))
    both.step(2)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_may_be_read_in_parts(family: str) -> None:
    model = tiny(family)
    both = Together(FastForward(model, release=False), model)
    both.come(prompts(11, 11), parts=(4, 5))
    both.step(1)
    both.come(prompts(150, seed=3), parts=(1, 130))
    both.step(1)


def test_the_cache_grows_while_answers_do() -> None:
    model = tiny("llama")
    forward, rows = FastForward(model, release=False), prompts(3, 3)
    both = Together(forward, model)
    both.come(rows)
    columns = both.rows._states.shape[4]
    compare, both._compare = both._compare, lambda *_: None  # type: ignore[method-assign]
    both.step(columns - both.rows.width)
    both._compare = compare  # type: ignore[method-assign]
    both.step(2)
    assert both.rows._states.shape[4] > columns
    both.come(prompts(150, seed=9))
    both.step(1)


def test_what_was_in_the_cache_before_is_never_seen() -> None:
    model = tiny("llama")
    both = Together(FastForward(model, release=False), model)
    both.come(prompts(30))
    both.come(prompts(4, seed=2))
    both.leave(0)
    with torch.inference_mode():
        both.rows._states[:, :, :, :, both.rows.width :] = 1e4  # what a row that left might have written
    both.step(3)


def test_each_row_has_its_own_adapter() -> None:
    model = with_adapters()
    both = Together(FastForward(model, release=False), model)
    both.come(prompts(6, 6, 6), ["all", None, "some"])
    both.step(2)
    both.come(prompts(3, 3), ["wide", "all"])
    both.step(2)
    both.leave(1)
    both.step(1)
    both.leave(0, 3)
    both.step(1)
    both.come(prompts(9, 9), ["first", None], parts=(5,))
    both.step(2)
    found = [stock_logits(model, [5, 6, 7], name) for name in (None, "all", "some", "wide", "first")]
    assert all(not torch.allclose(found[0], other, **CLOSE) for other in found[1:]), "the adapters change nothing"


@pytest.mark.parametrize(
    ("names", "way"),
    [
        ([None] * 4, "none"),
        (["all"] * 4, "as they are"),
        (["some", "some", "all", "all"], "as they are"),  # those that come first have the first slot
        (["all", "some", "all", "some"], "sorted"),
        (["some", "all", "all", "all"], "gathered"),
        (["some", None, "all", None], "gathered"),
    ],
)
def test_rows_are_sorted_only_where_they_must_be(names: list[str | None], way: str) -> None:
    model = with_adapters()
    both = Together(FastForward(model, release=False), model)
    both.come(prompts(5, 5, 5, 5), names)
    both.step(1)
    both.come(prompts(9, 9, 9, 9, seed=2), names)  # of another length
    both.leave(0, 1, 2, 3)
    both.step(2)
    plan = both.rows.plan
    if way == "none":
        assert plan is None
    else:
        assert plan is not None
        assert (plan.gather is not None, plan.order is not None) == (way == "gathered", way == "sorted")


def test_adapters_are_moved_about_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_adapters_module, "_SLOTS", 3)
    names = [f"a{index}" for index in range(7)]
    model = with_adapters("qwen3", {name: {"r": 2, "target_modules": ALL} for name in names})
    forward = FastForward(model, release=False)
    both = Together(forward, model)
    both.come(prompts(4, 4), ["a0", "a1"])
    both.step(1)
    for name in names[2:]:  # each takes a slot of one that is not in use by the group that is read
        both.come(prompts(3, seed=int(name[1])), [name])
        both.step(1)
    assert len(both.ids) == 7
    both.leave(0, 2, 3, 4, 5)
    both.step(1)
    forward.remove_adapter("a0")
    assert "a0" not in forward.adapters
    model.set_adapter("a1")
    model.delete_adapter("a0")
    model.add_adapter("a0", LoraConfig(r=9, lora_alpha=9, target_modules=["v_proj"], init_lora_weights=False))
    forward.add_adapter("a0")  # of a larger rank than any before
    both.step(1)
    both.come(prompts(5), ["a0"])
    both.step(1)
    for parameter in (p for name, p in model.named_parameters() if ".a0." in name):
        parameter.data.mul_(2)
    forward.add_adapter("a0")
    both.leave(0, 1)
    fresh = Together(forward, model)
    fresh.come(prompts(5, seed=8), ["a0"])
    fresh.step(1)


def test_the_active_adapter_answers_where_rows_name_none() -> None:
    model = with_adapters()
    model.set_adapter("some")
    forward = forward_of(model)
    assert isinstance(forward, FastForward)
    rows, logits = forward.read(torch.tensor([[5, 6, 7]]), [None])
    torch.testing.assert_close(logits[0], stock_logits(model, [5, 6, 7], "some"), **CLOSE)
    step = forward.step(rows, torch.tensor([8]))
    torch.testing.assert_close(step[0], stock_logits(model, [5, 6, 7, 8], "some"), **CLOSE)
    named = forward_of(model, named=True)
    torch.testing.assert_close(
        named.read(torch.tensor([[5, 6, 7]]), [None])[1][0], stock_logits(model, [5, 6, 7]), **CLOSE
    )


@pytest.mark.parametrize("tied", [True, False])
def test_released_weights_are_held_once(tied: bool) -> None:
    model, same = (tiny("llama", tie_word_embeddings=tied) for _ in range(2))
    forward = FastForward(model, release=True)
    left = {name for name, parameter in model.named_parameters() if parameter.numel()}
    assert all("proj" not in name for name in left)
    assert "model.embed_tokens.weight" in left
    assert "lm_head.weight" not in left
    both = Together(forward, same)
    both.come(prompts(5))
    both.step(2)


def test_a_released_model_still_takes_adapters() -> None:
    released, same = with_adapters(), with_adapters()
    forward = FastForward(released, release=True)
    for model in (released, same):
        model.add_adapter("late", LoraConfig(r=2, target_modules=ALL))
    for (name, late), (_, other) in zip(released.named_parameters(), same.named_parameters(), strict=True):
        if "late" in name:
            late.data.normal_(generator=torch.Generator().manual_seed(len(name)))
            other.data.copy_(late)
    forward.add_adapter("late")
    both = Together(forward, same)
    both.come(prompts(5, 5), ["late", "all"])
    both.step(2)


@pytest.mark.parametrize(
    ("family", "overrides", "reason"),
    [
        ("mistral", {"sliding_window": 6}, "sliding window"),
        ("qwen2", {"layer_types": ["full_attention", "sliding_attention", "full_attention"], "sliding_window": 6,
                   "use_sliding_window": True}, "sliding window"),
        ("gemma", {}, "does not know models of type GemmaForCausalLM"),
        ("gpt2", {}, "does not know"),
        ("smollm3", {}, "does not know"),
        ("llama", {"hidden_act": "gelu"}, "activation is gelu"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "dynamic"),
    ],
)  # fmt: skip
def test_unknown_models_answer_by_themselves(family: str, overrides: dict[str, Any], reason: str) -> None:
    model = tiny(family, **overrides)
    assert reason in str(why_not(model))
    forward = forward_of(model)
    assert isinstance(forward, ModelForward)
    both = Together(forward, model)
    both.come(prompts(8, 8))
    both.step(1)
    both.come(prompts(3))
    both.step(1)
    both.leave(0)
    both.step(1)


class _Louder(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


def test_changed_modules_are_noticed() -> None:
    assert "bf16" in str(why_not(tiny("llama"), precision="bf16"))
    assert "prefix" in str(why_not(tiny("llama"), prefix=[(torch.zeros(1), torch.zeros(1))]))
    model = tiny("llama")
    model.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    assert "hook" in str(why_not(model))
    model = tiny("llama")
    model.model.layers[2].mlp.up_proj = _Louder(32, 48, bias=False)
    assert why_not(model) == "mlp.up_proj is a _Louder."
    assert "not float32" in str(why_not(tiny("llama").to(torch.bfloat16)))
    dora = get_peft_model(tiny("llama"), LoraConfig(r=2, target_modules=["q_proj"], use_dora=True))
    assert "plain LoRA" in str(why_not(dora))
    merged = with_adapters()
    merged.merge_adapter(["all"])
    assert "plain LoRA" in str(why_not(merged))
    embedded = get_peft_model(tiny("llama"), LoraConfig(r=2, target_modules=["embed_tokens"]))
    assert "embeddings" in str(why_not(embedded))
    two = with_adapters()
    two.base_model.set_adapter(["all", "some"])
    assert isinstance(forward_of(two), ModelForward)
    assert isinstance(forward_of(two, named=True), FastForward)


class _Numbers:
    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        return "".join(f"<{index}>" for index in ids)


def test_a_decoder_writes_the_same_with_either() -> None:
    model = tiny("qwen3")
    lengths = (5, 12, 1, 12, 9, 30, 5)
    sampling = [
        Sampling(max_tokens=4 + row, temperature=row % 2 * 0.8, seed=row, logprobs=1) for row in range(len(lengths))
    ]
    requests = [
        Request(tuple(ids), own, _Numbers(), frozenset({3}))  # type: ignore[arg-type]
        for ids, own in zip(prompts(*lengths), sampling, strict=True)
    ]
    stock = Decoder(model, context=64, rows=3).generate(requests)
    fast = Decoder(model, context=64, rows=3, forward=FastForward(model, release=False)).generate(requests)
    assert [answer.text for answer in fast] == [answer.text for answer in stock]
    assert len({answer.completion_tokens for answer in fast}) > 3


def test_a_pool_takes_the_fast_path(tmp_path: Path) -> None:
    base = tiny_causal(tmp_path / "base")
    tuned = {"one": tiny_tuned(base, tmp_path / "one", {"kind": "lora", "rank": 4}, seed=1)}
    pool = AdapterPool(base, tuned, rows=2)
    assert isinstance(pool._decoder._forward, FastForward)
    gemma = tiny_causal(tmp_path / "gemma", "gemma")
    assert isinstance(AdapterPool(gemma, {})._decoder._forward, ModelForward)
