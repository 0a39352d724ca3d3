"""A real `luthier serve` in a process of its own, on a free port, with a home of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openai

PATIENCE = 60.0
"""Seconds that anything here may take on a machine that does other work as well."""


class Live:
    """One server. `key` is its first key; `restart` starts it again on the same home and port."""

    def __init__(
        self,
        home: Path,
        *options: str,
        environment: dict[str, str] | None = None,
        program: Sequence[str] = ("-m", "luthier"),
    ) -> None:
        """`program`: what Python is given to start it, with the words of the command line after that."""
        self.home = home
        self.options = options
        self.program = program
        self.environment = environment or {}
        self.key = ""
        self.base_url = ""
        self.process: subprocess.Popen[bytes]
        self._port = "0"
        self._starts = 0

    def start(self) -> Live:
        """Start it and wait until it answers."""
        self._starts += 1
        self.home.parent.mkdir(parents=True, exist_ok=True)
        self.said = self.home.parent / f"{self.home.name}-said-{self._starts}.txt"
        self.log = self.home.parent / f"{self.home.name}-log-{self._starts}.txt"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("LUTHIER_", "OPENAI_"))
        }
        environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "LUTHIER_ALLOCATOR": "off"}
        words = ["serve", "--home", str(self.home), "--port", self._port, *self.options]
        with self.said.open("wb") as said, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.program, *words],
                stdin=subprocess.DEVNULL, stdout=said, stderr=log, env=environment | self.environment,
                start_new_session=True,
            )  # fmt: skip
        self._wait(lambda: re.search(r"listens on (http://\S+) ", self.said.read_text()), "say where it listens")
        text = self.said.read_text()
        found = re.search(r"listens on (http://\S+) ", text)
        assert found is not None
        self.base_url = found[1]
        self._port = self.base_url.rpartition(":")[2]
        if secret := re.search(r"OPENAI_API_KEY=(lu-\S+)", text):
            self.key = secret[1]
        self._wait(self.healthy, "answer /healthz")
        return self

    def healthy(self) -> bool:
        """Whether /healthz says ok."""
        try:
            with urllib.request.urlopen(f"{self.base_url}/healthz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def client(self, **options: Any) -> openai.OpenAI:
        """The unmodified client of OpenAI, with the first key."""
        return openai.OpenAI(api_key=self.key, base_url=f"{self.base_url}/v1", **options)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def restart(self) -> Live:
        """Start again what was stopped or killed."""
        if self.process.poll() is None:
            self.stop()
        return self.start()

    def logs(self) -> str:
        """What all starts so far wrote on stderr."""
        return "".join(
            path.read_text(errors="replace") for path in sorted(self.log.parent.glob(f"{self.home.name}-log-*"))
        )

    def _wait(self, happened: Any, what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not happened():
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                raise AssertionError(f"the server did not {what}:\n{self.logs()[-4000:]}")
            time.sleep(0.05)
