"""The data check over HTTP: what `luthier check` says of stored files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BeforeValidator, Field

from luthier.jobs.records import Identity, StoredFile
from luthier.server import data_children, store_call
from luthier.server.auth import Caller
from luthier.server.errors import ApiError
from luthier.server.local_files import local_files
from luthier.server.names import find
from luthier.server.openai.answering import unless_gone
from luthier.server.openai.answers import ERRORS, LONGEST_ID, Shape, json_response
from luthier.server.openai.body import Body, whole
from luthier.server.openai.files import find_file
from luthier.server.openai.job_requests import FileId, Name
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1", tags=["Data"], responses=ERRORS)

Column = Annotated[str, Field(max_length=256)]
Position = Annotated[int, Field(ge=0, le=100_000), BeforeValidator(whole)]
FileIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]], Field(min_length=1, max_length=20)
]
Files = FileId | FileIds


class CheckRequest(Body):
    """What to check. `file`, `validation` and `test` are ids of files."""

    file: Files
    task: Literal["auto", "classify", "regress", "extract", "chat", "complete"] = "auto"
    columns: dict[Annotated[str, Field(max_length=32)], Column | Position] = Field(default_factory=dict, max_length=32)
    group: Column | None = None
    validation: Files | None = None
    test: Files | None = None
    model: Name | None = Field(None, description="Whose tokens are counted; a base model.")
    max_length: int | None = Field(None, ge=4, le=1_000_000)
    like: Literal["openai"] | None = Field(None, description="Whose rules the data must keep too.")


class Finding(Shape):
    """One thing that was found."""

    line: int
    code: str
    severity: Literal["error", "warning", "info"]
    message: str
    remedy: str


class CheckReport(Shape):
    """The report, as `luthier check --json` prints it."""

    ok: bool
    task: str
    rows: int
    findings: list[Finding]
    stats: dict[str, Any]


@router.post("/check", response_model=CheckReport)
async def check_files(body: CheckRequest, request: Request, state: State, caller: Caller) -> Response:
    """Find every problem of a data set before time is spent on training."""
    asked, files = await store_call.run(_looked_up, state, caller, body)
    async with data_children.turn(state):
        with await store_call.run(_Copies, state, files) as names:
            answer = await unless_gone(request, _ask(asked, names))
    error = answer.get("error")
    if error is not None:
        raise ApiError(400, str(error["message"]), param=error.get("param"), code=error.get("code"))
    return json_response(answer["report"])


class _Copies:
    """`local_files`, begun in a thread: gives the path of each file's id and the names of the paths."""

    def __init__(self, state: AppState, files: Sequence[StoredFile]) -> None:
        self._files = files
        self._block = local_files(state, files)
        self._paths = self._block.__enter__()

    def __enter__(self) -> tuple[dict[str, str], dict[str, str]]:
        paths = {file.id: str(path) for file, path in zip(self._files, self._paths, strict=True)}
        return paths, {str(path): file.filename for file, path in zip(self._files, self._paths, strict=True)}

    def __exit__(self, *_: object) -> None:
        self._block.__exit__(None, None, None)


def _looked_up(state: AppState, caller: Identity, body: CheckRequest) -> tuple[dict[str, Any], list[StoredFile]]:
    """The request with ids for files and the base's place for the model, and the files."""
    asked: dict[str, Any] = {
        "task": body.task, "columns": dict(body.columns) or None, "group": body.group, "max_length": body.max_length,
        "like": body.like, "model": None,
    }  # fmt: skip
    if body.model is not None:
        asked["model"] = find(state, caller, body.model).base.place
    files: dict[str, StoredFile] = {}
    for name in ("file", "validation", "test"):
        value = getattr(body, name)
        asked["data" if name == "file" else name] = value
        for file_id in [value] if isinstance(value, str) else value or ():
            files[file_id] = find_file(state, caller, file_id, name)
    return asked, list(files.values())


async def _ask(asked: dict[str, Any], copies: tuple[dict[str, str], dict[str, str]]) -> dict[str, Any]:
    """The checking process's answer."""
    paths, names = copies

    def placed(value: Any) -> Any:
        return paths[value] if isinstance(value, str) else value and [paths[item] for item in value]

    placed_all = {key: placed(asked[key]) for key in ("data", "validation", "test")}
    request = {**asked, **placed_all, "names": names}
    return await data_children.ask("luthier.jobs.data_check", request, param="file", what="check")
