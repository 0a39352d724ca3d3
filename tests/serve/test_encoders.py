"""Models that read: vectors and predictions are those of the model alone, also when several ask at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_bases import TEXTS, save_base
from transformers import AutoModel

from luthier.core.answering import ModelRef
from luthier.core.recipe import FreezeSpec, LoraMethod
from luthier.models import methods
from luthier.models.base_source import from_folder
from luthier.models.build import build
from luthier.models.export import save
from luthier.models.predictor import TunedModel
from luthier.models.tokenizer import load_tokenizer
from luthier.serve.encoders import Encoder

LABELS = ["good", "bad", "none"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base("bert", tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelRef]:
    root, found = tmp_path_factory.mktemp("tuned"), {}
    for task, labels in (("classify", LABELS), ("regress", ["stars", "length"]), ("extract", ["name"])):
        source = from_folder(base, name=str(base))
        model = build(source, task=task, labels=labels, seed=2)
        methods.apply(model, LoraMethod(kind="lora", rank=2), FreezeSpec())
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
        folder = root / task
        folder.mkdir()
        extras: dict[str, Any] = {"max_length": 24}
        if task == "regress":
            extras |= {"target_mean": [3.0, 10.0], "target_std": [1.0, 4.0]}
        save(model.eval(), load_tokenizer(base), source, folder, extras=extras)
        found[task] = ModelRef(f"ft:{task}", str(base), str(folder))
    return found


def test_predictions_are_those_of_the_model_alone(tuned: dict[str, ModelRef], engine: Any) -> None:
    asked = engine()
    for task, ref in tuned.items():
        assert asked.ask("load", ref).wait().data("end")[0]["canary"] == "passed"
        expected = TunedModel.load(str(ref.folder)).predict(TEXTS)
        several = [asked.ask("predict", ref, texts=TEXTS) for _ in range(3)]
        for said in several:
            said.wait()
            answers = said.data("prediction")
            assert [answer["index"] for answer in answers] == list(range(len(TEXTS)))
            for answer, one in zip(answers, expected, strict=True):
                if task == "extract":
                    assert [span["label"] for span in answer["spans"]] == [span.label for span in one.spans or ()]
                elif task == "classify":
                    assert answer["label"] == one.label
                    assert answer["scores"] == pytest.approx(one.scores, abs=1e-5)
                else:
                    assert answer["values"] == pytest.approx(one.values, abs=1e-4)
                    assert list(answer["scores"]) == ["stars", "length"]


def test_a_threshold_is_of_its_request_alone(tuned: dict[str, ModelRef], engine: Any) -> None:
    asked = engine()
    asked.ask("load", tuned["classify"]).wait()
    both = [asked.ask("predict", tuned["classify"], texts=TEXTS, threshold=limit) for limit in (1.0, 0.0)]
    abstained = [[one.get("abstained", False) for one in said.wait().data("prediction")] for said in both]
    assert all(abstained[0])
    assert not any(abstained[1])


def test_vectors_are_mean_pooled_and_of_length_one(base: Path, engine: Any) -> None:
    model, tokenizer = AutoModel.from_pretrained(base).eval(), load_tokenizer(base)
    said = [engine().ask("embed", ModelRef("plain", str(base)), texts=part).wait() for part in (TEXTS, TEXTS[:1])]
    for text, row in zip(TEXTS, said[0].data("embedding"), strict=True):
        ids = tokenizer.encode([text])[0].ids
        with torch.no_grad():
            mean = model(torch.tensor([ids])).last_hidden_state[0].mean(dim=0)
        torch.testing.assert_close(torch.tensor(row["values"]), mean / mean.norm(), atol=1e-5, rtol=1e-4)
        assert row["tokens"] == len(ids)


@pytest.mark.slow
def test_vectors_are_those_of_sentence_transformers(engine: Any) -> None:
    from sentence_transformers import SentenceTransformer

    from luthier.models.catalogue import locate

    ref = ModelRef("minilm", "minilm")
    texts = [*TEXTS, "word " * 400]
    asked = engine()
    said = [asked.ask("embed", ref, texts=part).wait() for part in (texts, texts[:2])]
    expected = SentenceTransformer(str(locate("minilm").path), device="cpu").encode(texts)
    for one in said:
        found = torch.tensor([row["values"] for row in one.data("embedding")])
        torch.testing.assert_close(found, torch.tensor(expected[: len(found)]), atol=1e-5, rtol=1e-4)
    assert said[0].data("embedding")[-1]["tokens"] == 256


def test_a_tuned_encoder_embeds_too(tuned: dict[str, ModelRef], engine: Any) -> None:
    said = engine().ask("embed", tuned["classify"], texts=["ok", "Wonderful service"]).wait()
    for row in said.data("embedding"):
        assert torch.tensor(row["values"]).norm() == pytest.approx(1.0, abs=1e-5)


def test_what_a_model_does_not_do(tuned: dict[str, ModelRef], base: Path, engine: Any) -> None:
    asked = engine()
    plain = ModelRef("plain", str(base))
    assert asked.ask("predict", plain, texts=["ok"]).error["code"] == "model_does_not_predict"
    for ref in (plain, tuned["classify"]):
        assert asked.write(ref).error["code"] == "model_does_not_write"


def test_a_failing_request_fails_alone(tuned: dict[str, ModelRef], engine: Any, monkeypatch: Any) -> None:
    asked = engine()
    ref = tuned["classify"]
    asked.ask("load", ref).wait()
    real = Encoder._answer

    def answer(self: Encoder, chosen: Any) -> None:
        if any("poison" in one.reading.texts for one, _ in chosen):
            raise RuntimeError("a secret text")
        real(self, chosen)

    monkeypatch.setattr(Encoder, "_answer", answer)
    good = [asked.ask("predict", ref, texts=TEXTS * 20) for _ in range(2)]
    bad = asked.ask("predict", ref, texts=["poison"])
    assert bad.error["kind"] == "internal"
    assert "secret" not in bad.error["message"]
    for said in good:
        assert len(said.wait().data("prediction")) == len(TEXTS) * 20
    assert asked.status()["active"] == 0


def test_a_lost_head_is_noticed(tuned: dict[str, ModelRef], engine: Any, tmp_path: Path) -> None:
    shutil.copytree(str(tuned["classify"].folder), tmp_path / "copy")
    weights = tmp_path / "copy" / "adapter_model.safetensors"
    save_file({name: tensor * 0 for name, tensor in load_file(weights).items()}, weights)
    ref = ModelRef("copy", tuned["classify"].base, str(tmp_path / "copy"))
    assert engine().ask("predict", ref, texts=["ok"]).error["code"] == "canary_mismatch"
