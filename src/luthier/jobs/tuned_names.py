"""The names of what a job makes; the same job always gives the same names, so that a replay makes nothing twice."""

from __future__ import annotations

import hashlib

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def tuned_name(base: str, organisation: str, suffix: str | None, job_id: str) -> str:
    """``ft:<base>:<organisation>:<suffix or empty>:<8 characters>``."""
    number = int.from_bytes(hashlib.sha256(job_id.encode()).digest(), "big")
    letters = ""
    for _ in range(8):
        number, letter = divmod(number, len(_LETTERS))
        letters += _LETTERS[letter]
    return f"ft:{base}:{organisation}:{suffix or ''}:{letters}"


def checkpoint_name(model: str, step: int) -> str:
    """The name of a tuned model as it was after `step`."""
    return f"{model}:ckpt-step-{step}"


def final_artefact(job_id: str) -> str:
    """Where a job's final model is kept."""
    return f"models/{job_id}/final"


def best_artefact(job_id: str, version: str) -> str:
    """Where a model is kept that was the best of an automatic run at some time; `version` is the name of its folder."""
    return f"models/{job_id}/best-{version}"


def checkpoint_artefact(job_id: str, step: int) -> str:
    """Where the model after `step` is kept."""
    return f"models/{job_id}/step-{step}"


def report_artefact(job_id: str) -> str:
    """Where a job's report.json and report.html are kept."""
    return f"reports/{job_id}"


def parts_artefact(job_id: str) -> str:
    """Where what a search, a decision or an automatic run found is kept."""
    return f"found/{job_id}"


def result_file_id(job_id: str) -> str:
    """The id of the file with a job's step metrics."""
    return "file-" + job_id.partition("-")[2]


def checkpoint_id(job_id: str, step: int) -> str:
    """The id of the checkpoint after `step`."""
    digest = hashlib.sha256(f"{job_id}:{step}".encode()).hexdigest()
    return f"ftckpt-{digest[:24]}"
