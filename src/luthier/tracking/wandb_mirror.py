"""Weights & Biases, through its own package, which knows the user's login."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.core.recipe_track import WandbSpec
from luthier.tracking.mirror import ARTEFACTS, End, Point, TrackingError, final_metrics


class WandbMirror:
    """A run of Weights & Biases. An interrupted run that goes on is the same run there."""

    name = "Weights & Biases"

    def __init__(self, spec: WandbSpec) -> None:
        try:
            import wandb
        except ImportError:
            raise TrackingError(
                "track.wandb needs the package wandb.", remedy="pip install 'luthier[wandb]', then: wandb login",
                code="package_missing", param="track.wandb",
            ) from None  # fmt: skip
        self._wandb: Any = wandb
        self._spec = spec
        self._run: Any = None

    def start(self, run: Path, parameters: Mapping[str, str]) -> str:
        """Begin or go on."""
        spec = self._spec
        self._run = self._wandb.init(
            project=spec.project, entity=spec.entity, name=spec.name or run.name, tags=list(spec.tags) or None,
            config=dict(parameters), id=run.name[-64:], resume="allow", dir=str(run),
            settings={"console": "off"},  # what is printed may be rows of the data
        )  # fmt: skip
        return str(self._run.url or Path(self._run.dir).parent)  # offline: what `wandb sync` takes

    def log(self, points: list[Point]) -> None:
        """Metrics by step."""
        for point in points:
            self._run.log({**point.metrics}, step=point.step)

    def finish(self, run: Path, end: End) -> None:
        """The judged metrics as summary, the report and the model as an artefact."""
        for name, value in final_metrics(end.report).items():
            self._run.summary[name] = value
        if end.status == "finished":
            artefact = self._wandb.Artifact(f"model-{run.name}"[:128], type="model")
            if (run / "model").is_dir():
                artefact.add_dir(str(run / "model"), name="model", policy="immutable")  # else a copy is kept at home
            for name in ARTEFACTS:
                if (run / name).is_file():
                    artefact.add_file(str(run / name), name=name, policy="immutable")
            self._run.log_artifact(artefact)
        self._run.finish(exit_code=0 if end.status == "finished" else 1)

    def close(self) -> None:
        """Nothing is open: wandb looks after its own process."""
