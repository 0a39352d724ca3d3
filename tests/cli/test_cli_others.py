"""check, eval, models, runs and doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_check_json_and_exit_code(ok, code, api, luthier, data_csv):
    api.ok = ok
    result = luthier("check", data_csv, "--test", "t.csv", "--columns", "label=label", "--json")
    assert result.code == code
    assert set(json.loads(result.out)) == {"ok", "task", "rows", "findings", "stats"}
    ((_, asked),) = api.calls
    assert (asked["data"], asked["test"], asked["columns"]) == (str(data_csv), "t.csv", {"label": "label"})


def test_eval_asks_and_prints_json(api, luthier, here):
    result = luthier("eval", "minilm", "--data", "a.csv", "--data", "b.csv", "--train", "t.csv", "--json")
    value = json.loads(result.out)
    assert value["rows"] == 120
    assert value["metrics"]["accuracy"] == {"value": 0.934, "low": 0.921, "high": 0.946}
    ((_, asked),) = api.calls
    assert (asked["model"], asked["data"], asked["train"]) == ("minilm", ["a.csv", "b.csv"], "t.csv")


def test_eval_for_people(api, luthier, here):
    result = luthier("eval", "runs/a", "--data", "a.csv")
    assert result.code == 0
    assert "accuracy  0.934 [0.921, 0.946]" in result.out
    assert "120 rows" in result.out
    assert "train" not in api.calls[0][1]


def test_eval_by_group_and_with_swaps(api, luthier, here):
    luthier("eval", "runs/a", "--data", "a.csv", "--group", "region", "--group", "age")
    luthier("eval", "runs/a", "--data", "a.csv", "--swaps", "mine.yaml")
    luthier("eval", "runs/a", "--data", "a.csv")
    asked = [call.get("fairness") for _, call in api.calls]
    assert (asked[0].group, asked[0].swaps) == (["region", "age"], "auto")
    assert (asked[1].group, asked[1].swaps) == ([], "mine.yaml")
    assert asked[2] is None


def test_models_are_listed_and_shown(luthier):
    names = [item["name"] for item in json.loads(luthier("models", "--json").out)["models"]]
    assert "minilm" in names
    shown = luthier("models", "show", "minilm")
    assert "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" in shown.out
    for words in (("models", "show", "minilm", "--json"), ("models", "--json", "show", "minilm")):
        assert json.loads(luthier(*words).out)["licence"] == "Apache-2.0"


def test_an_unknown_model_names_the_nearest(luthier):
    result = luthier("models", "show", "minillm")
    assert result.code == 1
    assert "'minilm'" in result.err


def test_no_runs_yet(luthier, here):
    assert json.loads(luthier("runs", "--json").out) == {"runs": []}
    assert "no runs" in luthier("runs").err


@pytest.fixture
def two_runs(api, luthier, data_csv):
    for out in ("a", "b"):
        luthier("train", "--model", "minilm", "--data", data_csv, "--out", out)
    return [str(Path(out) / "20260102-101500-fake") for out in ("a", "b")]


def test_runs_are_listed(two_runs, luthier):
    (row,) = json.loads(luthier("runs", "--out", "a", "--json").out)["runs"]
    assert (row["run"], row["status"], row["model"], row["method"]) == (
        two_runs[0],
        "finished",
        "minilm",
        "full",
    )
    assert row["metrics"]["accuracy"]["value"] == 0.934
    assert "0.934" in luthier("runs", "--out", "a").out


def test_one_run_is_shown_by_folder_or_name(two_runs, luthier):
    value = json.loads(luthier("runs", "show", two_runs[0], "--json").out)
    assert value["recipe"]["model"] == "minilm"
    assert value["report"]["verdict"] == "Fine-tuning pays: 0.93 against 0.13."
    assert "Fine-tuning pays" in luthier("runs", "show", "20260102-101500-fake", "--out", "b").out


def test_runs_are_compared(two_runs, luthier):
    value = json.loads(luthier("runs", "compare", *two_runs, "--json").out)
    assert [row["run"] for row in value["runs"]] == two_runs
    assert value["same_test_rows"] is True
    assert "do not rank" not in luthier("runs", "compare", *two_runs).out


def test_runs_on_other_test_rows_are_not_ranked(two_runs, luthier):
    report_json = Path(two_runs[1]) / "report.json"
    report = json.loads(report_json.read_text(encoding="utf-8"))
    report["data"] = {"test": "other"}
    report_json.write_text(json.dumps(report), encoding="utf-8")
    assert "do not rank" in luthier("runs", "compare", *two_runs).out


def test_an_interrupted_run_says_how_to_go_on(two_runs, luthier):
    run = Path(two_runs[0])
    (run / "report.json").unlink()
    (run / "checkpoints" / "step-000012").mkdir(parents=True)
    shown = luthier("runs", "show", run).out
    assert f"stopped after step 12; go on: luthier train --resume {run}" in shown


def test_a_run_that_is_not_there_names_the_nearest(two_runs, luthier):
    result = luthier("runs", "show", "a/20260102-101500-fakee")
    assert result.code == 1
    assert "20260102-101500-fake" in result.err


def test_doctor_probes_and_a_broken_probe_is_an_answer(luthier, here, monkeypatch):
    from luthier.cli import probes

    value = json.loads(luthier("doctor", "--json").out)
    states = {item["name"]: item["state"] for item in value["probes"]}
    assert {
        "python",
        "torch",
        "threads",
        "cpu",
        "gpu",
        "disk",
        "base model",
        "allocator",
        "service",
        "database",
    } <= set(states)
    assert states["torch"] == "ok"
    assert value["ok"] == ("missing" not in states.values())

    def broken() -> probes.Probe:
        raise ImportError("libtorch is not there")

    monkeypatch.setattr(probes, "torch_works", broken)
    result = luthier("doctor")
    assert result.code == 1
    assert "libtorch is not there" in result.out


def test_doctor_says_whether_the_service_can_start(monkeypatch, tmp_path):
    import socket

    from luthier.cli import service_probes

    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("LUTHIER_PORT", str(other.getsockname()[1]))
        taken = service_probes.service()
    assert taken.state == "note"
    assert "--port" in taken.remedy
    monkeypatch.setenv("LUTHIER_PORT", "0")
    assert service_probes.service().state == "ok"
    found = service_probes.database()
    assert (found.state, str(tmp_path / "home") in found.detail) == ("ok", True)
    assert not (tmp_path / "home").exists(), "a look makes nothing"
    monkeypatch.setenv("LUTHIER_PORT", "many")
    assert "LUTHIER_PORT" in service_probes.service().detail


@pytest.mark.parametrize(
    "address",
    ["postgresql+psycopg://luthier:hush-hush@127.0.0.1:1/luthier", "mysql://luthier:hush-hush@127.0.0.1/luthier"],
)
def test_doctor_names_a_database_that_cannot_be_used_without_its_password(monkeypatch, address):
    from luthier.cli import service_probes

    monkeypatch.setenv("LUTHIER_DATABASE", address)
    found = service_probes.database()
    assert found.state == "note"
    assert found.remedy
    assert "hush-hush" not in str(found)


def test_doctor_asks_a_postgres(monkeypatch, postgres_url):
    from luthier.cli import service_probes

    monkeypatch.setenv("LUTHIER_DATABASE", postgres_url)
    assert service_probes.database().state == "ok"


def test_check_shows_a_real_report_and_keeps_what_is_beyond_a_hundred(api, luthier, here, monkeypatch):
    import sys

    from luthier.data.checks.run import check

    def real(data, *, model, **options):
        return check(data, **options)

    monkeypatch.setattr(sys.modules["luthier.api"], "check", real)
    rows = ["text,label", *(f"this is text number {number} [/b],{'ab'[number % 2]}" for number in range(150))]
    (here / "data.csv").write_text("\n".join([*rows, *([",a"] * 120)]) + "\n", encoding="utf-8")
    result = luthier("check", "data.csv", "--findings", "rest.jsonl")
    assert result.code == 1
    assert "data.csv" in result.out
    assert len((here / "rest.jsonl").read_text(encoding="utf-8").splitlines()) >= 20
    shown = json.loads(luthier("check", "data.csv", "--json").out)
    assert len(shown["findings"]) == 100
    assert (here / "luthier-findings.jsonl").exists()
