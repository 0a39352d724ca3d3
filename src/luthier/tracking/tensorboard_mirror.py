"""TensorBoard event files, written by TensorBoard's own package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.core import clock, durable
from luthier.tracking.mirror import End, Point, TrackingError, final_metrics


class TensorboardMirror:
    """Scalars by step, and the recipe as a text. `folder`: where; None: tensorboard/ in the run's folder."""

    name = "TensorBoard"

    def __init__(self, folder: str | None) -> None:
        try:
            from tensorboard.summary.writer import event_file_writer
        except ImportError:
            raise TrackingError(
                "track.tensorboard needs the package tensorboard.", remedy="pip install 'luthier[tensorboard]'",
                code="package_missing", param="track.tensorboard",
            ) from None  # fmt: skip
        self._make: Any = event_file_writer.EventFileWriter
        self._folder = folder
        self._writer: Any = None
        self._last, self._again = 0, False

    def start(self, run: Path, parameters: Mapping[str, str]) -> str:
        """Open a new event file; those of an earlier start stay, and steps that come again replace theirs."""
        folder = run / "tensorboard" if self._folder is None else Path(self._folder) / run.name
        self._again = folder.is_dir() and any(folder.iterdir())
        self._writer = self._make(str(durable.make_folder(folder)))
        rows = "\n".join(f"| {key} | {value} |" for key, value in parameters.items())
        self._add_text("recipe", f"| key | value |\n|---|---|\n{rows}")
        return str(folder)

    def log(self, points: list[Point]) -> None:
        """One event per step."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        if points and self._again:
            # tells the reader to forget what an earlier start wrote from this step on
            self._add(Event(step=points[0].step, session_log=SessionLog(status=SessionLog.START)))
            self._again = False
        for point in points:
            self._add_scalars(point.metrics, point.step, point.seconds)
        self._writer.flush()

    def finish(self, run: Path, end: End) -> None:
        """The judged metrics."""
        self._add_scalars(final_metrics(end.report), self._last, clock.now().timestamp())

    def close(self) -> None:
        """Write what is left, and close the file."""
        if self._writer is not None:
            self._writer.close()

    def _add_scalars(self, metrics: Mapping[str, float], step: int, seconds: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if not metrics:
            return
        self._last = max(self._last, step)
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._add(Event(wall_time=seconds, step=step, summary=Summary(value=values)))

    def _add_text(self, tag: str, text: str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        tensor = TensorProto(
            dtype="DT_STRING", string_val=[text.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )  # fmt: skip
        kind = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = Summary.Value(tag=tag, metadata=kind, tensor=tensor)
        self._add(Event(wall_time=clock.now().timestamp(), summary=Summary(value=[value])))

    def _add(self, event: Any) -> None:
        self._writer.add_event(event)
