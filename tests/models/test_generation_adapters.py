"""Several adapters in one batch answer as each of them does alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_causal import tiny_causal
from tiny_tuned import tiny_tuned

from luthier.core.errors import ModelError, UsageError
from luthier.core.generation import Sampling
from luthier.models.generation import AdapterPool
from luthier.models.language_predictor import LanguageModel

SAMPLING = Sampling(max_tokens=8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tuned")
    some = {"kind": "lora", "rank": 2, "targets": ["q_proj", "down_proj"]}
    return {
        "one": tiny_tuned(base, root / "one", {"kind": "lora", "rank": 4}, seed=1),
        "two": tiny_tuned(base, root / "two", some, seed=2, task="complete"),
    }


def test_each_answers_as_alone(base: Path, tuned: dict[str, Path]) -> None:
    pool = AdapterPool(base, tuned, rows=4)
    assert pool.names == ("one", "two")
    prompts = ["Where is my parcel?", "thank you", "ok"]
    asked = [(prompt, name) for prompt in prompts for name in ("one", None, "two")]
    found = pool.generate([prompt for prompt, _ in asked], [name for _, name in asked], SAMPLING)
    alone = {
        None: LanguageModel.load_base(str(base)),
        **{name: LanguageModel.load(folder) for name, folder in tuned.items()},
    }
    for name, model in alone.items():
        expected = model.generate(prompts, SAMPLING)
        assert [answer for answer, (_, own) in zip(found, asked, strict=True) if own == name] == expected
    assert len({answer.text for answer in found[:3]}) == 3, "the adapters change nothing"
    texts = [""] * len(asked)
    for piece in pool.stream_pieces([prompt for prompt, _ in asked], [name for _, name in asked], SAMPLING):
        texts[piece.index] += piece.text
    assert texts == [answer.text for answer in found]


def test_what_cannot_be_mixed_is_refused(base: Path, tuned: dict[str, Path], tmp_path: Path) -> None:
    other = tiny_causal(tmp_path / "other", "qwen2")
    dora = tiny_tuned(base, tmp_path / "dora", {"kind": "lora", "rank": 2, "dora": True})
    for place, folder, code in ((other, tuned["one"], "base_changed"), (base, dora, "not_poolable")):
        with pytest.raises(ModelError) as caught:
            AdapterPool(place, {"x": folder})
        assert caught.value.code == code
    pool = AdapterPool(base, tuned)
    with pytest.raises(UsageError, match="Did you mean 'two'"):
        pool.generate(["a"], ["tow"])
