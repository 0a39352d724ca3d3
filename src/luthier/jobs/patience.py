"""How long the supervisor waits for what; tests wait less."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Times in seconds.

    Attributes:
        batch: events are committed at least this often.
        beat: the lease of a running job is renewed, and a person's wish looked up, at least this often.
        step, step_factor: a training worker that is silent for `step`, and for `step_factor` times its slowest step,
            hangs.
        other: the same while it loads, evaluates or proves, where nothing tells how long that may take.
        stop: from SIGTERM to SIGKILL.
        save: longest time between two checkpoints.
        look: how often the supervisor looks by itself for work and for lost claims.
        room: how often it looks whether there is room again for jobs that a full disk paused.
        validation: the longest check of a job's files.
        retry: between two tries of a write that the database could not take.
    """

    batch: float = 0.2
    beat: float = 5.0
    step: float = 60.0
    step_factor: float = 10.0
    other: float = 3600.0
    stop: float = 30.0
    save: float = 60.0
    look: float = 1.0
    room: float = 15.0
    validation: float = 1800.0
    retry: float = 0.5
