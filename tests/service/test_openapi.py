"""F7: the server against its own OpenAPI document: what that promises holds for whatever it allows, and forbids.

Making requests up takes more time than answering them, so each is made once and sent to a server on either database.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition, Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.parameters import ParameterLocation
from schemathesis.python import asgi

sys.path.append(str(Path(__file__).resolve().parent.parent / "server"))

from scripted import ScriptedEngine, add_model, says
from wire import Wire, chat_rows, class_rows

from luthier.jobs.ids import new_id
from luthier.jobs.known_identities import digest_of
from luthier.jobs.records import Job, NewEvent
from luthier.jobs.tables import keys
from luthier.server.open_streams import OpenStreams

load_all_checks()
CHECKED = [CHECKS.get_one(name) for name in CHECKS.get_all_names()]
ACCEPTED = CHECKS.get_one("positive_data_acceptance")
THERE = CHECKS.get_one("ensure_resource_availability")
ASKS_FOR_A_KEY = CHECKS.get_one("ignored_auth")
EVERYWHERE = {
    "invalid_text": "U+0000 deep inside of JSON without a schema, such as a tool's parameters",
    "invalid_number": "an integer of more than 64 bits, there too",
}
MODELS = {
    "model_does_not_write": "what a model can do is known by asking GET /v1/models/{model}",
    "model_does_not_embed": "the same",
    "model_does_not_predict": "the same",
}
TURNS = (
    "bad_arguments", "bad_tool", "bad_tool_call", "duplicate_tool_call", "empty_answer", "empty_text", "invalid_value",
    "misplaced_field", "missing_content", "missing_tool_call_id", "tool_answer_without_call",
    "tool_call_without_answer", "unknown_tool", "wrong_type",
)  # fmt: skip
CHATS = MODELS | dict.fromkeys(TURNS, "what a turn holds depends on its role, the tools, and the turns before it")
STATUS = {"job_status": "what may be asked of a job depends on its state; OpenAI answers 400 too"}
AUTOS = {
    "invalid_value": "what a base learns, settings below train, and a budget as a text",
    "missing_required_parameter": "files or a data set", "not_a_base": "a model that is tuned already",
    "invalid_recipe": "settings are keys of a recipe", "invalid_file_purpose": "what a file was uploaded for",
    "idempotency_key_reused": "a key that came before with another request",
}  # fmt: skip
UPLOAD_OVER = {
    "upload_cancelled": "the state of the upload",
    "upload_completed": "the state of the upload",
    "upload_expired": "the state of the upload",
}
MAY_REFUSE: dict[str, dict[str, str]] = {
    "POST /v1/fine_tuning/jobs": {
        "invalid_value": "'hyperparameters' in two places",
        "idempotency_key_reused": "a key that came before with another request",
        "task_not_recognised": "a file that says not plainly what is to be learned",
        "invalid_file_purpose": "what a file was uploaded for",
    },
    "POST /v1/fine_tuning/jobs/{job_id}/cancel": STATUS,
    "POST /v1/fine_tuning/jobs/{job_id}/pause": STATUS,
    "POST /v1/fine_tuning/jobs/{job_id}/resume": STATUS,
    "POST /v1/files": {"unsupported_file_type": "archives are known by their bytes"},
    "POST /v1/uploads": {"invalid_value": "a name of which nothing can be shown"},
    "POST /v1/uploads/{upload_id}/parts": UPLOAD_OVER | {"part_too_large": "what is left of the upload"},
    "POST /v1/uploads/{upload_id}/complete": UPLOAD_OVER | {
        "size_mismatch": "the parts are not the whole",
        "checksum_mismatch": "the md5 is of other bytes",
        "unsupported_file_type": "archives are known by their bytes",
    },
    "POST /v1/uploads/{upload_id}/cancel": UPLOAD_OVER,
    "POST /v1/chat/completions": CHATS,
    "POST /v1/responses": CHATS | {
        "unknown_parameter": "what an item holds depends on its type",
        "invalid_type": "the same",
        "missing_required_parameter": "the same",
        "unsupported_parameter": "a field of OpenAI's that must be null, or is only about their service",
    },
    "POST /v1/completions": MODELS | {"invalid_value": "fields that do not go together"},
    "POST /v1/embeddings": MODELS | {"invalid_value": "how many dimensions a model has"},
    "POST /luthier/v1/predict": CHATS,
    "POST /v1/fine_tuning/alpha/graders/validate": {"invalid_grader": "to say this is what the route is for"},
    "POST /luthier/v1/jobs": {
        "invalid_recipe": "a recipe has rules of its own: docs/recipe.md",
        "idempotency_key_reused": "a key that came before with another request",
    },
    "POST /luthier/v1/jobs/{job_id}/extend": {
        "job_status": "only what has succeeded is extended", "invalid_value": "epochs that it has had count too",
        "idempotency_key_reused": "a key that came before with another request",
    },
    "POST /luthier/v1/searches": {
        "invalid_recipe": "a recipe has rules of its own: docs/recipe.md", "no_search": "a search is deep inside of it",
        "idempotency_key_reused": "a key that came before with another request",
    },
    "POST /luthier/v1/decisions": {
        "invalid_value": "what a base learns, and settings below train", "not_a_base": "a model that is tuned already",
        "invalid_recipe": "settings are keys of a recipe", "invalid_file_purpose": "what a file was uploaded for",
        "idempotency_key_reused": "a key that came before with another request",
    },
    "POST /luthier/v1/autos": AUTOS,
    "POST /luthier/v1/autos/texts": AUTOS,
    "POST /luthier/v1/recipes": {"invalid_recipe": "a recipe has rules of its own: docs/recipe.md"},
    "POST /luthier/v1/compare": {"same_job": "a job that is named twice", "job_not_finished": "the state of a job"},
    "POST /luthier/v1/forecast": {"invalid_recipe": "a recipe has rules of its own: docs/recipe.md"},
    "POST /luthier/v1/check": {"check_failed": "a file that is no data", "invalid_data": "the same"},
    "POST /luthier/v1/datasets": {
        "one_source": "one of four fields",
        "empty_file": "a file without rows",
        "unsupported_file_type": "archives are known by their bytes",
        "binary_file": "the same",
        "wrong_encoding": "the same",
    },
    "POST /luthier/v1/datasets/{dataset_id}/versions": {
        "missing_column": "what the columns are called depends on the data",
        "row_not_found": "how many rows there are, too",
        "empty_file": "what would be left",
        "no_change": "what would change",
    },
    "GET /luthier/v1/datasets/{dataset_id}/versions/{version}/tokens": {
        "missing_column": "whether the rows are of the task depends on the data",
        "missing_field": "the same",
        "wrong_task": "the same",
        "wrong_type": "the same",
        "unknown_model": "whether a model reads that",
        "ambiguous_task": "the same",
        "ambiguous_column": "the same",
    },
    "POST /luthier/v1/endpoints": {"invalid_request": "an endpoint of an endpoint"},
}  # fmt: skip
"""Errors with which a route may refuse what the document allows, as JSON Schema has no words for the rule."""
LONGEST = 2.0
"""Seconds for an answer; a slow one is asked for again, twice, for other processes want the processor too."""
LONGEST_PROCESS = 60.0
"""Seconds where the server begins a process that imports transformers, which alone takes four on an idle core."""
OWN_PROCESS = {
    ("POST", "/luthier/v1/check"), ("POST", "/v1/fine_tuning/alpha/graders/validate"), ("POST", "/luthier/v1/datasets"),
    ("POST", "/luthier/v1/datasets/{dataset_id}/versions"), ("POST", "/luthier/v1/forecast"),
    ("GET", "/luthier/v1/datasets/{dataset_id}/versions/{version}/tokens"),
}  # fmt: skip
NOT_SENT = {
    ("POST", "/v1/fine_tuning/alpha/graders/run"), ("POST", "/luthier/v1/models/{model}/exports"),
    ("GET", "/luthier/v1/datasets/{dataset_id}/versions/{version}/check"),
}  # fmt: skip
"""A process of its own for each request: tests/server holds it."""


# Threads of the server draw jitter while hypothesis draws a request, which it takes for a strategy's own.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")


class Supervisor:
    def alive(self):
        return True


class Engine(ScriptedEngine):
    def status(self):
        return {"state": "ready", "restarts": 0, "failures_in_a_row": 0, "requests": 0, "pid": 1, "retry_seconds": 0.0}


def script(request):
    """One plausible answer to each kind of request."""
    if request.op == "generate":
        yield from says("An answer.")(request)
        return
    for number, _ in enumerate(request.body.get("texts") or ()):
        if request.op == "embed":
            yield "embedding", {"index": number, "values": [0.6, 0.8], "tokens": 3}
        else:
            yield "prediction", {"index": number, "label": "a", "score": 0.75, "scores": {"a": 0.75, "b": 0.25}}
    if request.op == "status":
        yield "status", {"models": [], "active": 0, "waiting": 0}
    yield "end", {}


@dataclass
class Server:
    """One server, and things that are there, by the name of the field or parameter that they stand in."""

    name: str
    wire: Wire
    known: dict[str, list[Any]]


class Servers:
    """Both servers as one app, which hands each request to the one that is `current`; one key opens both."""

    def __init__(self):
        self.key = "lu-" + 43 * "k"
        self.all: list[Server] = []
        self.current: Server | None = None
        self.asked_for_keys: Counter[tuple[str, ...]] = Counter()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError("each has begun already")
        await self.current.wire.app(scope, receive, send)

    def use(self, server, case=None):
        """Let `server` answer; a case that another has answered then names what is there."""
        if case is not None and server is not self.current:
            names = {}
            for field, values in self.current.known.items():
                names |= dict(zip(values, server.known[field], strict=True))
            for values in (case.path_parameters, case.query, case.body):
                rename(values, names)
        self.current = server

    def add(self, name, wire):
        """One more, which is running."""
        id = wire.store.keys.create(wire.project, "test", "admin")[0].id
        with wire.store.database.write() as connection:
            connection.execute(keys.update().where(keys.c.id == id).values(digest=digest_of(self.key)))
        self.all.append(Server(name, wire, known_things(wire)))

    def leave_out(self, response, case):
        """Whether a route has been asked often enough without a key, and with a wrong one: it is the same each time."""
        place = (self.current.name, case.operation.label, str(response.status_code))
        self.asked_for_keys[place] += 1
        return self.asked_for_keys[place] > 2


def rename(values, names):
    """Put other names in the place of those that stand for a whole value."""
    if isinstance(values, list):
        places = range(len(values))
    elif hasattr(values, "items"):
        places = list(values)
    else:
        return
    for place in places:
        value = values[place]
        if isinstance(value, str):
            values[place] = names.get(value, value)
        else:
            rename(value, names)


@contextlib.contextmanager
def served(home, **more):
    """A server that waits for nobody, with a scripted engine."""
    settings = {"requests_per_second": 1e6, "request_burst": 10**6, "max_queued_jobs": 10**6}
    settings |= {"max_queued_jobs_per_key": 10**6, "stream_seconds": 0.1}  # who follows a job that waits is let go
    found = Wire(home, **settings, **more)
    found.state.engine = Engine(script)
    found.state.supervisor = Supervisor()
    OpenStreams.of(found.state).look_seconds = 0.05
    with found.running():
        yield found


@pytest.fixture(scope="module")
def servers(request, tmp_path_factory):
    found = Servers()
    with contextlib.ExitStack() as stack:
        stack.callback(asgi._shutdown)  # the thread in which it asks us; by itself it stays until the process ends
        wire = stack.enter_context(served(tmp_path_factory.mktemp("sqlite")))
        found.add("sqlite", wire)
        with contextlib.suppress(pytest.skip.Exception):  # the walk says so where there is no PostgreSQL
            postgres = request.getfixturevalue("postgres")
            name = postgres.create()
            stack.callback(postgres.drop, name)
            wire = stack.enter_context(served(tmp_path_factory.mktemp("postgresql"), database=postgres.url(name)))
            found.add("postgresql", wire)
        found.current = found.all[0]
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request, servers):
    """Either server, as the current one."""
    found = next((one for one in servers.all if one.name == request.param), None)
    if found is None:
        request.getfixturevalue("postgres")  # which skips, and says why
    servers.use(found)
    return found


def part_job(wire, kind, file_id):
    """A search, a decision or an automatic run that waits."""
    recipe = {"data": {"train": file_id}, "train": {"epochs": {"search": [1, 2]}}, "search": {}}
    return Job(
        new_id(f"{kind}-"), wire.project, kind, "paused", "minilm", "minilm", "classify", file_id, 1, 1, recipe
    )  # fmt: skip


def known_things(wire):
    """Things that are there, by the name of the field or parameter that they can stand in."""
    client = wire.client()
    chat = client.files.create(file=("train.jsonl", chat_rows()), purpose="fine-tune")
    table = client.files.create(file=("train.csv", class_rows()), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=chat.id)
    headers = {"authorization": f"Bearer {wire.key()}"}
    made = [
        wire.http.post("/luthier/v1/datasets", json={"file_id": file.id}, headers=headers).json()["id"]
        for file in (chat, table)
    ]
    upload = client.uploads.create(bytes=3, filename="a.jsonl", mime_type="text/jsonl", purpose="fine-tune")
    search, decision, auto = (
        wire.store.jobs.create(part_job(wire, kind, table.id), [NewEvent("created", "Created")])[0]
        for kind in ("search", "decision", "auto")
    )
    tuned = add_model(wire, "ft:minilm:local:x:12345678", "classify").name
    return {
        "file_id": [chat.id, table.id], "training_file": [chat.id, table.id], "validation_file": [chat.id],
        "file": [chat.id, table.id], "test": [table.id], "validation": [table.id],
        "job_id": [job.id, f"ftjob-{tuned.replace(':', '-')}"], "upload_id": [upload.id],
        "search_id": [search.id], "decision_id": [decision.id], "auto_id": [auto.id],
        "dataset_id": made, "version": [1], "base": [1], "row": [1, 2], "example": ["support-intents"],
        "model": ["luthier-nano", "minilm", tuned], "checkpoint": [tuned], "after": [chat.id, job.id],
    }  # fmt: skip


@pytest.fixture(scope="module")
def schema(servers):
    documents = [one.wire.app.openapi() for one in servers.all]
    assert all(document == documents[0] for document in documents)
    found = schemathesis.openapi.from_asgi(
        "/openapi.json", servers, headers={"Authorization": f"Bearer {servers.key}", "Host": "localhost"}
    )

    @found.auth()
    class _Key:
        def get(self, case, context):
            return servers.key

        def set(self, case, data, context):
            case.headers["Authorization"] = f"Bearer {data}"

    return found


def put(values, known, drawn):
    """In half of the cases, the name of something that is there."""
    for name in sorted(set(values or ()) & set(known)):
        if not isinstance(values[name], int | float) and drawn.draw(st.booleans()):  # a place in a list is no id
            values[name] = drawn.draw(st.sampled_from(known[name]))


def in_time(case, **how):
    """The answer, which does not take long in one of three tries."""
    own = (case.operation.method.upper(), case.operation.path) in OWN_PROCESS
    for _ in range(3):
        response = case.call(headers={"Host": "localhost"}, timeout=LONGEST_PROCESS, **how)
        if response.elapsed < (LONGEST_PROCESS if own else LONGEST):
            return response
    raise AssertionError(f"{response.elapsed:.1f} s")


def checks_for(servers, response, case):
    """All checks, but that a valid request is accepted where the table allows to refuse it, that what was just made is
    there where the answer says of something else, in the body, that it is not, and that a route asks for a key where it
    has done so before."""
    left_out = None
    if response.status_code in (400, 413, 415):
        code = response.json()["error"]["code"]
        left_out = ACCEPTED if code in EVERYWHERE or code in MAY_REFUSE.get(case.operation.label, ()) else None
    elif response.status_code == 404 and isinstance(case.body, dict):
        left_out = THERE if response.json()["error"]["param"] in case.body else None
    often = ASKS_FOR_A_KEY if servers.leave_out(response, case) else None
    return [check for check in CHECKED if check is not left_out and check is not often]


def failures(servers, schema, mode, examples):
    """{route: what failed}, and the number of requests: `examples` to each route, each to every server."""
    found, asked = {}, 0
    known = servers.all[0].known
    for result in schema.get_all_operations():
        operation = result.ok()
        if (operation.method.upper(), operation.path) in NOT_SENT:
            continue

        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode), drawn=st.data())
        def one(case, drawn):
            nonlocal asked
            asked += 1
            servers.use(servers.all[0])
            # what is wrong on purpose stays: an unknown parameter beside a right name would be a right request
            wrong = {place for place, info in case.meta.components.items() if info.mode is GenerationMode.NEGATIVE}
            if ParameterLocation.PATH not in wrong:
                put(case.path_parameters, known, drawn)
            if ParameterLocation.QUERY not in wrong:
                put(case.query, known, drawn)
            if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
                put(case.body, known, drawn)
            for server in servers.all:
                servers.use(server, case)
                response = in_time(case)
                try:
                    case.validate_response(response, checks=checks_for(servers, response, case))
                except BaseException as error:
                    told = f"{case.body!r:.500}\n{response.status_code} {response.content[:500]!r}"
                    error.add_note(f"{server.name}: {told}")
                    raise

        servers.use(servers.all[0])
        try:
            with contextlib.suppress(Unsatisfiable):  # a route without parameters has no wrong ones
                one()
        except (Exception, BaseExceptionGroup) as error:
            found[operation.label] = told(error)
    assert asked > 30 * examples
    return found, asked


def told(error):
    """The first failure of a group, with the request that shows it."""
    notes = "\n".join(getattr(error, "__notes__", ()))
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error} {getattr(error, 'message', '')}\n{notes}"[:3000]


MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def check_requests(servers, schema, mode, examples):
    found, asked = failures(servers, schema, mode, examples)
    print(f"{asked} requests", file=sys.stderr)
    assert not found, "\n\n".join(f"{route}\n{text}" for route, text in found.items())


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_every_answer_is_as_the_document_says(servers, schema, mode):
    check_requests(servers, schema, mode, 14)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_every_answer_is_as_the_document_says_more_often(servers, schema, mode):
    check_requests(servers, schema, mode, 170)


def sensible(case, known, upload):
    """Give a body what random values never are, so that something follows from it."""
    body, label = case.body, case.operation.label
    if label == "POST /v1/files":
        body["purpose"] = "fine-tune"
    elif label == "POST /v1/fine_tuning/jobs":
        linked = str(body.get("training_file")).startswith("file-")
        case.body = {"model": "luthier-nano", "training_file": body["training_file"] if linked else upload()}
    elif label == "POST /luthier/v1/jobs":
        case.body = {"recipe": {"model": "minilm", "task": "classify", "data": {"train": upload()}}}
    elif label == "POST /luthier/v1/datasets":
        case.body = {"file_id": upload()}  # its own, as it goes with the data set
    elif "model" in body:
        body["model"] = known["model"][len(body) % 3]


def workflow(servers, schema, known, upload):
    """The state machine of the document's links. `asked` counts its answers, `followed` those that a link led to,
    `failed` is what was wrong with them."""

    class Workflow(schema.as_state_machine()):
        asked: ClassVar[Counter[str]] = Counter()
        followed: ClassVar[Counter[str]] = Counter()
        failed: ClassVar[dict[str, str]] = {}

        def call(self, case, **how):
            if case.meta.generation.mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
                sensible(case, known, upload)
            return in_time(case, **how)

        def validate_response(self, response, case, additional_checks=None, **how):
            self.asked[f"{case.operation.label} {response.status_code}"] += 1
            if (link := self.recorder.cases[case.id].transition) is not None:
                self.followed[link.id] += 1
            checks = checks_for(servers, response, case)
            try:
                case.validate_response(response, checks=checks, recorder=self.recorder, transport_kwargs=how or None)
            except (Exception, BaseExceptionGroup) as error:  # not raised: ids are new, so it cannot be replayed
                error.add_note(f"{case.body!r:.500}\n{response.status_code} {response.content[:500]!r}")
                self.failed[case.operation.label] = told(error)

    return Workflow


def check_workflow(servers, server, schema, followed, wanted=()):
    """At least so many links that are followed, in walks of fifty steps; each is seeded. It goes on until every answer
    of `wanted` has come, up to `MOST_TIMES` as many: which links are drawn also depends on ids, which are new."""
    client = server.wire.client()

    def upload():
        return client.files.create(file=("train.csv", class_rows()), purpose="fine-tune").id

    machine = workflow(servers, schema, server.known, upload)
    for number in range(followed):
        seen = settings(
            max_examples=4, stateful_step_count=50, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        with contextlib.suppress(FlakyStrategyDefinition):  # what exists differs from run to run
            seed(number)(machine).run(settings=seen)
        total = machine.followed.total()
        is_seen = all(machine.asked[one] for one in wanted) or total >= MOST_TIMES * followed
        if machine.failed or (total >= followed and is_seen):
            break
    told = f"{machine.asked.total()} requests, {total} of them along {len(machine.followed)} links, {number + 1} seeds"
    print(told, file=sys.stderr)
    assert not machine.failed, "\n\n".join(f"{route}\n{text}" for route, text in machine.failed.items())
    return machine.asked


FOLLOWED = (
    "GET /v1/files/{file_id} 200", "GET /v1/files/{file_id}/content 200", "DELETE /v1/files/{file_id} 200",
    "GET /v1/files/{file_id} 404", "POST /v1/fine_tuning/jobs 200", "GET /v1/fine_tuning/jobs/{job_id} 200",
    "POST /v1/uploads/{upload_id}/parts 200", "POST /v1/uploads/{upload_id}/cancel 200",
    "DELETE /luthier/v1/keys/{key_id} 200", "GET /luthier/v1/endpoints/{endpoint_id} 200",
)  # fmt: skip
"""What a run along the links has to see; 404 is a file that was deleted before."""
MOST_TIMES = 6
"""How much longer a walk may be that misses one of them."""


def test_what_an_answer_links_to_is_there_until_it_is_deleted(servers, server, schema):
    asked = check_workflow(servers, server, schema, 340, FOLLOWED)
    assert [one for one in FOLLOWED if not asked[one]] == []


@pytest.mark.slow
def test_what_an_answer_links_to_is_there_until_it_is_deleted_more_often(servers, server, schema):
    check_workflow(servers, server, schema, 1400)


UNBOUNDED = {"string": ("maxLength", "enum", "const", "format"), "array": ("maxItems",)}


def open_ends(node, place=""):
    """Where a request may hold a text, list or number without a limit."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from open_ends(item, f"{place}[{number}]")
    if not isinstance(node, dict):
        return
    kinds = node.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind in UNBOUNDED and not any(word in node for word in UNBOUNDED[kind]) and "pattern" not in node:
            yield f"{place}: {kind}"
        if kind in ("integer", "number") and not ({"enum", "const"} & set(node)):
            low = {"minimum", "exclusiveMinimum"} & set(node)
            high = {"maximum", "exclusiveMaximum"} & set(node)
            if not (low and high):
                yield f"{place}: {kind}"
    for name, value in node.items():
        if name not in ("default", "examples", "example", "description"):
            yield from open_ends(value, f"{place}.{name}")


def asked_with(document):
    """The schemas of everything that a request may hold, references resolved once."""
    components = document["components"]["schemas"]
    wanted, seen = [], set()

    def references(node):
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"].rsplit("/", 1)[1]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            wanted += [(f"{method} {path} {one['name']}", one["schema"]) for one in operation.get("parameters", ())]
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                wanted.append((f"{method} {path} {kind}", body["schema"]))
    waiting = [name for _, schema in wanted for name in references(schema)]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            wanted.append((name, components[name]))
            waiting += references(components[name])
    return wanted


def test_nothing_in_a_request_is_without_a_limit(servers):
    document = servers.all[0].wire.app.openapi()
    found = [place for name, schema in asked_with(document) for place in open_ends(schema, name)]
    assert found == []


@pytest.mark.parametrize(
    "schema",
    [{"type": "string"}, {"type": "array", "items": {"type": "boolean"}}, {"type": "integer", "minimum": 0},
     {"anyOf": [{"type": "null"}, {"type": "number"}]}],
)  # fmt: skip
def test_the_search_for_open_ends_finds_them(schema):
    assert list(open_ends(schema))
