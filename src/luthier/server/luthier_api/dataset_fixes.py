"""Fixes of a data set's rows, which make a new version; the old one stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BeforeValidator, Field

from luthier.jobs.dataset_fixing import DUPLICATES, NEAR_DUPLICATES
from luthier.jobs.errors import NotFound
from luthier.jobs.page_records import DatasetVersion
from luthier.jobs.records import Identity
from luthier.server import data_children, store_call
from luthier.server.auth import Caller
from luthier.server.dataset_checks import FINDINGS, REPORT, CheckOptions, check_of
from luthier.server.dataset_sources import store_stream, temporary_folder, view_name
from luthier.server.dataset_views import make_view, open_view
from luthier.server.errors import ApiError
from luthier.server.local_files import local_files
from luthier.server.luthier_api.dataset_shapes import DatasetId, VersionObject, version_json
from luthier.server.openai.answers import ERRORS, failure, json_response, now
from luthier.server.openai.body import Body, JsonObject
from luthier.server.openai.files import find_file, room_for
from luthier.server.state import AppState, State

router = APIRouter(prefix="/luthier/v1/datasets", tags=["Data"], responses=ERRORS)

MOST_DROPPED = 100_000
MOST_WRITTEN = 1000
def _whole(value: Any) -> Any:
    """1004.0 is an integer to JSON Schema, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


RowNumber = Annotated[int, Field(ge=1, le=2**31 - 1), BeforeValidator(_whole)]
ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
Code = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z_]+$")]


class DropRows(Body):
    """Leave rows out, by their numbers."""

    fix: Literal["drop_rows"]
    rows: Annotated[list[RowNumber], Field(min_length=1, max_length=MOST_DROPPED)]


class DropFindings(Body):
    """Leave out the rows that have one of these findings in the version's check."""

    fix: Literal["drop_findings"]
    codes: Annotated[list[Code], Field(min_length=1, max_length=50)]


class Dedupe(Body):
    """Leave out rows that say what an earlier one says, but for case, spaces and punctuation; with `near`, also those
    that say nearly the same."""

    fix: Literal["dedupe"]
    near: bool = False


class MapColumns(Body):
    """Rename columns: what each is to be called, and what it is called now."""

    fix: Literal["map_columns"]
    columns: Annotated[dict[ColumnName, ColumnName], Field(min_length=1, max_length=32)]


class AddRows(Body):
    """Rows for the end."""

    fix: Literal["add_rows"]
    rows: Annotated[list[JsonObject], Field(min_length=1, max_length=MOST_WRITTEN)]


class Correction(Body):
    """A row's new values, by column; columns that are not named stay."""

    row: RowNumber
    values: JsonObject


class CorrectRows(Body):
    """Other values for rows."""

    fix: Literal["correct_rows"]
    rows: Annotated[list[Correction], Field(min_length=1, max_length=MOST_WRITTEN)]


Fix = Annotated[
    DropRows | DropFindings | Dedupe | MapColumns | AddRows | CorrectRows, Field(discriminator="fix")
]


class VersionRequest(Body):
    """Which version is mended, and how. Rows are numbered as in that version, whatever other fixes do."""

    base: Annotated[int, Field(ge=1, le=1_000_000)]
    fixes: Annotated[list[Fix], Field(min_length=1, max_length=20)]


@router.post(
    "/{dataset_id}/versions", operation_id="createDatasetVersion", response_model=VersionObject,
    responses=failure(409, "There are too many versions.") | failure(413, "There is no room."),
)  # fmt: skip
async def create_version(dataset_id: DatasetId, body: VersionRequest, state: State, caller: Caller) -> Response:
    """Make the next version. Two at once make two, both of the version that they name."""
    try:
        base = await store_call.run(state.store.datasets.version, caller.project_id, dataset_id, body.base)
    except NotFound as error:  # in the words of the body: a version is its `base`
        raise ApiError(404, str(error), param="base" if error.param == "version" else error.param) from None
    request = await _request(state, caller, base, body.fixes)
    await open_view(state, caller, base)  # makes it where it was lost
    made = await _mended(state, caller, base, request)
    return json_response(version_json(made))


async def _request(state: AppState, caller: Identity, base: DatasetVersion, fixes: list[Fix]) -> dict[str, Any]:
    """What the mending process is asked, but for the paths."""
    drop: list[int] = []
    add: list[dict[str, Any]] = []
    codes: list[str] = []
    rename: dict[str, str] = {}
    correct: dict[str, dict[str, Any]] = {}
    for fix in fixes:
        if isinstance(fix, DropRows):
            drop += fix.rows
        elif isinstance(fix, DropFindings):
            codes += fix.codes
        elif isinstance(fix, Dedupe):
            codes += NEAR_DUPLICATES if fix.near else DUPLICATES
        elif isinstance(fix, MapColumns):
            rename |= fix.columns
        elif isinstance(fix, AddRows):
            add += fix.rows
        else:
            for one in fix.rows:
                correct[str(one.row)] = correct.get(str(one.row), {}) | one.values
    missing = [name for name in rename.values() if name not in base.columns]
    if missing or len(set(rename.values())) != len(rename):
        names = ", ".join(base.columns)[:300]
        wrong = f"There is no column {missing[0]!r}" if missing else "A column has two new names"
        raise ApiError(400, f"{wrong}; the columns are {names}.", param="fixes", code="missing_column")
    request: dict[str, Any] = {
        "drop": drop, "codes": codes, "rename": rename, "correct": correct, "add": add, "findings": {},
    }  # fmt: skip
    if codes:
        folder = await check_of(state, caller, base, CheckOptions(), None)
        assert folder is not None  # it waits
        request["findings"] = {"report": str(folder / REPORT), "rest": str(folder / FINDINGS)}
    return request


async def _mended(
    state: AppState, caller: Identity, base: DatasetVersion, request: dict[str, Any]
) -> DatasetVersion:
    file = await store_call.run(find_file, state, caller, base.file_id)
    largest, too_large = await room_for(state, caller, state.settings.max_file_bytes)
    with temporary_folder(state) as folder:
        out = folder / "fixed"
        async with data_children.turn(state):
            copies = local_files(state, [file])
            [path] = await store_call.run(copies.__enter__)
            try:
                view = await store_call.run(state.artefacts.folder, view_name(file.id))
                names = {str(path): file.filename}
                places = {"path": str(path), "view": str(view), "out": str(out), "names": names}
                told = await data_children.ask(
                    "luthier.jobs.dataset_fixing", request | places, param="fixes",
                    seconds=data_children.READING_SECONDS,
                )  # fmt: skip
            finally:
                await store_call.run(copies.__exit__, None, None, None)
        error = told.get("error")
        if error is not None:
            raise ApiError(400, str(error["message"]), param="fixes", code=error["code"])
        name = f"{Path(file.filename).stem.partition('.fixed')[0]}.fixed{told['ending']}"

        def keep() -> Any:
            with open(out, "rb") as stream:
                return store_stream(state, caller, stream, name, largest, too_large, "fixes")

        new = await store_call.run(keep)
    try:
        facts = await make_view(state, new, "fixes")
        origin = {
            "kind": "fixes", "base": base.version, "dropped": told["dropped"], "corrected": told["corrected"],
            "added": told["added"], "renamed": request["rename"], "codes": sorted(set(request["codes"])),
        }  # fmt: skip
        version = DatasetVersion(
            base.dataset_id, 0, new.id, base.test_file_id, facts["format"], facts["task"], facts["rows"], new.bytes,
            new.sha256, facts["columns"], origin, now(),
        )  # fmt: skip
        return await store_call.run(
            state.store.datasets.add_version, caller.project_id, version, new, state.settings.max_project_bytes
        )
    except BaseException:
        state.artefacts.delete_folder(view_name(new.id))
        state.artefacts.delete(new.artefact)
        raise
