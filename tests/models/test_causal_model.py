"""Generative bases on an unpadded stream: the numbers of transformers' own padded forward."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_bases import save_base
from tiny_causal import CAUSAL_FAMILIES, tiny_causal
from torch import Tensor
from transformers import AutoModelForCausalLM

from luthier.core.errors import ModelError
from luthier.models import catalogue
from luthier.models.base_source import BaseSource, from_folder
from luthier.models.build_causal import build_causal
from luthier.models.catalogue import find, locate
from luthier.models.causal_attention import SegmentStream, by_segment
from luthier.models.causal_layout import CausalLayout
from luthier.models.causal_model import CausalModel
from luthier.models.quiet import quiet

Causal = Callable[[str], BaseSource]
LENGTHS = (5, 12, 1, 9)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Causal:
    made: dict[str, BaseSource] = {}

    def get(family: str) -> BaseSource:
        if family not in made:
            made[family] = from_folder(tiny_causal(tmp_path_factory.mktemp(family), family), name=family)
        return made[family]

    return get


def samples(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randint(4, 300, (length,), generator=generator) for length in LENGTHS]
    found[3][:4] = found[1][:4]
    return found


def padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return ids, mask


def reference(source: BaseSource) -> Any:
    with quiet():
        return AutoModelForCausalLM.from_pretrained(source.path, attn_implementation="eager").eval()


def tree(rows: list[Tensor]) -> tuple[Tensor, CausalLayout]:
    """Rows 1 and 3 share their first four tokens: as a prefix segment, and once more inside of it."""
    stream = torch.cat((rows[0], rows[1][:3], rows[1][3:4], rows[2], rows[1][4:], rows[3][4:]))
    return stream, CausalLayout.tree((5, 3, 1, 1, 8, 5), (-1, -1, 1, -1, 2, 2))


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_the_stream_gives_the_logits_and_gradients_of_padded_rows(causal: Causal, family: str) -> None:
    rows = samples()
    ids, mask = padded(rows)
    stock = reference(causal(family))
    expected = stock(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    model = build_causal(causal(family), task="chat").eval()
    found = model.logits(model.hidden(torch.cat(rows), CausalLayout.of(LENGTHS)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    own = dict(model.backbone.named_parameters())
    for name, parameter in stock.named_parameters():
        torch.testing.assert_close(own[name].grad, parameter.grad, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_a_shared_prefix_changes_neither_logits_nor_gradients(causal: Causal, family: str) -> None:
    rows = samples()
    model = build_causal(causal(family), task="chat").eval()
    apart = model.logits(model.hidden(torch.cat(rows), CausalLayout.of(LENGTHS))).split(LENGTHS)
    stream, layout = tree(rows)
    shared = model.logits(model.hidden(stream, layout)).split(layout.lengths)
    torch.testing.assert_close(torch.cat((*shared[1:3], shared[4])), apart[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat((*shared[1:3], shared[5])), apart[3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared[3], apart[2], atol=1e-5, rtol=1e-5)

    gradients = []
    for logits in (torch.cat((apart[0], apart[1][4:], apart[2], apart[3][4:])), torch.cat([*shared[:1], shared[4],
                   shared[3], shared[5]])):  # fmt: skip
        model.zero_grad()
        torch.log_softmax(logits, dim=-1)[:, 7].sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_blocks_can_be_run_one_part_after_the_other(causal: Causal, family: str) -> None:
    rows = samples()
    stream, layout = tree(rows)
    model = build_causal(causal(family), task="chat").eval()
    whole = model.hidden(stream, layout)
    assert torch.equal(model.run_stream(model.embed_stream(stream), layout), whole)
    below = model.run_stream(model.embed_stream(stream), layout, 0, 2)
    assert torch.equal(model.run_stream(below, layout, 2), whole)
    ids, mask = padded(rows)
    through_blocks = model.run_blocks(model.run_blocks(model.embed(ids, mask), mask, 0, 1), mask, 1)
    torch.testing.assert_close(through_blocks, model.encode(ids, mask), atol=1e-6, rtol=1e-6)
    expected = model.logits(model.hidden(torch.cat(rows), CausalLayout.of(LENGTHS)))
    torch.testing.assert_close(model(ids, mask)[mask.bool()], expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_without_a_layout_the_backbone_is_transformers_own(causal: Causal, family: str) -> None:
    ids, mask = padded(samples())
    mask, ids = mask.flip(1), ids.flip(1)  # padding on the left, as for generation
    stock = reference(causal(family))
    backbone = build_causal(causal(family), task="chat").eval().backbone
    expected = stock(input_ids=ids, attention_mask=mask).logits
    found = backbone(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=1e-5, rtol=1e-5)
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 1}
    with quiet():
        wanted = stock.generate(ids, attention_mask=mask, **options)
        assert torch.equal(backbone.generate(ids, attention_mask=mask, **options), wanted)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_gradient_checkpointing_changes_no_gradient(causal: Causal, family: str) -> None:
    stream, layout = tree(samples())
    gradients = []
    for checkpointing in (False, True):
        model = build_causal(causal(family), task="chat", gradient_checkpointing=checkpointing)
        model.hidden(stream, layout).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain, atol=1e-6, rtol=1e-5)


def test_bf16_computes_under_autocast_near_fp32(causal: Causal) -> None:
    stream, layout = tree(samples())
    plain = build_causal(causal("llama"), task="chat").eval()
    half = build_causal(causal("llama"), task="chat", precision="bf16").eval()
    found = half.logits(half.hidden(stream, layout))
    expected = plain.logits(plain.hidden(stream, layout))
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)


def test_dropout_is_off_unless_asked(causal: Causal) -> None:
    stream, layout = tree(samples())
    model = build_causal(causal("gpt2"), task="chat").train()
    assert torch.equal(model.hidden(stream, layout), model.hidden(stream, layout))
    noisy = build_causal(causal("gpt2"), task="chat", dropout=0.3).train()
    assert not torch.equal(noisy.hidden(stream, layout), noisy.hidden(stream, layout))


def test_the_same_seed_gives_the_same_model_from_scratch(causal: Causal) -> None:
    before = torch.random.get_rng_state()
    first, second, other = (
        build_causal(causal("llama"), task="complete", seed=seed, from_scratch=True) for seed in (5, 5, 6)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.output_weight, second.output_weight)
    assert not torch.equal(first.output_weight, other.output_weight)
    assert first.training
    assert all(parameter.dtype == torch.float32 for parameter in first.parameters())


def test_an_encoder_is_refused_with_a_generative_base_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"minilm is an encoder.*luthier-nano") as error:
        build_causal(from_folder(save_base("bert", tmp_path), name="minilm"), task="chat")
    assert error.value.code == "not_generative"


def test_an_unknown_family_is_refused_with_the_known_ones(causal: Causal, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(causal("llama").path, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
    with pytest.raises(ModelError, match=r"mamba.*llama, mistral") as error:
        build_causal(from_folder(folder, name="x"), task="chat")
    assert error.value.code == "unknown_family"


@pytest.mark.parametrize("lost", ["lm_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_weights_that_are_not_whole_are_refused(causal: Causal, tmp_path: Path, lost: str) -> None:
    folder = Path(shutil.copytree(causal("llama").path, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=lost) as error:
        build_causal(from_folder(folder, name="x"), task="chat")
    assert error.value.code == "weights_do_not_fit"


def test_what_methods_and_groups_read(causal: Causal) -> None:
    tied = build_causal(causal("gemma2"), task="chat")
    assert tied.output_weight is tied.embeddings.weight
    assert tied.softcap == 30.0
    assert (tied.labels, tied.outputs, tied.head_modules(), tied.head_parameters()) == ((), (), {}, [])
    model = build_causal(causal("gpt2"), task="complete")
    assert [type(module).__name__ for module in model.embedding_modules()] == ["Embedding", "Embedding"]
    assert [len(model.block_modules(index)) for index in range(3)] == [1, 1, 2]
    assert (model.output_bias, model.softcap) == (None, None)


def test_luthier_nano_stands_in_the_catalogue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = find("luthier-nano")
    assert (entry.kind, find("minilm").kind) == ("generative", "encoder")
    assert entry.to_dict()["kind"] == "generative"
    assert set(entry.tasks) == {"chat", "complete"}
    monkeypatch.setattr(catalogue, "__file__", str(tmp_path / "catalogue.py"))
    with pytest.raises(ModelError, match="make base-model") as error:
        locate("luthier-nano")
    assert error.value.code == "base_not_built"
    tiny_causal(tmp_path / entry.shipped)
    monkeypatch.setattr(catalogue, "ENTRIES", (entry_with(entry, {"model.safetensors": "0" * 64}),))
    with pytest.raises(ModelError, match="not the file that was published"):
        locate("luthier-nano")
    monkeypatch.setattr(catalogue, "ENTRIES", (entry_with(entry, {}),))
    assert build_causal(locate("luthier-nano"), task="chat").config.model_type == "llama"


def entry_with(entry: catalogue.CatalogueEntry, files: dict[str, str]) -> catalogue.CatalogueEntry:
    import dataclasses

    return dataclasses.replace(entry, files=files)


def test_the_layout_says_who_sees_whom() -> None:
    layout = CausalLayout.tree((2, 1, 2, 1), (-1, 0, 1, 0))
    assert layout.positions.tolist() == [0, 1, 2, 3, 4, 2]
    assert layout.starts == (0, 2, 3, 5)
    assert layout.ancestors(2) == (0, 1)
    assert layout.mask().int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
    assert layout == CausalLayout.tree((2, 1, 2, 1), (-1, 0, 1, 0))
    assert CausalLayout.of((2, 3)).positions.tolist() == [0, 1, 0, 1, 2]
    for lengths, parents in (((), ()), ((2, 0), (-1, -1)), ((2, 2), (-1, 1)), ((2,), (-2,)), ((2, 2), (-1,))):
        with pytest.raises(ValueError, match="segment"):
            CausalLayout.tree(lengths, parents)


@st.composite
def layouts(draw: st.DrawFn) -> CausalLayout:
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))
    return CausalLayout.tree(lengths, [draw(st.integers(-1, index - 1)) for index in range(len(lengths))])


@settings(max_examples=40, deadline=None)
@given(
    layouts(), st.sampled_from([None, 1, 3, 50]), st.sampled_from([None, 2.0]), st.sampled_from([None, 0.3]),
    st.sampled_from([0, 2, 5]),
)  # fmt: skip
def test_attention_is_that_of_the_dense_mask(
    layout: CausalLayout, window: int | None, softcap: float | None, scaling: float | None, past: int
) -> None:
    generator = torch.Generator().manual_seed(layout.total)
    query = torch.randn(1, 4, layout.total, 8, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, 1, 2, past + layout.total, 8, generator=generator, dtype=torch.float64)
    seen = torch.cat((torch.ones(layout.total, past, dtype=torch.bool), layout.mask()), dim=1)
    if window is not None:
        keys = torch.cat((torch.arange(-past, 0), layout.positions))
        seen &= layout.positions.unsqueeze(1) - keys < window
    scores = query @ key.repeat_interleave(2, 1).transpose(2, 3) * (8**-0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    expected = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value.repeat_interleave(2, 1)

    stream = SegmentStream(layout)
    found = by_segment(query, key, value, stream, 0.0, scaling, window, softcap)
    torch.testing.assert_close(found.transpose(1, 2), expected, atol=1e-6, rtol=1e-6)

    mod = stream.mask_mod(window, past, torch.device("cpu"))  # what flex_attention is given on a GPU
    rows, columns = torch.arange(layout.total).unsqueeze(1), torch.arange(past + layout.total).unsqueeze(0)
    assert torch.equal(mod(torch.zeros(()), torch.zeros(()), rows, columns), seen)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_on_a_gpu_one_kernel_gives_the_numbers_of_the_cpu(causal: Causal, family: str) -> None:
    stream, layout = tree(samples())
    model: CausalModel = build_causal(causal(family), task="chat").eval()
    expected = model.logits(model.hidden(stream, layout))
    model.cuda()
    found = model.logits(model.hidden(stream.cuda(), layout))
    torch.testing.assert_close(found.cpu(), expected, atol=5e-3, rtol=5e-3)
    half = build_causal(causal(family), task="chat", precision="bf16").eval().cuda()
    flat = CausalLayout.of(LENGTHS)
    rows = torch.cat(samples())
    found = half.logits(half.hidden(rows.cuda(), flat))
    torch.testing.assert_close(found.cpu(), model.cpu().logits(model.hidden(rows, flat)), atol=0.1, rtol=0.1)
