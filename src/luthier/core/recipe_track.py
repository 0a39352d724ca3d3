"""Where a run is mirrored besides its own folder: MLflow, TensorBoard, Weights & Biases."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from luthier.core.recipe_methods import Strict

TRACKERS = ("mlflow", "tensorboard", "wandb")


class WandbSpec(Strict):
    """A Weights & Biases run, with OpenAI's names of the settings."""

    project: Annotated[str, Field(min_length=1, max_length=128)]
    name: str | None = None
    entity: str | None = None
    tags: list[str] = Field(default_factory=list)


class TrackSpec(Strict):
    """The mirrors of a run. A mirror that fails never fails the run."""

    mlflow: str | None = None
    """Address of an MLflow server, http(s)://host:port."""
    experiment: Annotated[str, Field(min_length=1, max_length=250)] = "luthier"
    """Name of the MLflow experiment."""
    register_as: str | None = None
    """Name under which the tuned model enters MLflow's model registry; None: it is not registered."""
    tensorboard: bool | str = False
    """Write TensorBoard event files: true for the run's own folder, or another folder."""
    wandb: WandbSpec | None = None

    @field_validator("mlflow")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                "track.mlflow is the address of an MLflow server (http://host:5000); start one with: mlflow server"
            )
        if parts.username or parts.password:
            raise ValueError(
                "track.mlflow must not hold a password: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN"
            )
        return value.rstrip("/")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The trackers that are asked for."""
        return tuple(name for name in TRACKERS if getattr(self, name))


def short_track(value: Any) -> Any:
    """``track: tensorboard`` is short for ``track: {tensorboard: true}``."""
    return {"tensorboard": True} if value == "tensorboard" else value
