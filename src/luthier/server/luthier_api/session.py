"""Login and logout of the pages: a key is exchanged for a cookie, so that no script ever holds the key."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from luthier.jobs.errors import NotFound
from luthier.jobs.page_records import Session
from luthier.jobs.records import Identity
from luthier.server import cookies, store_call
from luthier.server.auth import Caller, open_to_all
from luthier.server.exchange import exchange_of
from luthier.server.logins import FailedLogins
from luthier.server.openai.answers import ERRORS, Shape, failure, json_response
from luthier.server.openai.body import Body
from luthier.server.state import AppState, State

router = APIRouter(tags=["Session"], responses=ERRORS)
_NAME = "luthier_api.session"


class LoginRequest(Body):
    """The key to log in with. It is kept nowhere: the answer's cookie stands for it."""

    key: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class SessionObject(Shape):
    """Who is logged in. `csrf` goes into the header X-Luthier-CSRF of every request that is no GET; it and
    `expires_at` are null where the request came with a key and not with a cookie."""

    object: Literal["session"]
    project: str
    project_name: str
    key_id: str
    role: Literal["admin", "write", "read"]
    csrf: str | None
    expires_at: int | None


class SessionEnded(Shape):
    """`deleted`: whether there was a session."""

    object: Literal["session.deleted"]
    deleted: bool


@router.post(
    "/session",
    operation_id="logIn",
    response_model=SessionObject,
    responses=failure(401, "No valid key.") | failure(429, "Too many failed logins; see retry-after."),
)
@open_to_all
async def log_in(body: LoginRequest, request: Request, state: State) -> Response:
    """Begin a session. Its cookie is HttpOnly and SameSite=Strict, and Secure behind TLS."""
    identity = await store_call.run(state.store.keys.authenticate, body.key)
    if identity is None:
        raise _failed(state).failed(str(request.client.host if request.client else ""))
    headers = exchange_of(request.scope).headers
    old = cookies.token_of(headers)
    if old is not None:
        await store_call.run(state.store.sessions.end, old)
    seconds = state.settings.session_seconds
    try:
        session, token = await store_call.run(state.store.sessions.create, identity, seconds)
    except NotFound:
        raise _failed(state).failed("") from None
    answer = json_response(await store_call.run(_shape, state, identity, session, token))
    tls = headers.get(b"origin", b"").lower().startswith(b"https://")
    answer.headers["set-cookie"] = cookies.set_cookie(request.headers.get("host"), token, seconds, tls=tls)
    return answer


@router.get("/session", operation_id="getSession", response_model=SessionObject)
async def get_session(request: Request, state: State, caller: Caller) -> Response:
    """Who is logged in, and the word for X-Luthier-CSRF."""
    token = exchange_of(request.scope).token
    session = None if token is None else await store_call.run(state.store.sessions.get, token)
    return json_response(await store_call.run(_shape, state, caller, session, token))


@router.delete(
    "/session", operation_id="logOut", response_model=SessionEnded, responses=failure(403, "Not by this page.")
)
@open_to_all
async def log_out(request: Request, state: State) -> Response:
    """End the session of the request's cookie. A reading key's session may, too."""
    headers = exchange_of(request.scope).headers
    token = cookies.token_of(headers)
    deleted = False
    if token is not None:
        if await store_call.run(state.store.sessions.authenticate, token) is not None:
            refused = cookies.check_csrf(token, headers)
            if refused is not None:
                raise refused
        deleted = await store_call.run(state.store.sessions.end, token)
    answer = json_response({"object": "session.deleted", "deleted": deleted})
    host = request.headers.get("host")
    for tls in (True, False):
        answer.headers.append("set-cookie", cookies.set_cookie(host, "", 0, tls=tls))
    return answer


def _failed(state: AppState) -> FailedLogins:
    known = state.extras.get(_NAME)
    if not isinstance(known, FailedLogins):
        known = state.extras[_NAME] = FailedLogins()
    return known


def _shape(state: AppState, identity: Identity, session: Session | None, token: str | None) -> dict[str, Any]:
    return {
        "object": "session",
        "project": identity.project_id,
        "project_name": state.store.projects.get(identity.project_id).name,
        "key_id": identity.key_id,
        "role": identity.role,
        "csrf": None if session is None or token is None else cookies.csrf_of(token),
        "expires_at": None if session is None else session.expires_at,
    }
