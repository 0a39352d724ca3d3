"""Says when a model learned its training rows by heart, and which state was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_RISE = 0.02  # share by which the validation loss must stand above its lowest value to count as a rise


@dataclass(frozen=True, slots=True)
class Overfitting:
    """The diagnosis; `gap` is validation loss minus training loss at the last validation (None: unknown)."""

    found: bool
    sentence: str
    gap: float | None
    best_epoch: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def diagnose(curves: Sequence[Mapping[str, Any]], best_epoch: float | None, epochs: float) -> Overfitting:
    """Read the curves of a finished run.

    Args:
        curves: points {step, epoch, train_loss, validation_loss, validation_metric}; what was not
            measured at a step is None or absent.
        best_epoch: the epoch whose state was kept.
        epochs: the epochs that were planned.

    Overfitting is found when the validation loss ends more than 2 % above its lowest value while
    the training loss went on falling.
    """
    points = _validations(curves)
    if not points:
        return Overfitting(
            False, "Overfitting cannot be judged: nothing was measured on validation rows.", None, best_epoch
        )
    last, lowest = points[-1], min(points, key=lambda point: point["validation_loss"])
    gap = None if last["train_loss"] is None else last["validation_loss"] - last["train_loss"]
    kept = f" The state of epoch {_epoch(best_epoch)} was kept." if best_epoch is not None else ""
    told_gap = (
        ""
        if gap is None
        else (
            f" At the end the validation loss was {last['validation_loss']:.3f} "
            f"and the training loss {last['train_loss']:.3f}, a gap of {gap:.3f}."
        )
    )
    rose = last["validation_loss"] > lowest["validation_loss"] + abs(lowest["validation_loss"]) * _RISE
    learned = (
        last["train_loss"] is not None
        and lowest["train_loss"] is not None
        and last["train_loss"] < lowest["train_loss"]
    )
    if rose and learned:
        sentence = (
            f"Overfitting: the validation loss rose from {lowest['validation_loss']:.3f} in epoch "
            f"{_epoch(lowest['epoch'])} to {last['validation_loss']:.3f} in epoch {_epoch(last['epoch'])}, "
            f"while the training loss fell from {lowest['train_loss']:.3f} to {last['train_loss']:.3f} "
            f"(gap {gap:.3f}).{kept}"
        )
        if best_epoch is not None and lowest["epoch"] is not None and best_epoch > lowest["epoch"]:
            sentence += " The validation metric still improved after that: the model grew surer rather than worse."
        return Overfitting(True, sentence, gap, best_epoch)
    if rose:
        return Overfitting(
            False,
            "The validation loss rose at the end, but the training loss did not fall meanwhile: "
            f"unsteady training rather than overfitting.{told_gap}{kept}",
            gap,
            best_epoch,
        )
    if len(points) > 1 and lowest is last:
        room = " It was still falling: more epochs may help." if _falling(points) and _finished(last, epochs) else ""
        return Overfitting(
            False,
            f"No overfitting: the validation loss was lowest at the end.{told_gap}{room}{kept}",
            gap,
            best_epoch,
        )
    return Overfitting(False, f"No overfitting was seen.{told_gap}{kept}", gap, best_epoch)


def _validations(curves: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The validated points, each with the mean training loss since the one before."""
    points: list[dict[str, Any]] = []
    losses: list[float] = []
    for point in curves:
        if point.get("train_loss") is not None:
            losses.append(point["train_loss"])
        if point.get("validation_loss") is not None:
            points.append(
                {
                    "epoch": point.get("epoch"),
                    "validation_loss": point["validation_loss"],
                    "train_loss": sum(losses) / len(losses) if losses else None,
                }
            )
            losses = []
    return points


def _falling(points: Sequence[Mapping[str, Any]]) -> bool:
    return bool(points[-1]["validation_loss"] < points[-2]["validation_loss"] * (1 - _RISE))


def _finished(last: Mapping[str, Any], epochs: float) -> bool:
    return last["epoch"] is not None and last["epoch"] >= epochs


def _epoch(epoch: float | None) -> str:
    return "?" if epoch is None else f"{epoch:.1f}".removesuffix(".0")
