"""One run in four languages: a recipe file, Python, a command line, and a request to this server."""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from luthier.core.recipe import SOURCES, Recipe
from luthier.core.recipe_io import flow
from luthier.jobs.records import StoredFile

_WIDTH = 100
_LATER = "chosen from the data, the method and the base when the job starts"
_OPTIONS = ("model", "task")
"""Keys of a recipe that are options of the command line themselves."""


def asked_values(recipe: Recipe, settled: Mapping[str, Any]) -> dict[str, Any]:
    """What a client said of a recipe, with the settled task and model in it; without it the defaults hold."""
    said = recipe.model_dump(mode="json", exclude_unset=True, exclude={"out"})
    return {**{name: settled[name] for name in _OPTIONS}, **said, **{name: settled[name] for name in _OPTIONS}}


def with_names(values: Mapping[str, Any], files: Mapping[str, StoredFile]) -> dict[str, Any]:
    """The values with what people call the files in the place of their ids."""
    names = file_names(files)

    def settle(value: Any) -> Any:
        if isinstance(value, list):
            return [settle(item) for item in value]
        return names.get(value, value) if isinstance(value, str) else value

    data = values["data"]
    return {**values, "data": {**data, **{name: settle(data[name]) for name in SOURCES if name in data}}}


def file_names(files: Mapping[str, StoredFile]) -> dict[str, str]:
    """A name by id; two files of one name are told apart by their ids."""
    names = {id: PurePath(file.filename).name or id for id, file in files.items()}
    taken = list(names.values())
    return {id: name if taken.count(name) == 1 else f"{id}-{name}" for id, name in names.items()}


def autos(recipe: Recipe, settled: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every key that is left open: its value where that is known without the base, and why."""
    known = {
        "model": (settled["model"], f"the embedded base for {settled['task']}"),
        "task": (settled["task"], "recognised from the columns of the file"),
    }
    found = []
    for key, value in _leaves(recipe.model_dump(mode="json", exclude={"out"})):
        if value == "auto":
            settles, reason = known.get(key, (None, _LATER))
            found.append({"key": key, "value": settles, "reason": reason})
    return found


def as_yaml(values: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
    """A recipe file for `luthier train`; `reasons` stand as comments above their key."""
    lines = []
    for key, value in values.items():
        if key in reasons:
            lines.append(f"# auto: {reasons[key]}")
        if isinstance(value, dict) and value:
            lines += [f"{key}:", *(f"  {name}: {flow(item)}" for name, item in value.items())]
        else:
            lines.append(f"{key}: {flow(value)}")
    return "\n".join(lines) + "\n"


def as_python(values: Mapping[str, Any]) -> str:
    """A program for this machine."""
    arguments = []
    for key, value in values.items():
        told = pprint.pformat(value, width=_WIDTH - 6, sort_dicts=False, compact=True)
        arguments.append(f"    {key}={told},".replace("\n", "\n    " + " " * (len(key) + 1)))
    body = "\n".join(arguments)
    return f"import luthier\n\nrun = luthier.train(\n{body}\n)\nprint(run.metrics)\nmodel = run.model()\n"


def as_command(values: Mapping[str, Any]) -> str:
    """A command line for this machine; with ``--server URL`` it is a job on a server."""
    words: list[str] = []
    data = dict(values["data"])
    sources = data.pop("train")
    options: list[tuple[str, Any]] = [(name, values[name]) for name in _OPTIONS]
    options += [("data", source) for source in (sources if isinstance(sources, list) else [sources])]
    for name in ("validation", "test"):
        if isinstance(data.get(name), str | float | int):
            options.append((name, data.pop(name)))
    rest: dict[str, Any] = {"data": data}
    for key, value in values.items():
        if key in (*_OPTIONS, "data"):
            continue
        rest[key] = dict(value) if isinstance(value, dict) else value
        if key == "method":
            options.append(("method", rest[key].pop("kind")))
    for name, value in options:
        words += [f"--{name}", str(value)]
    for key, value in _leaves(rest):
        words += ["--set", f"{key}={flow(value)}"]
    return lines_of(["luthier", "train"], words)


def as_curl(address: str, recipe: Mapping[str, Any], suffix: str | None, metadata: Mapping[str, str] | None) -> str:
    """A request that makes the job here; the key is in the environment."""
    body: dict[str, Any] = {"recipe": dict(recipe)}
    if suffix is not None:
        body["suffix"] = suffix
    if metadata:
        body["metadata"] = dict(metadata)
    return curl(f"{address}/luthier/v1/jobs", body)


def curl(address: str, body: Mapping[str, Any]) -> str:
    """A POST to an address; the key is in the environment."""
    told = shlex.quote(json.dumps(body, indent=2, ensure_ascii=False))
    return (
        f"curl {shlex.quote(address)} \\\n"
        '  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {told}\n"
    )


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of everything below `values`; a dictionary of a client's own keys is one value."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict) and not prefix:
            found += _leaves(value, f"{dotted}.")
        else:
            found.append((dotted, value))
    return found


def lines_of(begin: list[str], words: list[str]) -> str:
    """A command as a shell takes it: its `begin`, then of `words` an option with its value on each line."""
    lines = [" ".join(begin)]
    for place in range(0, len(words), 2):
        option, value = words[place : place + 2]
        between = "=" if value.startswith("-") else " "
        lines.append(f"  {option}{between}{shlex.quote(value)}")
    return " \\\n".join(lines) + "\n"
