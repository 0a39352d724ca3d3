"""A run in MLflow: parameters, metrics, artefacts, and the model in the form that MLflow loads."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import yaml

from luthier.core import clock, durable
from luthier.tracking.mirror import ARTEFACTS, End, Point, TrackingError, final_metrics
from luthier.tracking.mlflow_client import MlflowClient

STATE = "mlflow.json"
"""In the run's folder: which MLflow run it is, so that a resumed run goes on there."""
MOST_METRICS, MOST_PARAMETERS, LONGEST_VALUE = 1000, 100, 500
"""Of one request; the length is that of MLflow 1, later versions take more."""
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_PROXIED = "mlflow-artifacts:"
Item = TypeVar("Item")


class MlflowMirror:
    """Mirrors one run to the MLflow server at `url`, and enters its model as `register_as` where that is given."""

    name = "MLflow"

    def __init__(self, url: str, experiment: str, register_as: str | None = None, *, first_wait: float = 0.5) -> None:
        self._client = MlflowClient(url, first_wait=first_wait)
        self._experiment, self._register_as = experiment, register_as
        self._run_id, self._root = "", ""

    def start(self, run: Path, parameters: Mapping[str, str]) -> str:
        """Make the MLflow run, or open the one that an earlier start made. Gives the address of its page."""
        found = self._known(run) or self._create(run)
        info = found["info"]
        self._run_id, experiment = str(info["run_id"]), str(info["experiment_id"])
        self._root = str(info.get("artifact_uri") or "")
        durable.write_json(run / STATE, {"url": self._client.url, "run_id": self._run_id})
        known = {item["key"] for item in (found.get("data") or {}).get("params") or []}
        items = [
            {"key": key[:250], "value": value[:LONGEST_VALUE]} for key, value in parameters.items() if key not in known
        ]
        for part in _parts(items, MOST_PARAMETERS):
            self._client.post("runs/log-batch", {"run_id": self._run_id, "params": part})
        return f"{self._client.url}/#/experiments/{experiment}/runs/{self._run_id}"

    def log(self, points: list[Point]) -> None:
        """Metrics by step."""
        items = [
            {"key": name, "value": value, "timestamp": int(point.seconds * 1000), "step": point.step}
            for point in points
            for name, value in point.metrics.items()
        ]
        for part in _parts(items, MOST_METRICS):
            self._client.post("runs/log-batch", {"run_id": self._run_id, "metrics": part})

    def finish(self, run: Path, end: End) -> None:
        """The judged metrics, the artefacts and the model; then the MLflow run is closed, whatever happened."""
        try:
            if end.status == "finished":
                step = int((end.report.get("cost") or {}).get("steps") or 0)
                self.log([Point(step, clock.now().timestamp(), final_metrics(end.report))])
                for name in ARTEFACTS:
                    if (run / name).is_file():
                        self._store(name, run / name)
                self._model(run / "model", end.report)
        finally:
            now = int(clock.now().timestamp() * 1000)
            self._client.post("runs/update", {"run_id": self._run_id, "status": _STATUS[end.status], "end_time": now})

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _known(self, run: Path) -> dict[str, Any] | None:
        """The run of an earlier start, if the server still has it."""
        try:
            state = json.loads((run / STATE).read_text(encoding="utf-8"))
            run_id = state["run_id"] if state["url"] == self._client.url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not run_id:
            return None
        try:
            found: dict[str, Any] = self._client.get("runs/get", {"run_id": run_id})["run"]
        except TrackingError as error:
            if error.code == "mlflow_resource_does_not_exist":
                return None
            raise
        self._client.post("runs/update", {"run_id": run_id, "status": "RUNNING"})
        return found

    def _create(self, run: Path) -> dict[str, Any]:
        try:
            experiment = self._client.post("experiments/create", {"name": self._experiment})["experiment_id"]
        except TrackingError as error:
            if error.code != "mlflow_resource_already_exists":
                raise
            found = self._client.get("experiments/get-by-name", {"experiment_name": self._experiment})
            experiment = found["experiment"]["experiment_id"]
        tags = [
            {"key": "mlflow.runName", "value": run.name}, {"key": "mlflow.source.name", "value": "luthier"},
            {"key": "luthier.version", "value": version("luthier")},
        ]  # fmt: skip
        asked = {"experiment_id": experiment, "run_name": run.name, "tags": tags,
                 "start_time": int(clock.now().timestamp() * 1000)}  # fmt: skip
        made: dict[str, Any] = self._client.post("runs/create", asked)["run"]
        return made

    def _store(self, name: str, content: bytes | Path) -> None:
        if self._root.startswith(_PROXIED):
            below = self._root.removeprefix(_PROXIED).split("://")[-1].strip("/")
            self._client.upload(f"{below}/{name}", content)
            return
        import fsspec

        with fsspec.open(f"{self._root}/{name}", "wb", auto_mkdir=True) as target:
            if isinstance(content, bytes):
                target.write(content)
            else:
                with content.open("rb") as source:
                    while piece := source.read(1 << 20):
                        target.write(piece)

    def _model(self, folder: Path, report: Mapping[str, Any]) -> None:
        """model/ with an MLmodel file, so that ``mlflow.pyfunc.load_model`` gives a model that predicts."""
        if not folder.is_dir():
            return
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self._store(f"model/data/{path.relative_to(folder).as_posix()}", path)
        described = {
            "artifact_path": "model", "run_id": self._run_id,
            "utc_time_created": clock.now().strftime("%Y-%m-%d %H:%M:%S.%f"),
            "flavors": {
                "python_function": {
                    "loader_module": "luthier.tracking.mlflow_pyfunc", "data": "data",
                    "python_version": platform.python_version(), "env": {"virtualenv": "python_env.yaml"},
                }
            },
            "metadata": {"task": report.get("task"), "base_model": report.get("base_model")},
        }  # fmt: skip
        needs = f"luthier=={version('luthier')}\n"
        environment = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
        self._store("model/requirements.txt", needs.encode())
        self._store("model/python_env.yaml", yaml.safe_dump(environment, sort_keys=False).encode())
        self._store("model/MLmodel", yaml.safe_dump(described, sort_keys=False).encode())
        if self._register_as:
            self._register(self._register_as)

    def _register(self, name: str) -> None:
        try:
            self._client.post("registered-models/create", {"name": name})
        except TrackingError as error:
            if error.code != "mlflow_resource_already_exists":
                raise
        self._client.post(
            "model-versions/create", {"name": name, "source": f"runs:/{self._run_id}/model", "run_id": self._run_id}
        )


def _parts(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]
