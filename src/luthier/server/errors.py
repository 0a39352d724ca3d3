"""Every error in one shape, OpenAI's: {"error": {"message", "type", "param", "code"}}; here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from luthier.core.errors import LuthierError, StorageError

RETRY_SECONDS = 2
"""What a client is told to wait when a part of the service is away."""

_TYPES = {
    401: "invalid_request_error",
    403: "permission_error",
    429: "requests",
    500: "server_error",
    503: "server_error",
}
_CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "request_too_large",
    415: "unsupported_media_type",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "unavailable",
}
_SENTENCES = {
    404: "There is no such address here.",
    405: "This address does not know that method.",
}


class ApiError(HTTPException):
    """An answer that is an error. It is a Starlette HTTPException, so that FastAPI lets it through unchanged."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers) if headers else None)
        self.message = message
        self.type = type or _TYPES.get(status, "invalid_request_error")
        self.param = param
        self.code = code or _CODES.get(status, "error")

    def response(self) -> Response:
        """The answer itself."""
        body = {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}
        # ASCII only: a message may quote what a client sent, and that may be no valid UTF-8.
        content = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
        return Response(content, self.status_code, self.headers, "application/json")


def unavailable(message: str, *, code: str = "unavailable", seconds: int = RETRY_SECONDS) -> ApiError:
    """503 with retry-after."""
    return ApiError(503, message, code=code, headers={"retry-after": str(seconds)})


def from_http(error: HTTPException) -> ApiError:
    """What Starlette and FastAPI raise themselves (404, 405, 400 of a body), in our words."""
    if isinstance(error, ApiError):
        return error
    status = error.status_code if error.status_code != 422 else 400
    return ApiError(status, _SENTENCES.get(status, str(error.detail)), headers=error.headers)


def from_luthier(error: LuthierError) -> ApiError:
    """An error of the rooms below; its class may name the status by `http_status`."""
    status = getattr(error, "http_status", None) or (503 if isinstance(error, StorageError) else 400)
    headers = {"retry-after": str(RETRY_SECONDS)} if status in (429, 503) else None
    return ApiError(status, str(error), param=error.param, code=error.code, headers=headers)


def from_validation(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """A body, path or query that does not fit: 400, with the path of the first value at fault as `param`."""
    first = errors[0]
    kind, place = str(first["type"]), first["loc"][1:]
    param = path_of(place) or None
    name = f"'{param}'" if param else "the request body"
    if kind == "missing":
        message, code = f"Missing required parameter: {name}.", "missing_required_parameter"
    elif kind == "extra_forbidden":
        message, code = f"Unknown parameter: {name}.", "unknown_parameter"
    else:
        message = f"Invalid value for {name}: {first['msg']}."
        code = "invalid_type" if kind.endswith("_type") or kind.endswith("_parsing") else "invalid_value"
    if len(errors) > 1:
        message += f" ({len(errors) - 1} more.)"
    return ApiError(400, message, param=param, code=code)


def path_of(place: Sequence[str | int]) -> str:
    """``("messages", 0, "role")`` as ``messages[0].role``."""
    path = ""
    for step in place:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path[:200]
