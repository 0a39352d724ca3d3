"""Against a real `mlflow server`, started here. It lives in an environment of its own (make env-mlflow)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import luthier

REPO = Path(__file__).resolve().parent.parent.parent
PYTHON = Path(os.environ.get("LUTHIER_MLFLOW_PYTHON") or REPO / ".venv-mlflow" / "bin" / "python")
SECONDS_TO_START = 150.0
READ_BACK = """
import sys, json, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name("intents")
(run,) = client.search_runs([experiment.experiment_id])
(version,) = client.search_model_versions("name='intents'")
folder = mlflow.artifacts.download_artifacts("models:/intents/1", dst_path=sys.argv[2])
print(json.dumps({
    "status": run.info.status, "params": run.data.params, "metrics": run.data.metrics, "folder": folder,
    "losses": [m.step for m in client.get_metric_history(run.info.run_id, "train_loss")],
    "flavors": sorted(mlflow.models.Model.load(folder).flavors),
    "artefacts": [item.path for item in client.list_artifacts(run.info.run_id)],
}))
"""

pytestmark = [
    pytest.mark.skipif(not PYTHON.is_file(), reason="MLflow is not installed beside us: make env-mlflow"),
    pytest.mark.timeout(400),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(PYTHON), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "artefacts"),
    ]  # fmt: skip
    # its job runners look for its own programs
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PATH": f"{PYTHON.parent}:{os.environ['PATH']}", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + SECONDS_TO_START
        while True:
            assert process.poll() is None, (home / "log").read_text()[-2000:]
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2.0):
                break
            assert time.monotonic() < until, (home / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_run_and_its_model_are_in_mlflow(server: str, tmp_path: Path):
    rows = [f"{word} number {n},{label}" for n in range(12) for word, label in (("good", "yes"), ("bad", "no"))]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    run = luthier.train(
        model="minilm", data=str(tmp_path / "train.csv"), method="head", out=str(tmp_path / "runs"),
        train__epochs=2, train__batch_size=8, evaluate__baselines=["majority"],
        track={"mlflow": server, "experiment": "intents", "register_as": "intents"},
    )  # fmt: skip
    found = read_back(server, tmp_path)
    assert found["status"] == "FINISHED"
    assert found["params"]["method.kind"] == "head"
    assert found["params"]["train.epochs"] == "2"
    assert found["losses"] == [1, 2, 3, 4, 5, 6]
    assert found["metrics"]["validation_accuracy"] == pytest.approx(run.metrics["accuracy"])
    assert {"report.html", "report.json", "recipe.yaml", "model"} <= set(found["artefacts"])
    assert found["flavors"] == ["python_function"]
    from luthier.tracking.mlflow_pyfunc import _load_pyfunc

    loaded = _load_pyfunc(str(Path(found["folder"]) / "data"))
    (mine,) = run.model().predict(["good number 3"])
    (theirs,) = loaded.predict(["good number 3"])
    assert theirs["label"] == mine.label


def read_back(server: str, folder: Path) -> dict:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(PYTHON), "-c", READ_BACK, server, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
