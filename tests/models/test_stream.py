"""The stream encoder gives what the stock model gives, logits and every gradient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bases
import torch
from torch import Tensor
from transformers import AutoModel, ElectraConfig

from luthier.core.recipe import Recipe
from luthier.data.samples import Sample, Span
from luthier.data.tokens import TargetCoder, TokenTable, encode_samples
from luthier.models import methods, stream_attention
from luthier.models.base_source import BaseSource, from_folder
from luthier.models.build import build
from luthier.models.stream import supports
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import load_tokenizer
from luthier.train.collate import collate
from luthier.train.forward import Forward
from luthier.train.step import StepRunner
from luthier.train.tasks import make_task

UNEQUAL = ["the parcel came", "ok", "I cannot log in to my account anymore", "wonderful service, thank you"]
EQUAL = ["ok ok ok", "the the ok", "ok my the", "ok in my"]
PAIRS: list[Any] = [("ok", "the parcel"), ("please send me", "ok"), ("the", "account"), ("my ok the", "in my")]


@pytest.fixture(scope="module")
def bases(base: Callable[[str], BaseSource], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], BaseSource]:
    """ELECTRA as its base and large sizes are: embeddings as wide as the layers."""
    made: list[BaseSource] = []

    def get(family: str) -> BaseSource:
        if family != "electra":
            return base(family)
        if not made:
            folder = tmp_path_factory.mktemp("electra-wide")
            tiny_bases.save_base("electra", folder)  # for its tokenizer
            size = len(load_tokenizer(folder).hugging)
            with torch.random.fork_rng():
                torch.manual_seed(5)
                config = ElectraConfig(
                    **tiny_bases.SHAPE, vocab_size=size, max_position_embeddings=64, embedding_size=32
                )
                model = AutoModel.from_config(config)
                for parameter in model.parameters():
                    parameter.data.add_(torch.randn_like(parameter) * 0.05)
            with tiny_bases.quiet():
                model.save_pretrained(folder)
            made.append(from_folder(folder, name=str(folder)))
        return made[0]

    return get


def make(
    source: BaseSource, *, task: str = "classify", pooling: str = "mean", method: Any = "full", freeze: Any = None,
    texts: list[Any] = UNEQUAL, **options: Any,
) -> tuple[TaskModel, TokenTable, Any]:  # fmt: skip
    recipe = Recipe.build({"data": "none", "method": method, "freeze": freeze or {}})
    labels = ("a", "b", "c") if task == "classify" else ("x", "y")
    model = build(
        source, task=task, labels=labels, pooling="stock" if task == "extract" else pooling, dropout=0.0,
        **{"encoder_dropout": 0.0, **options},
    )  # fmt: skip
    methods.apply(model, recipe.method, recipe.freeze)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero when fresh, which would hide the gradient of A
                parameter.add_(torch.randn_like(parameter) * 0.1)
    targets: list[Any] = {
        "classify": ["a", "b", "c", "a"],
        "regress": [(1.0, 2.0), (3.0, 0.0), (0.5, 1.0), (2.0, 2.5)],
        "extract": [(Span(0, 2, "x"),), (), (Span(0, 1, "y"),), (Span(0, 3, "x"),)],
    }[task]
    data = [
        Sample(text, None, target) if isinstance(text, str) else Sample(*text, target)
        for text, target in zip(texts, targets, strict=True)
    ]
    coder = TargetCoder.fit(task, labels, False, data)
    table = encode_samples(data, load_tokenizer(source.path), coder, max_length=40)
    return model, table, make_task(coder, table, "none")


def outcome(
    model: TaskModel, table: TokenTable, task: Any, *, stream: bool
) -> tuple[Tensor, dict[str, Tensor], Forward]:
    """Logits and gradients of one batch of all rows."""
    model.train()
    for parameter in model.parameters():
        parameter.grad = None
    pad = int(model.config.pad_token_id)
    forward = Forward(model, pad, stream=stream)
    assert forward.way == ("stream" if stream else "padded")
    forward.train_used_words_only(table)
    runner = StepRunner(forward, task, batch_size=8, max_tokens=4096)
    batch = collate(table, np.arange(len(table)), task.per_token)
    logits = forward(batch).detach()
    loss = runner.backward([batch])
    assert np.isfinite(loss)
    gradients = {name: p.grad.clone() for name, p in runner.named() if p.grad is not None}
    assert gradients.keys() == {name for name, _ in runner.named()}, "a trained tensor got no gradient"
    return logits, gradients, forward


def compare(model: TaskModel, table: TokenTable, task: Any) -> None:
    logits, found, forward = outcome(model, table, task, stream=True)
    stock, wanted, _ = outcome(model, table, task, stream=False)
    torch.testing.assert_close(logits, stock, rtol=1e-4, atol=1e-5)
    assert found.keys() == wanted.keys()
    largest = max(float(g.abs().max()) for g in wanted.values())
    for name, gradient in wanted.items():
        ours = found[name]
        if forward.vocabulary is not None and ours.shape != gradient.shape:
            assert name.endswith("word_embeddings.weight")
            unused = torch.ones(len(gradient), dtype=torch.bool)
            unused[forward.vocabulary.used] = False
            assert not gradient[unused].any(), "the stock model moved a word that is not used"
            gradient = gradient[forward.vocabulary.used]
        torch.testing.assert_close(ours, gradient, rtol=2e-4, atol=2e-6 * largest, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("pooling", ["mean", "first", "stock"])
def test_every_family_and_pooling(bases: Any, family: str, pooling: str) -> None:
    compare(*make(bases(family), pooling=pooling))


@pytest.mark.parametrize(
    ("method", "freeze"),
    [
        ("full", {}),
        ("full", {"embeddings": True}),
        ("full", {"layers": 1}),
        ("full", {"layers": 2}),
        ("full", {"layers": 3}),
        ("head", {}),
        ("bitfit", {}),
        ("bitfit", {"layers": 1}),
        ({"kind": "lora", "rank": 4}, {}),
        ({"kind": "lora", "rank": 4, "rslora": True}, {"layers": 2}),
        ({"kind": "lora", "rank": 4, "targets": ["query", "value"]}, {}),
        ({"kind": "lora", "rank": 4, "targets": ["output.dense"]}, {"layers": 1}),
    ],
)
@pytest.mark.parametrize("texts", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_every_method(bases: Any, method: Any, freeze: Any, texts: list[str]) -> None:
    compare(*make(bases("bert"), method=method, freeze=freeze, texts=texts))


@pytest.mark.parametrize("task", ["regress", "extract"])
@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_other_tasks(bases: Any, task: str, method: str) -> None:
    compare(*make(bases("bert"), task=task, method=method))


def test_pairs_with_type_ids(bases: Any) -> None:
    model, table, task = make(bases("bert"), texts=PAIRS)
    assert table.types.any(), "the second text must be marked"
    compare(model, table, task)


def test_equal_rows_are_equally_long_and_unequal_are_not(bases: Any) -> None:
    """Else the parametrisation above tests one path twice."""
    assert len(set(make(bases("bert"), texts=EQUAL)[1].lengths)) == 1
    assert len(set(make(bases("bert"), texts=UNEQUAL)[1].lengths)) > 1


@pytest.mark.parametrize("texts", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("rows", [1, 3])
def test_probabilities_computed_again(bases: Any, monkeypatch: pytest.MonkeyPatch, texts: list[str], rows: int) -> None:
    model, table, task = make(bases("bert"), texts=texts)
    longest = int(table.lengths.max())
    monkeypatch.setattr(stream_attention, "KEEP_BYTES", rows * 4 * 4 * longest * longest)
    kept: list[bool] = []
    real = stream_attention.attention_forward

    def spy(*args: Any) -> Any:
        result = real(*args)
        kept.append(result[2] is not None)
        return result

    monkeypatch.setattr("luthier.models.stream.attention_forward", spy)
    compare(model, table, task)
    assert kept
    assert not any(kept)


def test_same_inputs_same_bits(bases: Any) -> None:
    model, table, task = make(bases("bert"))
    first, second = outcome(model, table, task, stream=True), outcome(model, table, task, stream=True)
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


def test_the_rows_around_change_nothing(bases: Any) -> None:
    """Neighbours in a stream do not see each other (torchtune#892)."""
    model, table, _ = make(bases("bert"))
    forward = Forward(model.eval(), 0)
    with torch.no_grad():
        together = forward(collate(table, np.arange(4), False))
        for row in range(4):
            alone = forward(collate(table, np.array([row]), False))
            torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("bert", {"encoder_dropout": 0.1}),
        ("bert", {"method": {"kind": "lora", "dora": True}}),
        ("bert", {"method": {"kind": "lora", "dropout": 0.1}}),
        ("bert", {"method": "adapter"}),
        ("bert", {"method": "ia3"}),
        ("bert", {"method": "prefix"}),
        ("bert", {"precision": "bf16"}),
        ("distilbert", {}),
        ("mpnet", {}),
        ("modernbert", {}),
        ("deberta-v2", {}),
    ],
)
def test_what_it_does_not_compute_exactly_it_refuses(bases: Any, family: str, options: dict[str, Any]) -> None:
    model, *_ = make(bases(family), **options)
    assert not supports(model)
    assert Forward(model, 0).way == "padded"


def test_narrow_embeddings_and_other_activations_are_refused(base: Callable[[str], BaseSource], tmp_path: Path) -> None:
    assert not supports(make(base("electra"))[0])
    model, *_ = make(base("bert"))
    assert supports(model)
    model.config.hidden_act = "relu"
    assert not supports(model)
