"""What an assistant may do: each action is a name, a JSON schema of its arguments, and a way to run it.

Nothing is run that was not checked against its schema, and nothing reaches a host that the assistant's own file does
not name: a model gives values, never addresses.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

from luthier.core import clock
from luthier.core.errors import LuthierError, UsageError

ANSWER_BYTES = 100_000
SECONDS = 20.0
_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ActionError(LuthierError):
    """An action could not be done; its words are for the model and for the user."""

    default_code = "action_failed"


class Run(Protocol):
    """Does an action; gives its answer as text or raises `ActionError`."""

    def __call__(self, arguments: Mapping[str, Any]) -> str: ...


@dataclass(frozen=True)
class Action:
    """One action. `confirm`: somebody must agree to each call."""

    name: str
    description: str
    parameters: dict[str, Any]
    run: Run
    confirm: bool = True

    @property
    def tool(self) -> dict[str, Any]:
        """OpenAI's ``tools`` entry."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    def arguments(self, text: str | Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as the model wrote them, checked. Raises `ActionError`."""
        from jsonschema import ValidationError
        from referencing.exceptions import Unresolvable

        try:
            value = json.loads(text or "{}") if isinstance(text, str) else text
        except (ValueError, RecursionError):
            raise ActionError(f"The arguments of {self.name} are no JSON.") from None
        try:
            self._validator().validate(value)
        except Unresolvable:
            raise ActionError(f"The schema of {self.name} refers to something that is not in it.") from None
        except ValidationError as error:
            place = ".".join(str(part) for part in error.absolute_path)
            raise ActionError(
                f"The arguments of {self.name} are wrong{f' at {place}' if place else ''}: {error.message[:200]}."
            ) from None
        if not isinstance(value, dict):
            raise ActionError(f"The arguments of {self.name} must be a JSON object.")
        return value

    def check(self) -> None:
        """Raises `UsageError` where `parameters` is no JSON schema."""
        from jsonschema import SchemaError

        try:
            self._validator().check_schema(self.parameters)
        except SchemaError as error:
            raise UsageError(
                f"the parameters of the action {self.name!r} are no JSON schema: {error.message[:200]}.",
                remedy="Mend them; https://json-schema.org tells how.", code="invalid_assistant", param="actions",
            ) from None  # fmt: skip

    def _validator(self) -> Any:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import validator_for
        from referencing import Registry

        # an empty registry: a reference to an address is an error, never a download
        return validator_for(self.parameters, default=Draft202012Validator)(self.parameters, registry=Registry())


@dataclass(frozen=True)
class HttpCall:
    """Calls one address. Places like ``{id}`` in `url` are filled with arguments, quoted, so that none leaves its
    segment, and none is part of the host; those in `query` go into the query, and the others into a JSON body (POST,
    PUT, PATCH) or into the query too. Where `body` names an argument, its value is the whole body. `seconds` bound each
    wait and the whole answer, also from a host that sends a byte at a time.

    ``${NAME}`` in headers is read from the environment when the call is made, and is never shown, also where an answer
    repeats it.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = SECONDS
    answer_bytes: int = ANSWER_BYTES
    query: tuple[str, ...] = ()
    body: str | None = None

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        """The answer's text: JSON or plain text. Raises `ActionError`."""
        left = dict(arguments)

        def fill(match: re.Match[str]) -> str:
            value = left.pop(match[1], "")
            text = value if isinstance(value, str) else json.dumps(value)
            if text in ("", ".", ".."):  # a client would take these for steps in the path
                raise ActionError(f"'{match[1]}' must hold a value that can stand in an address.")
            return quote(text, safe="")

        url = _PLACE.sub(fill, self.url)
        if urlsplit(url)[:2] != urlsplit(self.url)[:2]:
            raise ActionError("The address would lead to a host that the assistant's file does not name.")
        headers = {name: _VARIABLE.sub(_environment, value) for name, value in self.headers.items()}
        sends_body = self.method in ("POST", "PUT", "PATCH")
        asked = {name: left.pop(name) for name in (self.query if sends_body else tuple(left)) if name in left}
        if pairs := _query(asked):
            url += ("&" if urlsplit(url).query else "?") + urlencode(pairs)
        sent: Any = left.get(self.body) if self.body is not None else left
        status, kind, content = self._exchange(url, headers, {"json": sent} if sends_body else {})
        text = _text(content, kind) if status < 300 else content.decode("utf-8", errors="replace")
        for template in self.headers.values():
            for secret in filter(None, map(os.environ.get, _VARIABLE.findall(template))):
                for form in (secret, json.dumps(secret)[1:-1], quote(secret, safe="")):
                    text = text.replace(form, "***")
        return _data(status, kind, text)

    def _exchange(self, url: str, headers: Mapping[str, str], options: Mapping[str, Any]) -> tuple[int, str, bytes]:
        import httpx2

        late = ActionError(f"Nothing whole was answered within {self.seconds:g} seconds.")
        ends = clock.monotonic() + self.seconds
        try:
            with (
                httpx2.Client(trust_env=False, follow_redirects=False, timeout=self.seconds) as client,
                client.stream(self.method, url, headers=dict(headers), **options) as answer,
            ):
                content = b""
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > self.answer_bytes:
                        raise ActionError(f"The answer is longer than {self.answer_bytes:,} bytes.")
                    if clock.monotonic() > ends:
                        raise late
                return answer.status_code, answer.headers.get("content-type", "").lower(), content
        except httpx2.TimeoutException:
            raise late from None
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            raise ActionError(f"It cannot be reached ({type(error).__name__}).") from None


@dataclass(frozen=True)
class PythonCall:
    """Calls ``module:function`` of a file beside the assistant's, in a process of its own with a time limit.

    It is the user's own code and runs with the user's rights; a module of anywhere else is refused, and what the
    function started is killed with it.
    """

    folder: Path
    function: str
    seconds: float = SECONDS
    answer_bytes: int = ANSWER_BYTES

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        """What it returns, as JSON (a text as it is). Raises `ActionError`."""
        module, _, name = self.function.partition(":")
        asked = json.dumps({"module": module, "function": name, "arguments": dict(arguments)})
        with subprocess.Popen(
            [sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=self.folder, encoding="utf-8", errors="replace", start_new_session=True,
        ) as child:  # fmt: skip
            try:
                said, _ = child.communicate(asked, timeout=self.seconds)
            except subprocess.TimeoutExpired:
                raise ActionError(f"{self.function} took longer than {self.seconds:g} seconds.") from None
            finally:
                with suppress(ProcessLookupError):  # the group may be gone with its leader
                    os.killpg(child.pid, signal.SIGKILL)
        try:
            found = json.loads(said.splitlines()[-1])
        except (IndexError, ValueError):
            raise ActionError(f"{self.function} ended without an answer (exit code {child.returncode}).") from None
        if "error" in found:
            raise ActionError(f"{self.function} failed: {found['error'][:300]}.")
        text = found["answer"] if isinstance(found["answer"], str) else json.dumps(found["answer"], ensure_ascii=False)
        if len(text) > self.answer_bytes:
            raise ActionError(f"The answer is longer than {self.answer_bytes:,} bytes.")
        return text


_CHILD = """
import importlib, json, sys, os
here = os.path.realpath(os.getcwd())
sys.path.insert(0, here)
asked = json.load(sys.stdin)
out = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # what the function or its children print is no answer
try:
    module = importlib.import_module(asked["module"])
    if not os.path.realpath(getattr(module, "__file__", None) or "/").startswith(os.path.join(here, "")):
        raise ImportError(f"{asked['module']} is no file beside the assistant's")
    answer = getattr(module, asked["function"])(**asked["arguments"])
    said = json.dumps({"answer": answer})
except Exception as error:
    said = json.dumps({"error": f"{type(error).__name__}: {error}"})
print(said, file=out)
"""


def _environment(match: re.Match[str]) -> str:
    value = os.environ.get(match[1])
    if value is None:
        raise ActionError(f"The environment variable {match[1]} is not set.")
    return value


def _query(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of a query; a list repeats its name (OpenAPI's ``style: form, explode: true``), None is left out."""
    pairs = [(name, one) for name, value in values.items() for one in (value if isinstance(value, list) else [value])]
    return [(name, one if isinstance(one, str) else json.dumps(one)) for name, one in pairs if one is not None]


def _text(content: bytes, kind: str) -> str:
    """Raises `ActionError` for what is no text."""
    told = re.search(r"charset=\"?([\w.:-]+)", kind)
    try:
        text = content.decode(told[1] if told else "utf-8-sig")
    except (UnicodeError, LookupError):
        text = "\0"
    if "\0" in text:
        raise ActionError("It answered with something that is no text.")
    return text.strip()


def _data(status: int, kind: str, text: str) -> str:
    """Raises `ActionError` for an answer that is an error, a web page, or broken JSON."""
    page = "html" in kind or text[:100].lower().startswith(("<!doctype", "<html"))
    if status >= 300:
        words = "a web page" if page else " ".join(text.split())[:200] or "no words"
        raise ActionError(f"It answered with the status {status}: {words}.")
    if page:
        raise ActionError("It answered with a web page (HTML) where data was expected: look at its address.")
    if text and "json" in kind and "jsonl" not in kind and "ndjson" not in kind:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            raise ActionError(f"It answered with broken JSON: {' '.join(text.split())[:100]}.") from None
    return text or "(an empty answer)"
