"""A real run, mirrored by the real package of Weights & Biases, which writes it into a file while it is offline."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.core.recipe_io import read_yaml
from luthier.tracking.mirror import final_metrics, parameters_of

sys.path.append(str(Path(__file__).resolve().parents[1] / "train"))
from toy import save_toy_base

_BLOCK, _HEAD = 32_768, 7
"""Bytes of a block of the log and of a record's head; the file begins with seven bytes of its own."""
_WHOLE, _LAST = 1, 4


def records(path: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log, in which a record may be cut at the end of a block."""
    content, at, part = path.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while at + _HEAD <= len(content):
        if (left := _BLOCK - at % _BLOCK) < _HEAD:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + _HEAD])
        part += content[at + _HEAD : at + _HEAD + size]
        at += _HEAD + size
        if kind in (_WHOLE, _LAST):
            yield part
            part = b""


def told(items: Any) -> dict[str, Any]:
    """wandb's lists of keys and JSON as a mapping, without its own keys."""
    found = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
    return {name: value for name, value in found.items() if not name.startswith("_")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the command line, mirrored."""
    pytest.importorskip("wandb", reason="needs the package wandb: pip install 'luthier[wandb]'")
    place = tmp_path_factory.mktemp("wandb")
    save_toy_base(place / "base")
    words = {"praise": "good great fine", "complaint": "late bad poor"}
    rows = [
        f"the parcel was {text.split()[n % 3]} on day {n},{label}" for n in range(30) for label, text in words.items()
    ]
    (place / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    settings = ["train.epochs=2", "track.wandb.project=letters", "track.wandb.tags=[a, b]"]
    done = subprocess.run(
        [sys.executable, "-m", "luthier", "train", "--data", "rows.csv", "--model", str(place / "base"),
         "--out", "runs", *(word for one in settings for word in ("--set", one))],
        cwd=place, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"WANDB_MODE": "offline", "HOME": str(place), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Mirrored to Weights & Biases: " in done.stdout + done.stderr
    [found] = (place / "runs").iterdir()
    return found


@pytest.fixture(scope="module")
def written(run: Path) -> dict[str, list[Any]]:
    """What wandb wrote, by kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from wandb.proto import wandb_internal_pb2

    [path] = run.glob("wandb/offline-run-*/*.wandb")
    found: dict[str, list[Any]] = {}
    for content in records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        found.setdefault(kind, []).append(getattr(record, kind))
    return found


def test_wandb_has_the_parameters_of_the_run(run: Path, written: dict[str, list[Any]]) -> None:
    [about] = written["run"]
    assert (about.project, about.display_name, list(about.tags)) == ("letters", run.name, ["a", "b"])
    assert told(about.config.update) == parameters_of(read_yaml(run / "recipe.yaml"))


def test_wandb_has_every_step_and_the_judged_metrics(run: Path, written: dict[str, list[Any]]) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = {line["step"]: line for line in lines if line["kind"] == "step"}
    told_steps = {one.step.num: told(one.item) for one in written["history"]}
    assert {n: one["train_loss"] for n, one in told_steps.items()} == {n: one["loss"] for n, one in steps.items()}
    evaluations = {line["step"]: line["validation_loss"] for line in lines if line["kind"] == "evaluation"}
    assert len(evaluations) == 2
    assert {n: one["validation_loss"] for n, one in told_steps.items() if "validation_loss" in one} == evaluations
    summary: dict[str, Any] = {}
    for one in written["summary"]:
        summary |= told(one.update)
    judged = final_metrics(json.loads((run / "report.json").read_text()))
    assert {name: summary[name] for name in judged} == judged
    assert [one.exit_code for one in written["exit"]] == [0]


def test_wandb_has_the_model_and_the_report_and_nothing_that_was_printed(
    run: Path, written: dict[str, list[Any]]
) -> None:
    [artefact] = written["artifact"]
    digests = {one.path: one.digest for one in artefact.manifest.contents}
    assert {"model/model.safetensors", "model/tokenizer.json", "report.html", "recipe.yaml"} <= set(digests)
    for name, digest in digests.items():
        content = (run / name).read_bytes()
        assert base64.b64encode(hashlib.md5(content).digest()).decode() == digest, name
    assert "output_raw" not in written
    assert not list(run.glob("wandb/*/files/output.log"))
    assert not [path for path in run.parents[1].rglob("staging/*") if path.is_file()], "no second copy of the model"
