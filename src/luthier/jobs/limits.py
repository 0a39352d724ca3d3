"""How many jobs may run and wait."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one queue allows.

    Attributes:
        running: jobs at once on one device of one supervisor.
        per_key: jobs of one key that are not over; None: any number.
        per_project: the same for a project.
        crashes: releases without progress in a row, after which a job has failed.
        losses: lost supervisors in a row without a new step, after which a job has failed. A server that is
            restarted often is no fault of the job, so this is much higher.
    """

    running: int = 1
    per_key: int | None = None
    per_project: int | None = None
    crashes: int = 3
    losses: int = 20
