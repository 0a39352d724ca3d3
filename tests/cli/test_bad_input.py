"""What people get wrong, against the real thing: one paragraph, the right exit code, no traceback."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

WORDS = [
    "red",
    "green",
    "blue",
    "small",
    "large",
    "old",
    "new",
    "warm",
    "cold",
    "quick",
    "slow",
    "calm",
    "loud",
    "soft",
    "round",
    "square",
    "flat",
    "deep",
]
SPANS = [{"start": 0, "end": 5, "label": "A"}, {"start": 3, "end": 8, "label": "B"}]
FILES: dict[str, bytes] = {
    "good.csv": b"text,label\n"
    + "".join(f"the {word} cup is {mood},{mood}\n" for word in WORDS for mood in ("fine", "broken")).encode(),
    "empty.csv": b"",
    "header.csv": b"text,label\n",
    "binary.csv": bytes(range(256)) * 40,
    "latin.csv": "text,label\ncafé,a\nthé,b\n".encode("latin-1"),
    "utf16.csv": "text,label\ncafé,a\n".encode("utf-16"),
    "long.csv": b"text,label\n" + b"a " * 2_600_000 + b",pos\nshort,neg\n",
    "one.csv": b"text,label\n" + b"".join(b"text %d,a\n" % number for number in range(10)),
    "other.csv": b"text,label\nsome words of a test,other\n",
    "nan.csv": b"text,score\nab,1\ncd,nan\nef,2.5\n",
    "over.jsonl": json.dumps({"text": "ab cd ef", "spans": SPANS}).encode() + b"\n",
    "columns.csv": b"first,second,third\nfoo,bar,baz\n",
    "broken.jsonl": b'{"text": "a", "label": "b"}\n{"text": \n',
    "recipe.yaml": b"data: good.csv\nmethod: head\ntrain: {epochs: 1}\nevaluate: {baselines: [majority]}\n",
}


def fill(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()


@pytest.fixture
def files(here):
    fill(here)
    return here


def paragraph(result, code: int) -> str:
    """The error, which is one line on stderr, with nothing on stdout."""
    assert result.code == code, result.err
    assert result.out == ""
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.err
    assert "Traceback" not in result.err
    assert "fault of Luthier" not in result.err
    return errors[0]


UNREADABLE = [
    ("missing.csv", "there is no such file"),
    ("empty.csv", "this file is empty"),
    ("header.csv", "header (text, label) but no rows"),
    ("binary.csv", "binary file"),
    ("latin.csv", "latin.csv:2: this line is not UTF-8"),
    ("utf16.csv", "UTF-16"),
    ("folder", "no data files"),
]
UNUSABLE = [
    ("long.csv", "line_too_long", 2, "the limit is 4,194,304"),
    ("one.csv", "one_class", 0, "only one class, 'a'"),
    ("nan.csv", "bad_score", 3, "only finite numbers"),
    ("over.jsonl", "overlapping_spans", 1, "overlap"),
    ("broken.jsonl", "not_json", 2, "this is not JSON"),
]


@pytest.mark.parametrize(("name", "said"), UNREADABLE)
def test_data_that_cannot_be_read(name, said, files, luthier):
    assert said in paragraph(luthier("check", name), 1)
    assert said in paragraph(luthier("train", "--data", name, "--method", "head"), 1)
    result = luthier("check", name, "--json")
    assert result.code == 1
    report = json.loads(result.out)
    assert (report["ok"], report["rows"], report["stats"]) == (False, 0, {})
    (finding,) = report["findings"]
    assert {"line", "code", "severity", "message", "remedy"} <= set(finding)
    assert (finding["severity"], bool(finding["remedy"])) == ("error", True)
    assert finding["line"] == {"latin.csv": 2, "utf16.csv": 1}.get(name, 0)


@pytest.mark.parametrize(("name", "code", "line", "said"), UNUSABLE)
def test_rows_that_cannot_be_used(name, code, line, said, files, luthier):
    result = luthier("check", name, "--json")
    assert result.code == 1
    found = [item for item in json.loads(result.out)["findings"] if item["severity"] == "error"]
    assert code in [item["code"] for item in found]
    assert line in [item["line"] for item in found if item["code"] == code]
    assert said in paragraph(luthier("train", "--data", name, "--method", "head"), 1)


def test_a_label_only_in_test(files, luthier):
    result = luthier("check", "good.csv", "--test", "other.csv", "--json")
    assert result.code == 1
    assert "other" in json.dumps([item for item in json.loads(result.out)["findings"] if item["severity"] == "error"])
    assert "'other'" in paragraph(luthier("train", "recipe.yaml", "--test", "other.csv"), 1)


def test_a_missing_column_names_those_that_are_there(files, luthier):
    said = paragraph(luthier("check", "good.csv", "--columns", "label=stars"), 1)
    assert "'text', 'label'" in said
    assert "'first', 'second', 'third'" in paragraph(luthier("train", "--data", "columns.csv", "--task", "regress"), 1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["trian"], 2, "'train'"),
        ([], 2, "a verb is missing"),
        (["train"], 2, "nothing to learn from"),
        (["train", "none.yaml"], 2, "no such recipe file"),
        (["train", "good.csv"], 2, "a recipe is a mapping"),
        (["train", "recipe.yaml", "--methd", "lora"], 2, "--method"),
        (["train", "recipe.yaml", "--method", "loar"], 2, "'lora'"),
        (["train", "recipe.yaml", "--task", "clasify"], 2, "'classify'"),
        (["train", "recipe.yaml", "--set", "train.epoch=3"], 2, "'epochs'"),
        (["train", "recipe.yaml", "--set", "train.epochs"], 2, "key.path=value"),
        (["train", "recipe.yaml", "--set", "train.learning_rate=.nan"], 2, "train.learning_rate"),
        (["train", "recipe.yaml", "--validation", "1.5"], 2, "data.validation"),
        (["train", "recipe.yaml", "--columns", "label"], 2, "ROLE=COLUMN"),
        (["train", "recipe.yaml", "--task", "regress"], 1, "no score column"),
        (["train", "recipe.yaml", "--set", "train.max_length=9999"], 2, "at most"),
        (["train", "recipe.yaml", "--task", "classify", "--set", "evaluate.metrics=[acuracy]"], 2, "accuracy"),
        (["train", "recipe.yaml", "--model", "minillm"], 1, "'minilm'"),
        (["train", "recipe.yaml", "--model", "./nowhere"], 1, "no such model folder"),
        (["train", "recipe.yaml", "--model", "folder"], 1, "no config.json"),
        (["train", "recipe.yaml", "--out", "good.csv"], 1, "a file stands where a folder is needed"),
        (["train", "--resume", "folder"], 1, "there is no run here"),
        (["train", "--resume", "folder", "--method", "lora"], 2, "--resume"),
        (["predict", "folder", "x"], 1, "no trained model here"),
        (["predict", "folder", "x", "--threshold", "7"], 2, "from 0 to 1"),
        (["predict", "folder"], 2, "nothing to answer"),
        (["eval", "folder"], 2, "--data"),
        (["eval", "minilm", "--data", "good.csv"], 2, "--train"),
        (["runs", "show", "folder"], 1, "there is no run here"),
        (["models", "show", "minlm"], 1, "'minilm'"),
    ],
)
def test_commands_that_cannot_be(words, code, said, files, luthier):
    result = luthier(*words)
    if words:
        assert said in paragraph(result, code)
    else:
        assert (result.code, said in result.err) == (code, True)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(files, luthier):
    (files / "folder").chmod(0o500)
    assert "no permission" in paragraph(luthier("train", "recipe.yaml", "--out", "folder/runs"), 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run: one epoch of a linear head."""
    from luthier import api
    from luthier.core.recipe import Recipe

    folder = tmp_path_factory.mktemp("trained")
    fill(folder)
    recipe = Recipe.from_yaml(folder / "recipe.yaml", ["out=" + str(folder / "runs")])
    return api.train(recipe).path


@pytest.fixture
def run(trained, files):
    """A copy of the run that a test may break."""
    return Path(shutil.copytree(trained, files / "run"))


def test_a_finished_run_can_be_resumed_and_gives_the_same(run, luthier):
    before = json.loads((run / "report.json").read_text(encoding="utf-8"))["metrics"]
    result = luthier("train", "--resume", run, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["metrics"] == {name: cell["value"] for name, cell in before.items()}
    assert "'method'" in paragraph(luthier("train", "--resume", run, "--set", "method=lora"), 2)


def test_an_unfinished_run_says_how_to_go_on(run, luthier):
    shutil.rmtree(run / "model")
    (run / "report.json").unlink()
    assert "luthier train --resume" in paragraph(luthier("predict", run, "x"), 1)
    assert "luthier train --resume" in paragraph(luthier("eval", run, "--data", "good.csv"), 1)


def test_a_model_without_its_weights(run, luthier):
    for path in run.rglob("*.safetensors"):
        path.unlink()
    assert str(run / "model") in paragraph(luthier("predict", run, "x"), 1)


def test_a_model_whose_settings_are_torn(run, luthier):
    (run / "model" / "luthier.json").write_text('{"format"', encoding="utf-8")
    assert "luthier.json" in paragraph(luthier("predict", run, "x"), 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.csv", "no such file"),
        ("empty.csv", "empty"),
        ("columns.csv", "'first', 'second', 'third'"),
        ("latin.csv", "UTF-8"),
    ],
)
def test_questions_that_cannot_be_read(name, said, run, luthier):
    assert said in paragraph(luthier("predict", run, "--file", name), 1)


def test_judging_for_another_task(run, luthier):
    assert "trained for classify" in paragraph(luthier("eval", run, "--data", "good.csv", "--task", "regress"), 2)
