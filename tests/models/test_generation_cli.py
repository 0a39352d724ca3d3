"""The whole way: a saved run, `luthier predict` and `luthier chat`, the model's own answers."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from tiny_causal import tiny_causal
from tiny_tuned import tiny_tuned

import luthier
from luthier.cli.main import main
from luthier.core.generation import Sampling
from luthier.models.language_predictor import LanguageModel

SHORT = Sampling(max_tokens=6)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    tiny_tuned(base, folder / "model", {"kind": "lora", "rank": 4})
    return folder


def test_predict_answers_a_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = ["Where is my parcel?", "thank you", "ok"]
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "!"}]} for text in questions
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main(["predict", str(run), "--file", str(data), "--max-tokens", "6"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    model = luthier.load(run)
    assert isinstance(model, LanguageModel)
    assert [row["output"] for row in found] == [answer.text for answer in model.generate(questions, SHORT)]
    assert [row["input"] for row in found] == [row["messages"][:1] for row in rows]


def test_chat_keeps_the_conversation(
    base: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (run, base):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ok\nthank you\n"), encoding="utf-8"))
        assert main(["chat", str(name), "--temperature", "0", "--max-tokens", "6", "--json"]) == 0
        first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
        model = LanguageModel.load(run) if name == run else LanguageModel.load_base(str(base))
        turns = [{"role": "user", "content": "ok"}]
        assert first["output"] == model.chat(turns, max_tokens=6).text
        turns += [{"role": "assistant", "content": first["output"]}, {"role": "user", "content": "thank you"}]
        assert second["output"] == model.chat(turns, max_tokens=6).text


def test_a_prompt_that_does_not_fit_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), "a b c " * 200]) == 2
    error = capsys.readouterr().err
    assert "context of 256" in error
    assert "Traceback" not in error
