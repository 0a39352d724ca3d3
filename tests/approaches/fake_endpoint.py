"""An OpenAI-compatible endpoint of this process, which answers by a function and can misbehave in order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any, dict[str, str]]


def completion(text: str, **more: Any) -> dict[str, Any]:
    """A chat completion's JSON."""
    message = {"role": "assistant", "content": text} | more
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3},
    }


class FakeEndpoint:
    """`answer(body)` gives a text or a whole `Reply`; `before` holds replies that are given first."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any], before: list[Reply] | None = None) -> None:
        self.answer, self.before = answer, list(before or ())
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.delay = 0.0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    outer.bodies.append(body)
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    scripted = outer.before.pop(0) if outer.before else None
                time.sleep(outer.delay)
                status, content, headers = scripted or _reply(outer.answer(body))
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> FakeEndpoint:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _reply(answer: Any) -> Reply:
    return (200, completion(answer), {}) if isinstance(answer, str) else answer
