"""The whole suite runs offline, with few threads, and with no setting of the person who runs it."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports torch or huggingface_hub, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["LUTHIER_ALLOCATOR"] = "off"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("COLUMNS", None)

# A shell that starts the suite in the background has it ignore Ctrl-C, and programs that a test starts inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes tells of the machine, not of the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

pytest_plugins = ("postgres",)

REPO = Path(__file__).resolve().parent.parent
_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


class NetworkBlocked(OSError):
    """A test tried to leave this machine."""


def _is_local(family: int, address: Any) -> bool:
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    return isinstance(address, tuple) and str(address[0]).startswith(_LOOPBACK)


def _block(name: str) -> Any:
    real = getattr(socket.socket, name)

    def guarded(self: socket.socket, *args: Any) -> Any:
        if not _is_local(self.family, args[-1]):
            raise NetworkBlocked(f"the suite runs offline, but something wants to reach {args[-1]!r}")
        return real(self, *args)

    return guarded


def _resolve_locally(host: Any, *args: Any, **options: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if name is not None and not str(name).startswith(_LOOPBACK):
        raise NetworkBlocked(f"the suite runs offline, but something looks up {name!r}")
    return _real_getaddrinfo(host, *args, **options)


_real_getaddrinfo = socket.getaddrinfo
for _name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, _name, _block(_name))
socket.getaddrinfo = _resolve_locally


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The time limit of pyproject.toml is for tests that hang; slow ones may take an hour."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the repository."""
    return REPO


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Frozen activations, and the ledger of forecasts, go where no other run looks."""
    os.environ["LUTHIER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["LUTHIER_LEDGER"] = str(tmp_path_factory.mktemp("ledger") / "forecasts.jsonl")


@pytest.fixture(scope="module", autouse=True)
def _no_thread_stays() -> Iterator[None]:
    """What a module started ends with it: a client that still retries takes time, and random numbers, from the tests
    after it."""
    before = set(threading.enumerate())
    yield
    for thread in threading.enumerate():
        if thread not in before and thread.name != "tqdm_monitor":  # tqdm's watches all bars, for good
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} outlives the tests that started it"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
