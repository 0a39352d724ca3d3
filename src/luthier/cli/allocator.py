"""Start again once with an allocator that keeps its memory, where that makes training faster.

glibc returns freed memory to the system and maps large blocks afresh; each training step then pays
page faults for the same buffers again. The settings are read when a process starts, so the command
line replaces itself with itself. docs/design/0001-foundation.md has the reasons and a measurement.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from luthier.core.allocator import SETTINGS

SWITCH = "LUTHIER_ALLOCATOR"
"""``off`` leaves the allocator alone; ``set`` marks a process that was started again."""

_COMPUTING = ("train", "search", "auto", "eval", "predict", "chat")


def restart(verb: str) -> None:
    """Replace this process by the same command with `SETTINGS`, where that helps; else return."""
    if verb in _COMPUTING and helps(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment(os.environ))


def helps(env: Mapping[str, str]) -> bool:
    """Whether a computing verb would start again on this machine."""
    return wanted(env, glibc=_is_glibc(), gpu=_has_gpu())


def wanted(env: Mapping[str, str], *, glibc: bool, gpu: bool) -> bool:
    """Whether to start again: only with glibc on a CPU, once, and not over the user's own settings."""
    own_choice = any(name in env for name in (*SETTINGS, "GLIBC_TUNABLES", "LD_PRELOAD"))
    return glibc and not gpu and not own_choice and env.get(SWITCH, "") not in ("off", "set")


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` with the settings and the mark that stops a second start."""
    return {**env, **SETTINGS, SWITCH: "set"}


def active(env: Mapping[str, str]) -> bool:
    """Whether this process runs with the settings."""
    return all(env.get(name) == value for name, value in SETTINGS.items())


def _is_glibc() -> bool:
    name = "CS_GNU_LIBC_VERSION"
    return sys.platform == "linux" and name in os.confstr_names and bool(os.confstr(name))


def _has_gpu() -> bool:
    return Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()
