"""The clock beside a training: ends it while there is time for what follows, and keeps its chatter away."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from luthier.core import clock
from luthier.core.alarm import TimeIsUp, alarm
from luthier.core.events import Event, Listener
from luthier.search.choosing import FAR
from luthier.searching.clockwork import Clockwork

TIME_OVER = "its time was over"
"""Why a candidate failed that the clock ended before its first result."""
_LOOKED_AT = ("freezing", "step", "judging", "evaluation", "gate", "message", "finished", "proving")
_FEWEST, _SPAN = 4, 2.0
"""Steps, and seconds, over which the pace of a training is told: less than that is noise on a busy machine."""
_DRIFT = 2.0
"""How many times slower than its own best steps have to come where nothing else tells how long they should take."""
_MOST = 20.0


@dataclass(frozen=True)
class Rest:
    """What has to be left of the budget, in seconds at the pace that the machine had when the training began.

    Attributes:
        trained: while it trains, and when it is to be judged. judged: when its report is to be written.
        last: whatever it does.
        epoch: of its training; None where it was never timed.
    """

    trained: float
    judged: float
    last: float
    epoch: float | None


class Watch:
    """The listener of all runs of a session: steps and new warnings are passed on, and where only the rest of the
    budget is left, the next event raises `TimeIsUp`. Where steps come slower than foretold, what is to be left grows
    as much, for the machine is slower."""

    def __init__(self, listener: Listener, clockwork: Clockwork) -> None:
        self._listener, self._clockwork = listener, clockwork
        self._rest: Rest | None = None
        self._is_judged = False
        self._warned: set[str] = set()
        self._steps = _Steps(None)

    @property
    def slower(self) -> float:
        """How many times longer steps take now than foretold, or than at their best; 1 where that is noise."""
        return self._steps.slower

    @contextmanager
    def leaving(self, rest: Rest) -> Iterator[None]:
        """Whoever trains inside is ended while so much is left: it gets a `TimeIsUp`."""
        self._rest, self._is_judged, self._steps = rest, False, _Steps(rest.epoch)
        try:
            with alarm(self._clockwork.left - rest.last):
                yield
        finally:
            self._rest = None

    def _is_news(self, event: Event) -> bool:
        return event.kind not in ("failed", "interrupted") and event.message not in self._warned

    def __call__(self, event: Event) -> None:
        """Hear one event of a run."""
        if event.kind == "step":
            self._listener(event)
        elif event.level != "info" and self._is_news(event):
            self._warned.add(event.message)
            self._listener(event)
        if self._rest is None:
            return
        self._steps.hear(event)
        self._is_judged = self._is_judged or (event.kind == "proving" and event.data.get("part") == "report")
        needed = self._rest.judged if self._is_judged else self._rest.trained
        if event.kind in _LOOKED_AT and self._clockwork.left < needed * self.slower + self._steps.gap:
            raise TimeIsUp


class _Steps:
    """How fast the steps of one training come; what lies between them (judging, saving) is not counted. `gap`: seconds
    of the last one, as many as the next may take."""

    def __init__(self, epoch: float | None) -> None:
        self._epoch = epoch
        self._step: float | None = None
        self._last: float | None = None
        self._gaps: deque[float] = deque()
        self._least = float("inf")
        self.slower, self.gap = 1.0, 0.0

    def hear(self, event: Event) -> None:
        if event.kind != "step":
            self._last, self.gap = None, 0.0
            return
        now = clock.monotonic()
        if self._last is not None:
            self.gap = now - self._last
            self._gaps.append(self.gap)
            self._tell(event)
        self._last = now

    def _tell(self, event: Event) -> None:
        gaps = self._gaps
        while len(gaps) > _FEWEST and sum(gaps) - gaps[0] >= _SPAN:
            gaps.popleft()
        if len(gaps) < _FEWEST or sum(gaps) < _SPAN:
            return
        mean = sum(gaps) / len(gaps)
        self._least = min(self._least, mean)
        steps, epochs = event.data.get("total_steps"), event.data.get("epochs")
        if self._epoch and steps and epochs:
            far, ratio = FAR, mean * steps / epochs / self._epoch
        else:
            far, ratio = _DRIFT, mean / self._least
        self.slower = min(ratio, _MOST) if ratio >= far else 1.0
