"""An assistant in one YAML file: instructions, knowledge, examples and actions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from luthier.approaches.actions import Action, HttpCall, PythonCall
from luthier.approaches.openapi_actions import openapi_actions
from luthier.core.errors import UsageError, nearest
from luthier.core.recipe_io import read_yaml


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EndpointSpec(_Strict):
    """A model behind an OpenAI-compatible endpoint."""

    url: str
    name: str
    key_env: str = "OPENAI_API_KEY"


class RetrievalSpec(_Strict):
    """How knowledge is searched: passages in each prompt, characters of each, and the search."""

    passages: Annotated[int, Field(ge=1, le=20)] = 3
    characters: Annotated[int, Field(ge=50, le=20_000)] = 800
    search: Literal["words", "meaning", "both"] = "both"


class ExampleSpec(_Strict):
    """A question with its answer, shown before each question."""

    user: str
    assistant: str


class HttpSpec(_Strict):
    """An address; ``{name}`` stands for an argument, ``${NAME}`` in headers for an environment variable."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: str
    headers: dict[str, str] = Field(default_factory=dict)
    timeout: Annotated[float, Field(gt=0, le=600)] | None = None


class ActionSpec(_Strict):
    """Exactly one of `http`, `python` (module:function beside this file) and `openapi` (a document beside it).

    `confirm`: whether somebody must agree to each call; unless said, everything but GET needs it.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    http: HttpSpec | None = None
    python: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    openapi: str | None = None
    operations: list[str] = Field(default_factory=list)
    headers: dict[str, str] = Field(default_factory=dict)
    confirm: bool | None = None

    @model_validator(mode="after")
    def _one_way(self) -> ActionSpec:
        if sum(way is not None for way in (self.http, self.python, self.openapi)) != 1:
            raise ValueError("an action has exactly one of http, python and openapi")
        if self.openapi is None and self.name is None:
            raise ValueError("an action needs a name")
        if self.http is not None and "${" in self.http.url:
            raise ValueError("an environment variable belongs into a header, where nobody sees it")
        if self.http is not None and "{" in f"{urlsplit(self.http.url).scheme}{urlsplit(self.http.url).netloc}":
            raise ValueError("the host of an address cannot be an argument")
        if self.http is not None and urlsplit(self.http.url).scheme not in ("http", "https"):
            raise ValueError("an address begins with http:// or https://")
        return self


class LimitsSpec(_Strict):
    """steps: calls of the model for one answer; seconds and bytes of one action."""

    steps: Annotated[int, Field(ge=1, le=50)] = 6
    action_seconds: Annotated[float, Field(gt=0, le=600)] = 20.0
    answer_bytes: Annotated[int, Field(ge=100, le=10_000_000)] = 100_000


class AssistantFile(_Strict):
    """The file. Paths count from its folder, which is `folder`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    model: str = "luthier-nano"
    endpoint: EndpointSpec | None = None
    instructions: str = ""
    knowledge: list[str] = Field(default_factory=list)
    retrieval: RetrievalSpec = Field(default_factory=RetrievalSpec)
    examples: list[ExampleSpec] = Field(default_factory=list)
    actions: list[ActionSpec] = Field(default_factory=list)
    limits: LimitsSpec = Field(default_factory=LimitsSpec)
    folder: Path = Field(default=Path("."), exclude=True)

    @model_validator(mode="after")
    def _one_model(self) -> AssistantFile:
        if self.endpoint is not None and "model" in self.model_fields_set:
            raise ValueError("an assistant has either a model or an endpoint")
        return self

    @property
    def knowledge_places(self) -> list[Path]:
        """Whole paths."""
        return [self.folder / place for place in self.knowledge]

    def make_actions(self) -> list[Action]:
        """The actions, ready to run. Raises `UsageError` for a document that is none, or a name that comes twice."""
        found: list[Action] = []
        for spec in self.actions:
            found += self._make(spec)
        names = [action.name for action in found]
        twice = next((name for name in names if names.count(name) > 1), None)
        for action in found:
            action.check()
        if twice is not None:
            raise UsageError(f"there are two actions called {twice!r}.", remedy="Rename one.", code="duplicate_action",
                             param="actions")  # fmt: skip
        return found

    def _make(self, spec: ActionSpec) -> list[Action]:
        limits = self.limits
        if spec.openapi is not None:
            return openapi_actions(
                self.folder / spec.openapi, operations=spec.operations, headers=spec.headers, confirm=spec.confirm,
                seconds=limits.action_seconds, answer_bytes=limits.answer_bytes,
            )  # fmt: skip
        assert spec.name is not None
        if spec.http is not None:
            call: Any = HttpCall(
                spec.http.method, spec.http.url, spec.http.headers | spec.headers,
                spec.http.timeout or limits.action_seconds, limits.answer_bytes,
            )  # fmt: skip
            confirm = spec.http.method != "GET" if spec.confirm is None else spec.confirm
        else:
            assert spec.python is not None
            call = PythonCall(self.folder.resolve(), spec.python, limits.action_seconds, limits.answer_bytes)
            confirm = True if spec.confirm is None else spec.confirm
        return [Action(spec.name, spec.description or spec.name, spec.parameters, call, confirm)]


def is_assistant(path: str | Path) -> bool:
    """Whether a word of the command line names an assistant's file."""
    return str(path).lower().endswith((".yaml", ".yml"))


def read_assistant(path: str | Path) -> AssistantFile:
    """Read and check a file. Raises `UsageError` that names the key, and the nearest right one."""
    values = read_yaml(path)
    try:
        found = AssistantFile.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UsageError(
                f"an assistant has no key {place!r}.", where=str(path),
                remedy=nearest(str(first["loc"][-1]), _known_keys()), code="invalid_assistant", param=place,
            ) from None  # fmt: skip
        raise UsageError(
            f"{place or 'the file'}: {first['msg'].removeprefix('Value error, ')}.", where=str(path),
            remedy="docs/assistants.md shows every key.", code="invalid_assistant", param=place or None,
        ) from None  # fmt: skip
    return found.model_copy(update={"folder": Path(path).parent})


def _known_keys() -> list[str]:
    specs = (AssistantFile, EndpointSpec, RetrievalSpec, ExampleSpec, ActionSpec, HttpSpec, LimitsSpec)
    return sorted({name for spec in specs for name in spec.model_fields} - {"folder"})
