"""A listener that passes a run on to its mirrors, without ever making the run wait for them or fail with them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from luthier.core import clock
from luthier.core.errors import Interrupted, LuthierError
from luthier.core.events import Event, Listener
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.tracking.mirror import End, Mirror, Point, TrackingError, parameters_of, point_of

WAITING = 10_000
"""Metrics of as many steps may wait; what comes while it is full is left out, and a warning says so."""
FLUSH_SECONDS = 2.0
END_SECONDS = 300.0
"""Longest wait at the end of a run, for the upload of its model."""


class Follower:
    """Use it as a listener inside a ``with``; `finished` takes the report before the block ends."""

    def __init__(self, mirrors: list[Mirror], run: RunDir, listener: Listener) -> None:
        self._run, self._listener = run, listener
        self._lock = threading.Lock()
        self._lines = [_Line(mirror, run, self._tell) for mirror in mirrors]
        self._report: Mapping[str, Any] | None = None

    def __call__(self, event: Event) -> None:
        """Pass `event` on, first to who listened before."""
        self._tell(event)
        if not self._lines:
            return
        chosen = event.data.get("recipe")
        if event.kind == "message" and isinstance(chosen, dict):
            for line in self._lines:
                line.begin(parameters_of(chosen))
        point = point_of(event, clock.now().timestamp())
        if point is not None:
            for line in self._lines:
                line.put(point)

    def finished(self, report: Mapping[str, Any]) -> None:
        """The run is done and judged."""
        self._report = report

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._report is not None:
            end = End("finished", self._report)
        else:
            end = End("interrupted" if error is None or isinstance(error, Interrupted) else "failed")
        for line in self._lines:
            line.end(end)
        until = clock.monotonic() + END_SECONDS
        for line in self._lines:
            line.join(max(0.0, until - clock.monotonic()))

    def _tell(self, event: Event) -> None:
        with self._lock:  # the lines speak from their own threads
            self._listener(event)


class _Line:
    """One mirror and the thread that talks to it."""

    def __init__(self, mirror: Mirror, run: RunDir, tell: Listener) -> None:
        self._mirror, self._run, self._tell = mirror, run, tell
        self._queue: queue.Queue[Point | End] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._left_out = 0
        self._failed = threading.Event()

    def begin(self, parameters: Mapping[str, str]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._talk, args=(parameters,), name=f"track-{self._mirror.name}", daemon=True
            )
            self._thread.start()

    def put(self, point: Point) -> None:
        if self._thread is None or self._failed.is_set():
            return
        try:
            self._queue.put_nowait(point)
        except queue.Full:
            self._left_out += 1

    def end(self, end: End) -> None:
        if self._thread is None:
            return
        while not self._failed.is_set():
            try:
                return self._queue.put(end, timeout=0.2)
            except queue.Full:
                continue

    def join(self, seconds: float) -> None:
        if self._thread is None:
            return
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._warn(f"did not take everything within {END_SECONDS:.0f} seconds; the rest is not sent")
        elif self._left_out:
            self._warn(f"was too slow: the metrics of {self._left_out:,} steps were left out")

    def _talk(self, parameters: Mapping[str, str]) -> None:
        try:
            place = self._mirror.start(self._run.path, parameters)
            told = {"tracking": {"kind": self._mirror.name, "place": place}}
            self._tell(Event("message", f"Mirrored to {self._mirror.name}: {place}", data=told))
            end: End | None = None
            while end is None:
                points, end = self._gather()
                if points:
                    self._mirror.log(points)
            self._mirror.finish(self._run.path, end)
        except LuthierError as error:
            self._failed.set()
            self._warn(f"failed: {error.message}" + (f" {error.remedy}" if error.remedy else ""))
        except Exception as error:  # a library of others: the run must not end with it
            self._failed.set()
            self._warn(f"failed: {type(error).__name__}: {str(error)[:300]}")
        finally:
            self._mirror.close()

    def _gather(self) -> tuple[list[Point], End | None]:
        """What came within a short time, and the end when it came."""
        points: list[Point] = []
        until = clock.monotonic() + FLUSH_SECONDS
        while len(points) < WAITING:
            try:
                item = self._queue.get(timeout=max(0.01, until - clock.monotonic()))
            except queue.Empty:
                return points, None
            if isinstance(item, End):
                return points, item
            points.append(item)
        return points, None

    def _warn(self, what: str) -> None:
        self._tell(Event("message", f"The mirror {self._mirror.name} {what}. The run goes on without it.", "warn"))


def follow(recipe: Recipe, run: RunDir, listener: Listener) -> Follower:
    """The follower of a run. Raises `TrackingError` where a package is missing: before anything is trained."""
    return Follower(_mirrors(recipe), run, listener)


def _mirrors(recipe: Recipe) -> list[Mirror]:
    spec = recipe.track
    if spec is None:
        return []
    found: list[Mirror] = []
    if spec.mlflow:
        from luthier.tracking.mlflow_mirror import MlflowMirror

        found.append(MlflowMirror(spec.mlflow, spec.experiment, spec.register_as))
    if spec.tensorboard:
        from luthier.tracking.tensorboard_mirror import TensorboardMirror

        found.append(TensorboardMirror(None if spec.tensorboard is True else spec.tensorboard))
    if spec.wandb is not None:
        from luthier.tracking.wandb_mirror import WandbMirror

        found.append(WandbMirror(spec.wandb))
    return found


__all__ = ["Follower", "TrackingError", "follow"]
