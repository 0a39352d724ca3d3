"""MLflow's REST API (mlflow.org/docs/latest/rest-api.html, version 2.0), as far as a mirror needs it.

Not its Python package: that pins pandas, pyarrow, protobuf and packaging below the versions that we are tested with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from luthier.core import clock
from luthier.tracking.mirror import TrackingError

ATTEMPTS = 4
SECONDS_TO_ANSWER = 30.0
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_PIECE = 1 << 20


class MlflowClient:
    """One MLflow server. Asks again after faults that pass; every failure is a `TrackingError`.

    The login comes from MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
    """

    def __init__(self, url: str, *, first_wait: float = 0.5) -> None:
        import httpx2

        self.url = url.rstrip("/")
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
        self._secrets = [secret for secret in (token, password) if secret]
        self._first_wait = first_wait
        # no proxy and no redirect: what is sent reaches the named address and nothing else
        self._http = httpx2.Client(
            trust_env=False, follow_redirects=False, timeout=SECONDS_TO_ANSWER,
            auth=(user, password) if user and password and not token else None,
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )  # fmt: skip

    def post(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of ``POST /api/2.0/mlflow/<name>``."""
        return self._json(self._ask("POST", f"/api/2.0/mlflow/{name}", json=dict(body)))

    def get(self, name: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The answer of ``GET /api/2.0/mlflow/<name>``."""
        return self._json(self._ask("GET", f"/api/2.0/mlflow/{name}", params=dict(query)))

    def upload(self, place: str, content: bytes | Path) -> None:
        """Store an artefact through the server. `place`: its path below the server's artefact root."""
        path = f"/api/2.0/mlflow-artifacts/artifacts/{quote(place)}"
        self._ask("PUT", path, file=content)

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _ask(self, method: str, path: str, *, file: bytes | Path | None = None, **given: Any) -> Any:
        import httpx2

        last = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                clock.sleep(clock.backoff(self._first_wait, attempt))
            if file is not None:
                given["content"] = file if isinstance(file, bytes) else _pieces(file)
            try:
                answer = self._http.request(method, self.url + path, **given)
            except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
                last = f"it cannot be reached ({str(error)[:200] or type(error).__name__})"
                continue
            if answer.status_code < 300:
                return answer
            code, told = _refusal(answer.text)
            last = f"it refused with {answer.status_code}: {told}"
            if answer.status_code not in _AGAIN:
                raise self._failed(last, code)
        raise self._failed(last)

    def _json(self, answer: Any) -> dict[str, Any]:
        try:
            found = json.loads(answer.text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._failed("it answered with something that is no JSON object")
        return found

    def _failed(self, what: str, code: str = "") -> TrackingError:
        for secret in self._secrets:
            what = what.replace(secret, "***")  # some repeat what they were sent
        return TrackingError(
            what, where=self.url, remedy="Is this the address of an MLflow server, and is the login right?",
            code="mlflow_" + code.lower() if code else "mlflow_failed", param="track.mlflow",
        )  # fmt: skip


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _refusal(text: str) -> tuple[str, str]:
    """(MLflow's error code, its words), whatever the shape."""
    try:
        found = json.loads(text)
        return str(found.get("error_code") or "")[:80], str(found.get("message") or "no words")[:300]
    except (ValueError, AttributeError):
        return "", " ".join(text.split())[:200] or "no words"
