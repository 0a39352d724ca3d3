"""GGUF, merged and adapter exports of generative runs: what the file holds is the tuned model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from peft import PeftModel
from tiny_causal import CHAT_TEMPLATE, tiny_causal, tiny_tokenizer
from tiny_tuned import tiny_tuned
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from luthier.core.errors import ModelError, UsageError
from luthier.exporting import PARITY_JSON, ExportResult, export
from luthier.models.chat_tokenizer import HuggingChatTokenizer
from luthier.models.export_causal import merge
from luthier.models.export_forms import gguf as gguf_form
from luthier.models.export_forms import merged as merged_form
from luthier.models.export_forms.gguf_reader import read_model, read_vocabulary
from luthier.models.export_forms.gguf_vocabulary import SPLITS, backend_of, vocabulary_of
from luthier.models.export_forms.parity import compare, refuse
from luthier.models.export_forms.sources import PROMPTS, CausalSource
from luthier.models.quiet import quiet
from luthier.models.run_model import load_causal_run

# PEFT 0.21 reads a property that transformers 5.23 renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
LORA = {"kind": "lora", "rank": 4, "alpha": 8}
SCALED = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """run(family, method): a run folder with a tuned model of 64 columns in every matrix, made once."""
    made: dict[str, Path] = {}

    def get(family: str = "llama", method: dict[str, Any] = LORA, task: str = "chat", **config: Any) -> Path:
        key = json.dumps([family, method, task, config])
        if key not in made:
            base = tiny_causal(tmp_path_factory.mktemp("base"), family, **{"intermediate_size": 64, **config})
            made[key] = tmp_path_factory.mktemp("run")
            tiny_tuned(base, made[key] / "model", method, task=task)
        return made[key]

    return get


def tuned_weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = merge(load_causal_run(folder / "model")[0]).backbone.state_dict()
    return state


def rows(result: ExportResult) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((result.path / PARITY_JSON).read_text(encoding="utf-8"))["rows"]
    assert found == [row.to_dict() for row in result.parity]
    assert all(row["ok"] for row in found)
    return found


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True, "head_dim": 16, "rope_parameters": SCALED}),
        ("mistral", {"sliding_window": 40}),
        ("qwen2", {}),
        ("qwen3", {}),
    ],
)
def test_the_file_holds_the_tuned_weights_to_half_precision(run: Make, family: str, config: dict[str, Any]) -> None:
    folder = run(family, **config)
    result = export(folder, "gguf")
    assert result.path == folder / "exports" / "gguf-f16"
    expected, found = tuned_weights(folder), read_model(result.path / "model-f16.gguf").state_dict()
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        kept = weight if weight.ndim == 1 else weight.half().float()
        assert torch.equal(found[name], kept), name
    in_memory, from_file = rows(result)[:2]
    assert (in_memory["form"], from_file["form"]) == ("merged, in memory", "gguf f16")
    assert in_memory["difference"] < 1e-5 < from_file["difference"] < 5e-3
    assert from_file["kept"] == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(("family", "config"), [("llama", {}), ("qwen2", {}), ("qwen3", {"head_dim": 128})])
def test_transformers_own_reader_gives_the_same_model(
    run: Make, family: str, config: dict[str, Any], tmp_path: Path
) -> None:
    """It undoes the order of the rows, and reads the numbers, by code that is not ours."""
    pytest.importorskip("accelerate")
    folder = run(family, **config)
    result = export(folder, "gguf", tmp_path / "file", dtype="fp32")
    with quiet():
        other = AutoModelForCausalLM.from_pretrained(result.path, gguf_file="model-fp32.gguf", dtype=torch.float32)
    for name, weight in tuned_weights(folder).items():
        torch.testing.assert_close(other.state_dict()[name], weight, atol=0, rtol=0, msg=name)
    ids = torch.arange(5, 25).unsqueeze(0)
    ours = read_model(result.path / "model-fp32.gguf")
    with torch.no_grad():
        torch.testing.assert_close(ours(input_ids=ids).logits, other(input_ids=ids).logits, atol=1e-6, rtol=1e-6)


def test_the_rows_of_queries_and_keys_are_where_llama_cpp_turns_them(run: Make, tmp_path: Path) -> None:
    """convert_hf_to_gguf.py, LlamaModel.permute: w.reshape(n, 2, d / 2, in).swapaxes(1, 2)."""
    folder = run("llama")
    result = export(folder, "gguf", tmp_path / "file", dtype="fp32")
    tensors = {item.name: item.data for item in gguf.GGUFReader(result.path / "model-fp32.gguf").tensors}
    weights = tuned_weights(folder)
    for ours, theirs, heads in (("q", "attn_q", 4), ("k", "attn_k", 2)):
        plain = weights[f"model.layers.1.self_attn.{ours}_proj.weight"].numpy()
        moved = plain.reshape(heads, 2, plain.shape[0] // heads // 2, plain.shape[1]).swapaxes(1, 2)
        np.testing.assert_array_equal(tensors[f"blk.1.{theirs}.weight"], moved.reshape(plain.shape))
    np.testing.assert_array_equal(tensors["blk.1.attn_v.weight"], weights["model.layers.1.self_attn.v_proj.weight"])
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 3)
    expected = {known.get_name(name.removesuffix(".weight")) + ".weight" for name in weights}
    assert set(tensors) == expected


def test_q8_0_is_within_its_step_and_says_so(run: Make, tmp_path: Path) -> None:
    folder = run("llama", tie_word_embeddings=True)  # decided answers: random output matrices have many near ties
    result = export(folder, "gguf", tmp_path / "file", dtype="q8_0")
    reader = gguf.GGUFReader(result.path / "model-q8_0.gguf")
    assert {item.tensor_type.name for item in reader.tensors} == {"Q8_0", "F32"}
    assert reader.get_field("general.file_type").contents() == gguf.LlamaFileType.MOSTLY_Q8_0
    found = read_model(result.path / "model-q8_0.gguf").state_dict()
    for name, weight in tuned_weights(folder).items():
        blocks = (weight if weight.ndim == 2 else weight.unsqueeze(0)).reshape(-1, 32)
        # half a step of rounding, and the step itself is a float16
        step = blocks.abs().amax(dim=1, keepdim=True) / 127
        assert ((found[name].reshape(-1, 32) - blocks).abs() <= step * 0.57).all(), name
    row = rows(result)[1]
    assert 1e-4 < row["difference"] < row["difference_limit"] == 5e-2
    assert row["agreement_limit"] == 0.95


def test_rows_that_q8_0_cannot_hold_stay_half(run: Make, tmp_path: Path) -> None:
    folder = run("llama", intermediate_size=48, tie_word_embeddings=True)
    result = export(folder, "gguf", tmp_path / "file", dtype="q8_0")
    kinds = {item.name: item.tensor_type.name for item in gguf.GGUFReader(result.path / "model-q8_0.gguf").tensors}
    assert (kinds["blk.0.ffn_down.weight"], kinds["blk.0.ffn_up.weight"]) == ("F16", "Q8_0")


def test_the_file_says_what_a_runtime_must_know(run: Make, tmp_path: Path) -> None:
    result = export(run("llama", rms_norm_eps=1e-5), "gguf", tmp_path / "file")
    reader = gguf.GGUFReader(result.path / "model-f16.gguf")
    wanted = {
        "general.architecture": "llama", "llama.context_length": 256, "llama.embedding_length": 32,
        "llama.block_count": 3, "llama.feed_forward_length": 64, "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2, "llama.rope.dimension_count": 8, "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-5), "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.eos_token_id": 3, "tokenizer.ggml.padding_token_id": 1,
        "tokenizer.ggml.add_bos_token": False, "tokenizer.chat_template": CHAT_TEMPLATE,
    }  # fmt: skip
    assert {key: reader.get_field(key).contents() for key in wanted} == wanted
    tokenizer = tiny_tokenizer()
    vocabulary = read_vocabulary(result.path / "model-f16.gguf")
    assert vocabulary.tokens == tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    assert [token for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True) if kind == 3] == [
        "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>",
    ]  # fmt: skip


def test_mistral_says_no_longer_context_than_its_window(run: Make, tmp_path: Path) -> None:
    result = export(run("mistral", sliding_window=40), "gguf", tmp_path / "file")
    reader = gguf.GGUFReader(result.path / "model-f16.gguf")
    assert reader.get_field("general.architecture").contents() == "llama"
    assert reader.get_field("llama.context_length").contents() == 40


def wrapped(pre: Any, ignore_merges: bool = False) -> HuggingChatTokenizer:
    """The tiny vocabulary behind another pre-tokenizer."""
    settings = json.loads(tiny_tokenizer().backend_tokenizer.to_str())
    settings["model"]["ignore_merges"] = ignore_merges
    backend = Tokenizer.from_str(json.dumps(settings))
    backend.pre_tokenizer = pre
    backend.post_processor = None
    hugging = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", model_max_length=64)
    return HuggingChatTokenizer(with_post_processor(hugging), FakeConfig())


def with_post_processor(hugging: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    hugging.backend_tokenizer.post_processor = tiny_tokenizer().backend_tokenizer.post_processor
    return hugging


class FakeConfig:
    """As much of a configuration as a tokenizer reads."""

    max_position_embeddings = 64

    def get_text_config(self) -> FakeConfig:
        return self


def byte_level(regex: bool) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)


def split(pattern: str) -> Any:
    parts = [pre_tokenizers.Split(Regex(pattern), behavior="isolated"), byte_level(False)]
    return pre_tokenizers.Sequence(parts)


DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)])


@pytest.mark.parametrize(
    ("pre", "ignore_merges", "name"),
    [
        (byte_level(True), False, "gpt-2"),
        (DIGITS, False, "smollm"),
        (split(SPLITS["qwen2"]), False, "qwen2"),
        (split(SPLITS["llama-bpe"]), True, "llama-bpe"),
    ],
)
def test_a_pre_tokenizer_is_named_as_it_splits(pre: Any, ignore_merges: bool, name: str) -> None:
    tokenizer = wrapped(pre, ignore_merges)
    vocabulary = vocabulary_of(tokenizer, len(tokenizer.hugging) + 2, (tokenizer.eos_id, 0))
    assert (vocabulary.pre, vocabulary.eot_id, vocabulary.tokens[-1], vocabulary.types[-1]) == (
        name, 0, f"[PAD{len(tokenizer.hugging) + 1}]", 5,
    )  # fmt: skip
    for text in (*PROMPTS, "<|im_start|>user 12345<|im_end|>"):
        assert backend_of(vocabulary).encode(text).ids == tokenizer.pieces(text)[0]


@pytest.mark.parametrize(
    ("pre", "ignore_merges"),
    [
        (byte_level(False), False),
        (split(r"\w+|\W+"), False),
        (split(SPLITS["llama-bpe"]), False),
        (pre_tokenizers.ByteLevel(add_prefix_space=True), False),
    ],
)
def test_a_split_without_a_name_is_refused_and_not_guessed(pre: Any, ignore_merges: bool) -> None:
    with pytest.raises(ModelError, match="no name") as error:
        vocabulary_of(wrapped(pre, ignore_merges), 400, (3,))
    assert error.value.code == "tokenizer_not_in_gguf"


@pytest.mark.parametrize(("dtype", "task"), [("fp32", "chat"), ("bf16", "complete"), ("f16", "chat")])
def test_a_merged_folder_is_a_model_of_transformers_alone(run: Make, tmp_path: Path, dtype: str, task: str) -> None:
    folder = run("llama", task=task)
    result = export(folder, "merged", tmp_path / "out", dtype=dtype)
    with quiet():
        plain = AutoModelForCausalLM.from_pretrained(result.path)
        tokenizer = AutoTokenizer.from_pretrained(result.path)
    stored = {"fp32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]
    assert plain.dtype == stored
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert 3 in plain.generation_config.eos_token_id
    for name, weight in tuned_weights(folder).items():
        assert torch.equal(plain.state_dict()[name], weight.to(stored)), name
    row = rows(result)[-1]
    assert row["kept"] == pytest.approx(1, abs=0.05)
    assert load_causal_run(result.path)[2]["layout"] == "transformers"
    assert result.size == sum(item.stat().st_size for item in result.path.iterdir())


def test_an_adapter_is_the_peft_folder_with_its_tokenizer(run: Make, tmp_path: Path) -> None:
    for method in (LORA, {"kind": "ia3"}, {"kind": "prefix", "tokens": 3}):
        folder = run("llama", method)
        result = export(folder, "adapter", tmp_path / method["kind"])
        names = {item.name for item in result.path.iterdir()}
        assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
        assert not {"model.safetensors", "luthier.json"} & names
        base = json.loads((result.path / "adapter_config.json").read_text())["base_model_name_or_path"]
        with quiet():
            model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), result.path).eval()
        ids = torch.arange(4, 20).unsqueeze(0)
        source = CausalSource(folder / "model")
        with torch.no_grad():
            found = model(input_ids=ids).logits[0].numpy()
        np.testing.assert_allclose(found, source.answers(ids.tolist())[0], atol=1e-5)


def test_forms_that_a_run_has_not_are_refused(run: Make, tmp_path: Path) -> None:
    full = run("llama", {"kind": "full"})
    with pytest.raises(ModelError, match="no PEFT adapter") as error:
        export(full, "adapter", tmp_path / "out")
    assert error.value.code == "no_adapter"
    with pytest.raises(ModelError, match="cannot be merged"):
        export(run("llama", {"kind": "prefix", "tokens": 3}), "gguf", tmp_path / "out")
    with pytest.raises(ModelError, match="'gpt2'"):
        export(run("gpt2", n_inner=64), "gguf", tmp_path / "out")
    with pytest.raises(ModelError, match="for encoders"):
        export(full, "onnx", tmp_path / "out")
    with pytest.raises(UsageError, match="not written in q8_0"):
        export(full, "merged", tmp_path / "out", dtype="q8_0")
    with pytest.raises(UsageError, match="'gguf'"):
        export(full, "ggfu", tmp_path / "out")
    assert not list(tmp_path.iterdir())
    assert rows(export(full, "gguf", tmp_path / "out"))[-1]["kept"] is None


def test_a_form_that_answers_differently_is_not_published(
    run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A3: queries and keys written in transformers' order, which loads everywhere and answers nonsense."""
    out = tmp_path / "out"
    export(run("llama"), "gguf", out)
    before = (out / "model-f16.gguf").read_bytes()
    monkeypatch.setattr(gguf_form, "to_gguf", lambda name, weight, config: _unmoved(name, weight, config))
    with pytest.raises(ModelError, match="answers differently") as error:
        export(run("llama"), "gguf", out)
    assert error.value.code == "parity"
    assert (out / "model-f16.gguf").read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["out"]


def _unmoved(name: str, weight: Any, config: Any) -> tuple[str, Any]:
    from luthier.models.export_forms.gguf_layout import to_gguf

    moved, _ = to_gguf(name, weight, config)
    return moved, weight


def test_an_export_that_lost_the_tune_is_not_published(
    run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1: the folder holds the base."""
    folder = run("llama")
    base = json.loads((folder / "model" / "adapter_config.json").read_text())["base_model_name_or_path"]
    monkeypatch.setattr(merged_form, "read_causal", lambda path: AutoModelForCausalLM.from_pretrained(base).eval())
    with pytest.raises(ModelError, match="0% of the tune is left"):
        export(folder, "merged", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_small_tune_that_rounding_ate_is_refused_within_every_other_limit() -> None:
    generator = np.random.default_rng(0)
    untuned = [generator.normal(size=(9, 50)).astype(np.float32)]
    tuned = [untuned[0] + 1e-6 * generator.normal(size=(9, 50)).astype(np.float32)]
    row = compare("merged bf16", "a reader", tuned, untuned, "bf16", untuned)
    assert row.difference < 1e-5
    assert (row.agreement, row.kept, row.ok) == (1.0, 0.0, False)
    with pytest.raises(ModelError, match="0% of the tune"):
        refuse([row])
    assert compare("same", "a reader", tuned, tuned, "fp32", untuned).kept == pytest.approx(1)


def test_answers_that_are_no_numbers_or_of_another_shape_are_refused() -> None:
    tuned = [np.ones((2, 3), dtype=np.float32), np.eye(3, dtype=np.float32)]
    broken = [tuned[0], np.full((3, 3), np.nan, dtype=np.float32)]
    row = compare("x", "y", tuned, broken, "q8_0")
    assert not row.ok
    assert row.to_dict()["difference"] is None
    with pytest.raises(ModelError, match="shape"):
        compare("x", "y", tuned, [tuned[0], tuned[0]], "q8_0")


def test_a_bundle_whose_tokenizer_reads_otherwise_is_not_published(
    run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A4: the tokenizer of the bundle is loaded again at save time."""
    folder, save = run("llama"), HuggingChatTokenizer.save

    def lose_the_template(self: HuggingChatTokenizer, bundle: Path) -> None:
        save(self, bundle)
        (bundle / "chat_template.jinja").unlink()

    monkeypatch.setattr(HuggingChatTokenizer, "save", lose_the_template)
    for form in ("merged", "adapter"):
        with pytest.raises(ModelError, match="tokenizer") as error:
            export(folder, form, tmp_path / "out")
        assert error.value.code == "tokenizer_differs"
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_things_is_not_replaced(run: Make, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else") as error:
        export(run("llama"), "adapter", tmp_path)
    assert error.value.code == "out_exists"
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    export(run("llama"), "adapter", tmp_path / "new")
    export(run("llama"), "adapter", tmp_path / "new", prompts=["hello"])
    assert json.loads((tmp_path / "new" / PARITY_JSON).read_text())["prompts"] == ["hello"]
    with pytest.raises(UsageError, match="needs prompts"):
        export(run("llama"), "adapter", tmp_path / "new", prompts=[])


def test_llama_cpp_gives_the_same_answers(run: Make, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    for family in ("llama", "qwen2", "qwen3"):
        assert "llama-cpp" in rows(export(run(family), "gguf", tmp_path / family))[-1]["reader"]
