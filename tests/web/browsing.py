"""Chromium on a server: every page that a test opens notes what went wrong on it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
PATIENCE_MS = 180_000
SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
WIDE, NARROW = {"width": 1360, "height": 900}, {"width": 360, "height": 780}


@dataclass
class Visit:
    """One tab. `faults`: what the console, the policy and the network complained of."""

    page: Any
    base_url: str
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective"
            " + ' ' + e.blockedURI + ' ' + e.sample));"
        )

    def go(self, path: str) -> Visit:
        """Open a page."""
        self.page.goto(self.base_url + path)
        return self

    def settled(self) -> Visit:
        """Wait until nothing on the page says that it is being filled."""
        self.page.wait_for_function("() => !document.querySelector('[aria-busy=true], .skeleton')")
        return self

    def log_in(self, key: str) -> Visit:
        """Log in by the page."""
        self.go("/login")
        self.page.fill("#key", key)
        self.page.click("text=Log in >> nth=-1")
        self.page.wait_for_url("**/")
        return self

    def shot(self, name: str) -> None:
        """Keep the picture: CI shows them."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)

    def clean(self) -> None:
        """Nothing went wrong since the last call."""
        faults = [one for one in self.faults if not any(part in one for part in self.expected)]
        self.faults.clear()
        assert not faults, faults

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and "GPU stall" not in message.text:
            self.faults.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        self.requests.append(request.url)
        host = urlsplit(request.url).netloc
        if host and host != urlsplit(self.base_url).netloc:
            self.faults.append(f"a request elsewhere: {request.url}")
