"""A probe in a process of its own: it may run out of memory, and its peak memory is its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from luthier.core import allocator, durable, errors
from luthier.core.errors import LuthierError, TrainingError
from luthier.core.recipe import Recipe

_OWN_CHOICE = (*allocator.SETTINGS, "GLIBC_TUNABLES", "LD_PRELOAD")


def ask(recipe: Recipe, *, timeout_seconds: float | None = None) -> dict[str, Any]:
    """What `forecasting.probe.probe` says of `recipe`, whose files have their full paths.

    Raises what a run would raise before its first step; `TrainingError` (`probe_out_of_memory`, `probe_failed`).
    """
    folder = Path(tempfile.mkdtemp(prefix="luthier-forecast-"))
    try:
        return _answer(_run(recipe, folder, timeout_seconds))
    finally:
        durable.remove_tree(folder)


def _run(recipe: Recipe, folder: Path, timeout_seconds: float | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [sys.executable, "-m", "luthier.forecasting.child", str(os.getpid()), str(folder)],
            input=recipe.model_dump_json(), capture_output=True, text=True, env=_environment(), check=False,
            timeout=timeout_seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TrainingError(
            f"the probe did not end within {timeout_seconds:g} seconds.", remedy="Use --no-probe for a rough answer.",
            code="probe_failed",
        ) from None  # fmt: skip


def _environment() -> dict[str, str]:
    """That of a run which the command line starts: with its allocator, so that time and memory are the same."""
    environment = dict(os.environ)
    left_alone = any(name in environment for name in _OWN_CHOICE) or environment.get("LUTHIER_ALLOCATOR") == "off"
    return environment if left_alone else {**environment, **allocator.SETTINGS, "LUTHIER_ALLOCATOR": "set"}


def _answer(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = ended.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        answer = {}
    if isinstance(answer.get("probe"), dict):
        probe: dict[str, Any] = answer["probe"]
        return probe
    if "error" in answer:
        raise _error(answer["error"])
    if "memory" in answer or ended.returncode in (-9, 137):
        raise TrainingError(
            "the probe ran out of memory: the run would, too.",
            remedy="Lower train.batch_size (and raise train.accumulate) or train.max_length, or use --no-probe.",
            code="probe_out_of_memory",
        )
    tail = ended.stderr.strip().splitlines()[-1:] or ["no message"]
    raise TrainingError(
        f"the probe failed: {tail[0][:300]}.", remedy="Use --no-probe for a rough answer, and please report this.",
        code="probe_failed",
    )  # fmt: skip


def _error(values: dict[str, Any]) -> LuthierError:
    """The error of the child, as it was raised there."""
    kind = getattr(errors, str(values.get("class")), LuthierError)
    kind = kind if isinstance(kind, type) and issubclass(kind, LuthierError) else LuthierError
    found: LuthierError = kind(
        str(values["message"]), where=str(values["where"]), remedy=str(values["remedy"]), code=str(values["code"]),
        param=values["param"],
    )  # fmt: skip
    return found
