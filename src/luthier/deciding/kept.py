"""Arms that are done, on disk: a decision that was stopped goes on with the next one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.approaches.answering import Usage
from luthier.approaches.arm import Arm, Following
from luthier.core import durable
from luthier.core.predictor import Prediction, SpanPrediction
from luthier.deciding.training import approach_of
from luthier.deciding.workshop import Workshop
from luthier.evaluate.intervals import Interval

_PLAIN = ("name", "family", "detail", "state", "why", "build_seconds", "answer_seconds", "latency_ms", "run")


class KeptArms:
    """The folder ``kept/`` of a decision: one file for each arm, whole or not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "kept"

    def put(self, number: int, arm: Arm) -> None:
        """Keep the arm with its answers."""
        durable.make_folder(self._folder)
        durable.write_json(self._path(number), _record(arm))

    def get(self, number: int, name: str, shop: Workshop) -> Arm | None:
        """The arm that was kept under this number; None where there is none. What it trained is there again, for the
        arms that build on it."""
        path = self._path(number)
        if not path.is_file():
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["name"] != name:
            return None  # other arms were asked for
        arm = _arm(record)
        if arm.predictions:
            arm.score = shop.judged.score(arm.predictions)
        if arm.run is not None and record["method"] is not None and Path(arm.run).is_dir():
            from luthier import api

            model = api.load(arm.run)
            shop.tuned[record["method"]] = model, approach_of(model, shop.rows.task, shop.max_tokens)
        return arm

    def seconds(self) -> float:
        """What the kept arms took."""
        found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(self._folder.glob("*.json")))
        return float(sum(record["build_seconds"] + record["answer_seconds"] for record in found))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:03d}.json"


METHODS = {"head only": "head", "LoRA": "lora", "full fine-tuning": "full"}
"""Of the arms that train, by their names."""


def _record(arm: Arm) -> dict[str, Any]:
    following = None
    if arm.following is not None:
        share = arm.following.share.to_dict()
        following = {"share": share, "asked": arm.following.asked, "seconds": arm.following.seconds}
    return {
        **{name: getattr(arm, name) for name in _PLAIN},
        "method": METHODS.get(arm.name),
        "build_usage": asdict(arm.build_usage),
        "usage": asdict(arm.usage),
        "following": following,
        "predictions": [asdict(prediction) for prediction in arm.predictions],
    }


def _arm(record: dict[str, Any]) -> Arm:
    arm = Arm(**{name: record[name] for name in _PLAIN})
    arm.build_usage, arm.usage = Usage(**record["build_usage"]), Usage(**record["usage"])
    arm.predictions = [_prediction(one) for one in record["predictions"]]
    told = record["following"]
    if told is not None:
        numbers = {name: float("nan") if value is None else value for name, value in told["share"].items()}
        arm.following = Following(Interval(**numbers), told["asked"], told["seconds"])
    return arm


def _prediction(told: dict[str, Any]) -> Prediction:
    spans = told["spans"]
    tuples = {name: None if told[name] is None else tuple(told[name]) for name in ("labels", "values")}
    return Prediction(
        **{**told, **tuples, "spans": None if spans is None else tuple(SpanPrediction(**span) for span in spans)}
    )
