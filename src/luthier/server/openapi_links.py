"""Links of the OpenAPI document: where the id in one answer goes next. Generators of clients and of tests read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_ID = "$response.body#/id"
_FIRST = "$response.body#/data/0/id"
_PERMISSIONS = "/v1/fine_tuning/checkpoints/{checkpoint}/permissions"
_JOB = "/v1/fine_tuning/jobs/{job_id}"
_RECIPE_JOB = "/luthier/v1/jobs/{job_id}"
_SEARCH = "/luthier/v1/searches/{search_id}"
_DECISION = "/luthier/v1/decisions/{decision_id}"
_AUTO = "/luthier/v1/autos/{auto_id}"
_UPLOAD = "/v1/uploads/{upload_id}"
_ENDPOINT = "/luthier/v1/endpoints/{endpoint_id}"

_OF_FILE = ("GET /v1/files/{file_id}", "GET /v1/files/{file_id}/content", "DELETE /v1/files/{file_id}")
_OF_JOB = (
    f"GET {_JOB}", f"GET {_JOB}/events", f"GET {_JOB}/checkpoints", f"POST {_JOB}/cancel", f"POST {_JOB}/pause",
    f"POST {_JOB}/resume", f"GET {_RECIPE_JOB}", f"GET {_RECIPE_JOB}/metrics", f"GET {_RECIPE_JOB}/samples",
)  # fmt: skip
_OF_SEARCH = (
    f"GET {_SEARCH}", f"GET {_SEARCH}/trials", f"POST {_SEARCH}/pause", f"POST {_SEARCH}/resume",
    f"POST {_SEARCH}/cancel",
)  # fmt: skip
_OF_DECISION = (
    f"GET {_DECISION}", f"POST {_DECISION}/pause", f"POST {_DECISION}/resume", f"POST {_DECISION}/cancel",
)  # fmt: skip
_OF_AUTO = (f"GET {_AUTO}", f"POST {_AUTO}/pause", f"POST {_AUTO}/resume", f"POST {_AUTO}/cancel")
_OF_REPORT = (f"GET {_RECIPE_JOB}/report.json", f"GET {_RECIPE_JOB}/report.html")
_OF_UPLOAD = (f"POST {_UPLOAD}/parts", f"POST {_UPLOAD}/cancel")
_OF_PART = (f"POST {_UPLOAD}/complete", *_OF_UPLOAD)
_OF_ENDPOINT = (
    f"GET {_ENDPOINT}", f"POST {_ENDPOINT}/start", f"POST {_ENDPOINT}/stop", f"DELETE {_ENDPOINT}",
)  # fmt: skip
_DATASET = "/luthier/v1/datasets/{dataset_id}"
_VERSION = f"{_DATASET}/versions/{{version}}"
_OF_DATASET = (f"GET {_DATASET}", f"GET {_DATASET}/versions", f"DELETE {_DATASET}")
_OF_VERSION = (f"GET {_VERSION}", f"GET {_VERSION}/rows")
_OF_MODEL = ("GET /v1/models/{model}", "DELETE /v1/models/{model}")

PARAMETERS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("POST /v1/files", "file_id", _ID, _OF_FILE),
    ("GET /v1/files", "file_id", _FIRST, _OF_FILE[:2]),
    ("DELETE /v1/files/{file_id}", "file_id", _ID, _OF_FILE[:1]),
    (f"POST {_UPLOAD}/complete", "file_id", "$response.body#/file/id", _OF_FILE),
    ("POST /v1/uploads", "upload_id", _ID, _OF_UPLOAD),
    (f"POST {_UPLOAD}/parts", "upload_id", "$response.body#/upload_id", _OF_PART),
    ("POST /v1/fine_tuning/jobs", "job_id", _ID, _OF_JOB),
    ("POST /luthier/v1/jobs", "job_id", _ID, _OF_JOB),
    ("GET /v1/fine_tuning/jobs", "job_id", _FIRST, _OF_JOB),
    ("POST /luthier/v1/searches", "search_id", _ID, _OF_SEARCH),
    ("GET /luthier/v1/searches", "search_id", _FIRST, _OF_SEARCH[:2]),
    ("POST /luthier/v1/decisions", "decision_id", _ID, _OF_DECISION),
    ("GET /luthier/v1/decisions", "decision_id", _FIRST, _OF_DECISION[:1]),
    ("POST /luthier/v1/autos", "auto_id", _ID, _OF_AUTO),
    ("GET /luthier/v1/autos", "auto_id", _FIRST, _OF_AUTO[:1]),
    (f"GET {_RECIPE_JOB}", "job_id", _ID, _OF_REPORT),
    ("GET /v1/models", "model", _FIRST, _OF_MODEL[:1]),
    (f"GET {_JOB}", "model", "$response.body#/fine_tuned_model", _OF_MODEL[:1]),
    ("DELETE /v1/models/{model}", "model", _ID, _OF_MODEL[:1]),
    (f"GET {_JOB}/checkpoints", "checkpoint", "$response.body#/data/0/fine_tuned_model_checkpoint",
     (f"GET {_PERMISSIONS}", f"POST {_PERMISSIONS}")),
    (f"POST {_PERMISSIONS}", "permission_id", _FIRST, (f"DELETE {_PERMISSIONS}/{{permission_id}}",)),
    ("POST /luthier/v1/datasets", "dataset_id", _ID, _OF_DATASET),
    ("GET /luthier/v1/datasets", "dataset_id", _FIRST, _OF_DATASET[:2]),
    (f"GET {_DATASET}/versions", "version", "$response.body#/data/0/version", _OF_VERSION),
    (f"DELETE {_DATASET}", "dataset_id", _ID, _OF_DATASET[:1]),
    ("POST /luthier/v1/keys", "key_id", _ID, ("DELETE /luthier/v1/keys/{key_id}",)),
    ("POST /luthier/v1/endpoints", "endpoint_id", _ID, _OF_ENDPOINT),
    ("GET /luthier/v1/endpoints", "endpoint_id", _FIRST, _OF_ENDPOINT[:1]),
    (f"DELETE {_ENDPOINT}", "endpoint_id", _ID, _OF_ENDPOINT[:1]),
)  # fmt: skip
"""(the answer of, parameter, where in the answer, routes that take it)."""

BODIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST /v1/files", "POST /v1/fine_tuning/jobs", {"training_file": _ID}),
    ("POST /v1/files", "POST /luthier/v1/check", {"file": _ID}),
    (f"POST {_UPLOAD}/parts", f"POST {_UPLOAD}/complete", {"part_ids": [_ID]}),
    (f"POST {_UPLOAD}/complete", "POST /v1/fine_tuning/jobs", {"training_file": "$response.body#/file/id"}),
    ("GET /v1/models", "POST /luthier/v1/endpoints", {"model": _FIRST}),
    ("POST /luthier/v1/projects", "POST /luthier/v1/keys", {"project": _ID}),
)
"""(the answer of, the route, fields of its body)."""


def add_links(document: dict[str, Any]) -> None:
    """Write the links into a document whose operations have ids.

    Raises:
        KeyError: a link names a route that the document does not have.
    """
    for source, target, link in _links():
        name = _operation(document, target)["operationId"]
        links = _operation(document, source)["responses"]["200"].setdefault("links", {})
        links[name] = {"operationId": name, **link}


def _links() -> Iterator[tuple[str, str, dict[str, Any]]]:
    bodies = {(source, target): fields for source, target, fields in BODIES}
    for source, parameter, where, targets in PARAMETERS:
        for target in targets:
            parameters = {parameter: where}
            if "{dataset_id}" in target and parameter != "dataset_id":
                parameters["dataset_id"] = "$request.path.dataset_id"
            if "{checkpoint}" in target and parameter != "checkpoint":
                parameters["checkpoint"] = "$request.path.checkpoint"
            fields = bodies.pop((source, target), None)
            yield source, target, {"parameters": parameters, **({} if fields is None else {"requestBody": fields})}
    for (source, target), fields in bodies.items():
        yield source, target, {"requestBody": fields}


def _operation(document: dict[str, Any], route: str) -> dict[str, Any]:
    method, path = route.split(" ")
    found: dict[str, Any] = document["paths"][path][method.lower()]
    return found

