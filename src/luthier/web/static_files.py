"""GET /static/{version}/{name}: our files, compressed, kept by browsers for a year."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from luthier.server import store_call
from luthier.server.auth import open_to_all
from luthier.server.errors import ApiError
from luthier.web import assets

router = APIRouter(include_in_schema=False)

_YEAR = "public, max-age=31536000, immutable"


@router.get("/static/{version}/{name:path}")
@open_to_all
async def static_file(version: str, name: str, request: Request) -> Response:
    """A file under the hash of the program that is installed now; under another there is none."""
    asset = await store_call.run(assets.find, name) if version == assets.version() else None
    if asset is None:
        raise ApiError(404, "There is no such file. The program was updated: load the page again.", code="no_file")
    headers = {"cache-control": _YEAR, "etag": asset.tag, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = await store_call.run(lambda: asset.packed)
        return Response(content, headers={**headers, "content-encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


@router.get("/favicon.ico")
@open_to_all
async def favicon() -> Response:
    """What browsers ask for by themselves."""
    asset = assets.assets()["icon.svg"]
    return Response(asset.content, headers={"cache-control": "public, max-age=86400"}, media_type=asset.media_type)
