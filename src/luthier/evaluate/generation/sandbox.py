"""Python code that nobody has read runs in a process with next to no rights.

It has its own session and an empty environment, limits on CPU, memory, files and processes, the files of the
interpreter and of one temporary folder (Landlock), no network (namespaces of its own), and another user where Luthier
runs as root. Where the system lacks one of these, `missing` says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.core import clock
from luthier.core.errors import UsageError

_NOBODY = 65534
_CHILD = Path(__file__).with_name("sandbox_child.py")
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_ERROR_CHARACTERS = 2000
_PROBE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use; `seconds` is wall clock, `output` and `memory` are bytes."""

    seconds: float = 10.0
    cpu_seconds: int = 10
    memory: int = 512 * 2**20
    file_size: int = 8 * 2**20
    processes: int = 16
    output: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """`ok`: it ended by itself with exit status 0. `error` is its standard error, or what stopped it."""

    ok: bool
    stdout: str
    error: str = ""


def run_python(code: str, limits: Limits | None = None) -> SandboxResult:
    """Run `code` as a program; whatever it does is a result, not an exception.

    Raises `UsageError` on a system without POSIX limits (Windows).
    """
    if os.name != "posix":
        raise UsageError(
            "code can only be run in the sandbox of a POSIX system.",
            remedy="Leave evaluate.run_code and python graders out, or use Linux, macOS or WSL.",
            code="no_sandbox",
            param="evaluate.run_code",
        )
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="luthier-sandbox-", ignore_cleanup_errors=True) as folder:
        way = _way()
        if way.user is not None:
            os.chown(folder, way.user, way.user)
        return _run(way, _python(limits, folder), code.encode("utf-8", "replace"), limits, folder)


def missing() -> list[str]:
    """What this machine cannot give the sandbox, in sentences."""
    found = []
    way = _way()
    if not way.namespaces:
        found.append("This system gives no namespaces, so code that is run can reach the network.")
    if not _landlock():
        found.append("This system has no Landlock, so code that is run can read the files that you can read.")
    if os.geteuid() == 0 and way.user is None and not way.namespaces:
        found.append("Luthier runs as root, so the number of processes that code starts is not limited.")
    return found


def _python(limits: Limits, folder: str) -> list[str]:
    executable = os.path.realpath(sys.executable)
    numbers = (limits.cpu_seconds, limits.memory, limits.file_size, limits.processes)
    readable = [sys.base_prefix, sys.base_exec_prefix, str(Path(os.__file__).parent), *_LIBRARIES]
    child = _CHILD.read_text(encoding="utf-8")
    return [executable, "-I", "-S", "-c", child, *map(str, numbers), folder, *dict.fromkeys(readable)]


@dataclass(frozen=True, slots=True)
class _Way:
    """How a program is started: what stands in front of it, and as whom (None: as ourselves)."""

    namespaces: tuple[str, ...] = ()
    user: int | None = None


@functools.cache
def _way() -> _Way:
    """The strictest of the ways that work here.

    Root is exempt from the limit on processes. So it becomes nobody; where nobody cannot reach the interpreter, only
    the real user id changes, which that limit goes by, and the user namespace takes root's rights away.
    """
    unshare, setpriv = shutil.which("unshare"), shutil.which("setpriv")
    apart = () if unshare is None else (unshare, "--user", "--net", "--ipc", "--pid", "--fork", "--kill-child")
    as_root = os.geteuid() == 0
    ways = [_Way(apart, _NOBODY if as_root else None)]
    if as_root and apart and setpriv is not None:
        ways.append(_Way((setpriv, "--ruid", str(_NOBODY), "--clear-groups", *apart)))
    ways.append(_Way((), _NOBODY if as_root else None))
    return next((way for way in ways if _works(way)), _Way())


def _works(way: _Way) -> bool:
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", "import ctypes, resource"]
    try:
        process = _start(way, command, "/")
    except OSError:
        return False
    try:
        process.communicate(timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    finally:
        _kill(process)
    return process.returncode == 0


@functools.cache
def _landlock() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).syscall(444, None, 0, 1) >= 1)  # landlock_create_ruleset: its version


def _start(way: _Way, command: Sequence[str], folder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*way.namespaces, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={},
        start_new_session=True,
        user=way.user,
        group=way.user,
        extra_groups=None if way.user is None else (),
    )


def _run(way: _Way, command: Sequence[str], code: bytes, limits: Limits, folder: str) -> SandboxResult:
    process = _start(way, command, folder)
    out, error = bytearray(), bytearray()
    try:
        stopped = _attend(process, code, limits, out, error)
    finally:
        _kill(process)
    text = out[: limits.output].decode("utf-8", "replace")
    if stopped:
        return SandboxResult(False, text, stopped)
    said = error.decode("utf-8", "replace").strip()[-_ERROR_CHARACTERS:]
    if process.returncode == 0:
        return SandboxResult(True, text, said)
    return SandboxResult(False, text, said or _ending(process.returncode))


def _attend(
    process: subprocess.Popen[bytes], code: bytes, limits: Limits, out: bytearray, error: bytearray
) -> str:
    """Write the code, collect what it says, watch time and amount; why it was stopped, if it was."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    too_long = f"stopped after {limits.seconds:g} seconds"
    deadline = clock.monotonic() + limits.seconds
    heard = {process.stdout.fileno(): out, process.stderr.fileno(): error}
    with selectors.DefaultSelector() as selector:
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        for descriptor in heard:
            selector.register(descriptor, selectors.EVENT_READ)
        waiting = memoryview(code)
        open_streams = len(heard)
        while open_streams:
            left = deadline - clock.monotonic()
            if left <= 0:
                return too_long
            for key, _ in selector.select(left):
                if key.fd not in heard:
                    waiting = _write(key.fd, waiting)
                    if not waiting:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                piece = os.read(key.fd, 65536)
                if not piece:
                    selector.unregister(key.fd)
                    open_streams -= 1
                heard[key.fd] += piece
                if len(heard[key.fd]) > limits.output:
                    return f"stopped: it printed more than {limits.output:,} bytes"
    try:
        process.wait(max(0.01, deadline - clock.monotonic()))
    except subprocess.TimeoutExpired:
        return too_long
    return ""


def _write(descriptor: int, waiting: memoryview) -> memoryview:
    """What is left to write; nothing more when the program does not read."""
    try:
        return waiting[os.write(descriptor, waiting[:65536]) :]
    except BrokenPipeError:
        return waiting[:0]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The whole group, its children too, and nothing left open."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _ending(status: int) -> str:
    number = -status if status < 0 else status - 128
    names = {signal.SIGXCPU: "stopped: it used all its CPU time", signal.SIGXFSZ: "stopped: it wrote too large a file"}
    if number in names:
        return names[signal.Signals(number)]
    return f"ended with status {status}" if status > 0 else f"ended by signal {-status}"
