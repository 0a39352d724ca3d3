"""The hand-derived stream gives what the stock model gives, hidden states and every gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_causal import tiny_causal
from torch import Tensor, nn

from luthier.core.recipe import Recipe
from luthier.models import causal_stream_attention, methods, packed_linear
from luthier.models.base_source import from_folder
from luthier.models.build_causal import build_causal
from luthier.models.causal_layout import CausalLayout
from luthier.models.causal_model import CausalModel
from luthier.models.causal_stream import CausalStream, supports
from luthier.models.causal_stream_attention import tiles_of
from luthier.models.packed_linear import CausalLinear, prefer_packed
from luthier.models.stream_linear import LinearPart

LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-mha-biases": ("llama", {"num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True}),
    "llama-mqa-tied-scaled": (
        "llama",
        {"num_key_value_heads": 1, "tie_word_embeddings": True, "rope_parameters": LLAMA3_ROPE, "head_dim": 16},
    ),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "qwen3-mha": ("qwen3", {"num_key_value_heads": 4}),
}
LAYOUTS = {
    "several": CausalLayout.of([5, 12, 1, 9]),
    "single": CausalLayout.of([17]),
    "one-token": CausalLayout.of([1, 1, 1]),
    "prefix": CausalLayout.tree([7, 3, 4, 2, 5, 1], [-1, 0, 0, -1, 0, 3]),
    "nested": CausalLayout.tree([4, 3, 2, 1, 6], [-1, 0, 1, 1, 0]),
}
TRAINED: dict[str, Any] = {
    "lora": {"kind": "lora", "rank": 16},
    "lora-some": {"kind": "lora", "rank": 4, "targets": ["q_proj", "v_proj", "up_proj"]},
    "full": "full",
    "head": "head",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


def make(folder: Path, shape: str, method: Any, freeze: Any = None, **options: Any) -> CausalModel:
    family, overrides = SHAPES[shape]
    path = folder / shape
    if not path.exists():
        tiny_causal(path, family, **overrides)
    recipe = Recipe.build({"data": "none", "task": "chat", "method": method, "freeze": freeze or {}})
    model = build_causal(from_folder(path, name=shape), task="chat", **options)
    methods.apply(model, recipe.method, recipe.freeze)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero when fresh, which would hide the gradient of A
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def ids_of(layout: CausalLayout) -> Tensor:
    return torch.randint(4, 300, (layout.total,), generator=torch.Generator().manual_seed(2))


def gradients(model: CausalModel, hidden: Tensor) -> dict[str, Tensor]:
    """Of a loss that reads every element of the hidden states differently, and the output matrix."""
    upstream = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(4))
    model.zero_grad()
    ((hidden * upstream).sum() + 0.1 * model.logits(hidden).square().sum()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(got) == set(expected)
    # some gradients are zero but for rounding (a bias of keys, queries of a text of one token)
    rounding = 2e-7 * max((float(gradient.norm()) for gradient in expected.values()), default=0.0)
    for name, gradient in expected.items():
        assert float((got[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()) + rounding, name


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_stock_model(folder: Path, shape: str, method: str) -> None:
    model = make(folder, shape, TRAINED[method])
    for layout in LAYOUTS.values():
        compare(model, layout)


@pytest.mark.parametrize(
    ("shape", "method", "freeze"),
    [
        ("llama", "lora-some", None),
        ("llama", "head", None),
        ("llama-mha-biases", "bitfit", None),
        ("qwen2", "bitfit", None),
        ("qwen3", "lora", {"layers": 2}),
        ("llama", "full", {"layers": 1, "embeddings": True}),
    ],
)
def test_equals_the_stock_model_when_part_of_it_trains(folder: Path, shape: str, method: str, freeze: Any) -> None:
    compare(make(folder, shape, TRAINED.get(method, method), freeze), LAYOUTS["prefix"])


def compare(model: CausalModel, layout: CausalLayout, *, prepack: bool = False) -> None:
    assert supports(model)
    ids = ids_of(layout)
    stream = CausalStream(model, prepack=prepack)
    expected = model.hidden(ids, layout)
    got = stream.hidden(ids, layout)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    expected_gradients = gradients(model, expected)
    assert_same(gradients(model, got), expected_gradients)

    # a few places only, unordered and one of them twice
    rows = torch.tensor([layout.total - 1, 0, layout.total // 2, 0])
    some = stream.hidden(ids, layout, rows)
    torch.testing.assert_close(some, expected[rows], rtol=1e-5, atol=1e-5)
    assert_same(gradients(model, some), gradients(model, model.hidden(ids, layout)[rows]))
    with torch.no_grad():
        torch.testing.assert_close(stream.hidden(ids, layout), expected, rtol=1e-5, atol=1e-5)


def test_long_segments_are_tiled(folder: Path) -> None:
    """Segments above one block of queries, a shared prefix of several blocks, short ones that share one."""
    model = make(folder, "llama", TRAINED["lora"])
    compare(model, CausalLayout.tree([230, 101, 20, 30, 3, 97, 40, 40], [-1, 0, 0, 0, 0, -1, -1, -1]))


def test_probabilities_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal_stream_attention, "KEEP_BYTES", 0)
    compare(make(folder, "qwen3", "full"), LAYOUTS["nested"])


def test_in_parts_equals_at_once(folder: Path) -> None:
    """What a frozen trunk's cache holds: blocks below, then blocks above and the norm."""
    layout = LAYOUTS["several"]
    stream = CausalStream(make(folder, "llama", "head"))
    ids = ids_of(layout)
    every = torch.arange(layout.total)
    for cut in range(4):
        below = stream.run(stream.embed(ids), layout, 0, cut)
        assert torch.equal(stream.run_rows(below, layout, every, cut), stream.hidden(ids, layout))


def test_no_places(folder: Path) -> None:
    model = make(folder, "llama", TRAINED["lora"])
    hidden = CausalStream(model).hidden(ids_of(LAYOUTS["single"]), LAYOUTS["single"], torch.empty(0, dtype=torch.int64))
    assert hidden.shape == (0, 32)
    hidden.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_tiles_see_what_the_mask_says(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    lengths = data.draw(st.lists(st.integers(1, 130), min_size=count, max_size=count))
    parents = [data.draw(st.integers(-1, index - 1)) for index in range(count)]
    layout = CausalLayout.tree(lengths, parents)
    rows = None
    if data.draw(st.booleans()):
        chosen = data.draw(st.sets(st.integers(0, layout.total - 1), min_size=1, max_size=30))
        rows = torch.tensor(sorted(chosen))
    picked = torch.arange(layout.total) if rows is None else rows
    seen = torch.zeros(len(picked), layout.total, dtype=torch.int64)
    for tile in tiles_of(layout, rows):
        columns = torch.cat([torch.arange(span.start, span.stop) for span in tile.keys])
        allowed = torch.cat((torch.ones(tile.bias.shape[0], tile.open), (tile.bias[:, 0] == 0).float()), 1)
        seen[tile.queries].index_add_(1, columns, allowed.long())
    assert torch.equal(seen, layout.mask()[picked].long())


def test_tiles_compute_about_half_of_the_square() -> None:
    assert sum(tile.scores for tile in tiles_of(CausalLayout.of([600]))) < 0.6 * 600 * 600
    assert len(tiles_of(CausalLayout.of([4] * 24))) == 1


@pytest.mark.parametrize("better", [True, False])
def test_packed_where_it_is_faster(folder: Path, monkeypatch: pytest.MonkeyPatch, better: bool) -> None:
    monkeypatch.setattr(packed_linear, "prefer_packed", lambda *_: better)
    model = make(folder, "qwen2", TRAINED["lora"])
    assert CausalStream(model, prepack=True).layers[0].down.packed == better
    assert not CausalStream(model).layers[0].down.packed
    compare(model, LAYOUTS["prefix"], prepack=True)
    assert not CausalStream(make(folder, "qwen2", "full"), prepack=True).layers[0].down.packed


def test_packed_with_a_batch_as_large_as_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "prefer_packed", lambda *_: True)
    torch.manual_seed(0)
    stock = nn.Linear(96, 80).requires_grad_(False)
    linear = CausalLinear([LinearPart.of(stock)], prepack=True)
    x, dy = torch.randn(2500, 96), torch.randn(2500, 80)
    torch.testing.assert_close(linear.apply(x), stock(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(linear.input_gradient(dy), dy @ stock.weight, rtol=1e-5, atol=1e-5)


def test_the_measurement_answers() -> None:
    assert prefer_packed(32, 48, 16, 1) in (True, False)


def test_what_is_not_supported(folder: Path) -> None:
    assert not supports(make(folder, "llama", {"kind": "lora", "dora": True}))
    assert not supports(make(folder, "llama", {"kind": "lora", "dropout": 0.1}))
    assert not supports(make(folder, "llama", "ia3"))
    assert not supports(make(folder, "llama", "lora", dropout=0.1))
    assert not supports(make(folder, "llama", "lora", gradient_checkpointing=True))
    assert not supports(make(folder, "llama", "lora", precision="bf16"))
    SHAPES["mistral-window"] = ("mistral", {})
    assert not supports(make(folder, "mistral-window", "lora"))
    SHAPES["gelu"] = ("llama", {"hidden_act": "gelu"})
    assert not supports(make(folder, "gelu", "lora"))
