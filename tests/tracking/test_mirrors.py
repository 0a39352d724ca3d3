"""A run mirrored to MLflow, TensorBoard and Weights & Biases: everything arrives, and nothing can harm the run."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from fake_mlflow import FakeMlflow, serving

from luthier.core.errors import Interrupted, RecipeError, TrainingError
from luthier.core.events import Event
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.tracking import follow as following
from luthier.tracking.follow import Follower, follow
from luthier.tracking.mirror import TrackingError
from luthier.tracking.mlflow_mirror import MlflowMirror

REPORT = {
    "task": "classify", "base_model": "minilm", "evaluated_on": "test", "cost": {"steps": 3, "seconds": 1.5},
    "metrics": {"accuracy": {"value": 0.9, "low": 0.8, "high": None}},
}  # fmt: skip


@pytest.fixture
def mlflow():
    with serving() as server:
        yield server


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    folder = RunDir(tmp_path / "20261130-x")
    for name, text in (("recipe.yaml", "model: x"), ("report.html", "<p>"), ("model/luthier.json", "{}"),
                       ("model/sub/a b.safetensors", "weights"), ("data/secret.csv", "no")):  # fmt: skip
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def recipe(**track: Any) -> Recipe:
    return Recipe.build({"data": "train.csv", "track": track})


def tell(listener: Any, steps: range = range(1, 4)) -> None:
    """What a run says."""
    values = recipe().model_dump(mode="json")
    listener(Event("message", "classify on minilm", data={"recipe": values, "reasons": {}}))
    for step in steps:
        data = {"step": step, "loss": 1.0 / step, "grad_norm": 2.0, "learning_rate": 1e-3, "tokens_per_second": 9.0}
        listener(Event("step", data=data))
    listener(Event("evaluation", data={
        "step": steps[-1], "validation_loss": 0.5, "validation_metric": 0.75, "metric_name": "accuracy",
        "validation_accuracy": 0.75,
    }))  # fmt: skip


def mirrored(server: FakeMlflow, run: RunDir, *, heard: list[Event] | None = None, name: str | None = None) -> Follower:
    listener = (lambda event: None) if heard is None else heard.append
    return Follower([MlflowMirror(server.url, "intents", name, first_wait=0.0)], run, listener)


def ended(follower: Follower, error: Exception) -> None:
    """A run that ends with `error` after three steps."""
    with contextlib.suppress(type(error)), follower as listener:
        tell(listener)
        raise error


def test_mlflow_gets_parameters_metrics_artefacts_and_the_model(mlflow: FakeMlflow, run: RunDir):
    heard: list[Event] = []
    with mirrored(mlflow, run, heard=heard, name="intents-model") as listener:
        tell(listener)
        listener.finished(REPORT)
    (found,) = mlflow.runs.values()
    assert found["status"] == "FINISHED"
    assert found["run_name"] == run.path.name
    parameters = {item["key"]: item["value"] for item in found["data"]["params"]}
    assert parameters["train.learning_rate"] == "auto"
    assert not [key for key in parameters if key.startswith(("track", "out"))]
    losses = [(item["step"], item["value"]) for item in found["metrics"] if item["key"] == "train_loss"]
    assert losses == [(1, 1.0), (2, 0.5), (3, 1.0 / 3)]
    metrics = {item["key"]: item["value"] for item in found["metrics"]}
    assert metrics["validation_accuracy"] == 0.75
    assert (metrics["test_accuracy"], metrics["test_accuracy_low"]) == (0.9, 0.8)
    assert "test_accuracy_high" not in metrics
    assert all(abs(item["timestamp"] / 1000 - time.time()) < 60 for item in found["metrics"])
    files = {name.removeprefix("1/run0/artifacts/"): content for name, content in mlflow.files.items()}
    assert files["model/data/sub/a b.safetensors"] == b"weights"
    assert {"recipe.yaml", "report.html", "model/MLmodel", "model/requirements.txt"} <= set(files)
    assert not [name for name in files if "secret" in name]
    flavour = yaml.safe_load(files["model/MLmodel"])["flavors"]["python_function"]
    assert flavour["loader_module"] == "luthier.tracking.mlflow_pyfunc"
    assert mlflow.models == {"intents-model": [
        {"name": "intents-model", "source": "runs:/run0/model", "run_id": "run0"}]}  # fmt: skip
    told = [event.data["tracking"] for event in heard if "tracking" in event.data]
    assert told == [{"kind": "MLflow", "place": f"{mlflow.url}/#/experiments/1/runs/run0"}]


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(mlflow: FakeMlflow, run: RunDir):
    ended(mirrored(mlflow, run), Interrupted("stopped"))
    assert mlflow.runs["run0"]["status"] == "KILLED"
    assert not mlflow.files
    with mirrored(mlflow, run) as listener:
        tell(listener, range(4, 6))
        listener.finished(REPORT)
    assert list(mlflow.runs) == ["run0"]
    assert mlflow.runs["run0"]["status"] == "FINISHED"
    steps = [item["step"] for item in mlflow.runs["run0"]["metrics"] if item["key"] == "train_loss"]
    assert steps == [1, 2, 3, 4, 5]


def test_a_run_that_mlflow_has_deleted_begins_anew(mlflow: FakeMlflow, run: RunDir):
    (run.path / "mlflow.json").write_text(json.dumps({"url": mlflow.url, "run_id": "gone"}), encoding="utf-8")
    with mirrored(mlflow, run) as listener:
        tell(listener)
    assert list(mlflow.runs) == ["run0"]


def test_a_failed_run_is_told_as_failed(mlflow: FakeMlflow, run: RunDir):
    ended(mirrored(mlflow, run), TrainingError("diverged"))
    assert mlflow.runs["run0"]["status"] == "FAILED"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([(403, '{"error_code": "PERMISSION_DENIED", "message": "not yours, sesame"}')], "403: not yours, ***"),
        ([(200, "<html>hello")], "no JSON object"),
        ([(503, "away")] * 9, "503: away"),
        ([(302, "")], "302"),
    ],
)
def test_a_server_that_fails_is_a_warning(mlflow: FakeMlflow, run: RunDir, monkeypatch, answers, said):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "sesame")
    heard: list[Event] = []
    mlflow.refuse = answers
    with mirrored(mlflow, run, heard=heard) as listener:
        tell(listener)
        listener.finished(REPORT)
    (warning,) = [event for event in heard if event.level == "warn"]
    assert said in warning.message
    assert "goes on without it" in warning.message
    assert len([event for event in heard if event.kind == "step"]) == 3
    assert mlflow.authorization == {"Bearer sesame"}


def test_a_fault_that_passes_is_waited_for(mlflow: FakeMlflow, run: RunDir):
    mlflow.refuse = [(503, ""), (429, ""), (500, "")]
    with mirrored(mlflow, run) as listener:
        tell(listener)
    assert len(mlflow.runs["run0"]["metrics"]) == 14


def test_nobody_there_is_a_warning_and_takes_no_time_of_the_run(run: RunDir, mlflow: FakeMlflow):
    heard: list[Event] = []
    mirror = MlflowMirror("http://127.0.0.1:9", "x", first_wait=0.0)
    with Follower([mirror], run, heard.append) as listener:
        tell(listener)
    assert [event.level for event in heard].count("warn") == 1
    assert "cannot be reached" in next(event.message for event in heard if event.level == "warn")


def test_a_slow_mirror_does_not_hold_the_run_up(run: RunDir, monkeypatch):
    monkeypatch.setattr(following, "WAITING", 5)
    monkeypatch.setattr(following, "END_SECONDS", 0.3)

    class Slow:
        name = "slow"

        def start(self, run, parameters):
            time.sleep(1.0)
            return "here"

        def log(self, points):
            pass

        def finish(self, run, end):
            pass

        def close(self):
            pass

    heard: list[Event] = []
    with Follower([Slow()], run, heard.append) as listener:
        began = time.monotonic()
        tell(listener, range(1, 200))
        assert time.monotonic() - began < 0.5
        time.sleep(1.2)
    assert any("too slow: the metrics of" in event.message for event in heard)


def test_tensorboard_files_read_back(run: RunDir):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in (range(1, 4), range(3, 6)):  # the second start goes on from step 3
        with follow(recipe(tensorboard=True), run, lambda event: None) as listener:
            tell(listener, steps)
            listener.finished(REPORT)
        time.sleep(1.1)  # TensorBoard names its files by the second
    found = EventAccumulator(str(run.path / "tensorboard"))
    found.Reload()
    assert [(one.step, round(one.value, 4)) for one in found.Scalars("train_loss")] == [
        (1, 1.0), (2, 0.5), (3, 0.3333), (4, 0.25), (5, 0.2)]  # fmt: skip
    assert found.Scalars("test_accuracy")[-1].value == pytest.approx(0.9)
    assert b"minilm" not in found.Tensors("recipe")[0].tensor_proto.string_val[0]


def test_tensorboard_may_write_elsewhere(run: RunDir, tmp_path: Path):
    with follow(recipe(tensorboard=str(tmp_path / "tb")), run, lambda event: None) as listener:
        tell(listener)
    assert list((tmp_path / "tb" / run.path.name).iterdir())


def test_wandb_is_asked_through_its_own_package(run: RunDir, monkeypatch):
    made: dict[str, Any] = {"logged": [], "files": []}

    class WandbRun:
        url = "https://wandb.example/r"
        summary: ClassVar[dict[str, float]] = {}

        def log(self, metrics, step):
            made["logged"].append((step, metrics))

        def log_artifact(self, artefact):
            made["artefact"] = artefact

        def finish(self, exit_code):
            made["exit"] = exit_code

    class Artifact:
        def __init__(self, name, type):
            made["name"] = name

        def add_dir(self, path, name, policy):
            made["files"].append(name)

        def add_file(self, path, name, policy):
            made["files"].append(name)

    def init(**given):
        made["init"] = given
        return WandbRun()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init, Artifact=Artifact))
    spec = {"project": "p", "entity": "e", "tags": ["a"]}
    with follow(recipe(wandb=spec), run, lambda event: None) as listener:
        tell(listener)
        listener.finished(REPORT)
    assert (made["init"]["project"], made["init"]["entity"], made["init"]["name"]) == ("p", "e", run.path.name)
    assert made["init"]["resume"] == "allow"
    assert [step for step, _ in made["logged"]] == [1, 2, 3, 3]
    assert WandbRun.summary["test_accuracy"] == 0.9
    assert set(made["files"]) == {"model", "recipe.yaml", "report.html"}
    assert made["exit"] == 0


@pytest.mark.parametrize(
    ("package", "track"), [("wandb", {"wandb": {"project": "p"}}), ("tensorboard", {"tensorboard": True})]
)
def test_a_missing_package_is_told_before_anything_is_trained(run: RunDir, monkeypatch, package, track):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.summary.writer", None)
    with pytest.raises(TrackingError) as caught:
        follow(recipe(**track), run, lambda event: None)
    assert caught.value.code == "package_missing"
    assert "pip install" in caught.value.remedy


@pytest.mark.parametrize(
    ("track", "said"),
    [
        ({"mlflow": "sqlite:///x.db"}, "address of an MLflow server"),
        ({"mlflow": "http://me:secret@host"}, "must not hold a password"),
        ({"mlfow": "http://host"}, "'mlflow'"),
        ({"wandb": {"project": ""}}, "project"),
        ({"experiment": ""}, "experiment"),
    ],
)
def test_wrong_settings_are_told(track, said):
    with pytest.raises(RecipeError) as caught:
        recipe(**track)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


WANDB = {"project": "p"}


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("mlflow", {}, {"mlflow": "URL"}),
        ("experiment", {"mlflow": "URL"}, {"mlflow": "URL", "experiment": "another"}),
        ("register_as", {"mlflow": "URL"}, {"mlflow": "URL", "register_as": "mine"}),
        ("tensorboard", {}, {"tensorboard": True}),
        ("wandb.project", {"wandb": WANDB}, {"wandb": {"project": "q"}}),
        ("wandb.name", {"wandb": WANDB}, {"wandb": {**WANDB, "name": "n"}}),
        ("wandb.entity", {"wandb": WANDB}, {"wandb": {**WANDB, "entity": "e"}}),
        ("wandb.tags", {"wandb": WANDB}, {"wandb": {**WANDB, "tags": ["t"]}}),
    ],
)
def test_every_setting_changes_what_is_told(key, before, after, monkeypatch, tmp_path: Path):
    found = []
    for number, track in enumerate((before, after)):
        asked: list[Any] = []
        fake = types.SimpleNamespace(init=lambda asked=asked, **given: asked.append(given) or _Run())
        monkeypatch.setitem(sys.modules, "wandb", fake)
        folder = RunDir(tmp_path / str(number) / "run")
        (folder.path / "model").mkdir(parents=True)
        with serving() as server:
            spec = {name: server.url if value == "URL" else value for name, value in track.items()}
            with follow(recipe(**spec), folder, lambda event: None) as listener:
                tell(listener)
                if "wandb" not in track:
                    listener.finished(REPORT)
            asked = [{name: value for name, value in one.items() if name != "dir"} for one in asked]
            events = len(list(folder.path.rglob("*tfevents*")))
            found.append((server.experiments, sorted(server.models), len(server.runs), events, asked))
    assert found[0] != found[1], key


class _Run:
    """As little of a run of wandb as a mirror needs."""

    url = "https://wandb.example/r"

    def __init__(self) -> None:
        self.summary: dict[str, float] = {}

    def log(self, metrics: Any, step: int) -> None:
        pass

    def finish(self, exit_code: int) -> None:
        pass


def test_the_short_form():
    found = Recipe.build({"data": "a.csv", "track": "tensorboard"}).track
    assert found is not None
    assert found.wanted == ("tensorboard",)
