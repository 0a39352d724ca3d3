"""One automatic run in three languages: Python, a command line, and a request to this server."""

from __future__ import annotations

import pprint
import shlex
from collections.abc import Mapping
from typing import Any

from luthier.core.durations import text_of
from luthier.jobs.records import StoredFile
from luthier.server.luthier_api.recipe_texts import curl, file_names, lines_of

_OPTIONS = ("budget", "task", "model", "test", "validation", "seed")
"""What is an option of the command line, in this order."""


def asked_values(recipe: Mapping[str, Any], files: Mapping[str, StoredFile], *, named: bool) -> dict[str, Any]:
    """What `luthier.auto` takes, with what people call the files in the place of their ids; without what is its own
    default. `named`: the base was asked for."""
    names = file_names(files)
    data, how = recipe["data"], recipe["auto"]
    sources = data["train"] if isinstance(data["train"], list) else [data["train"]]
    shown = [names[one] for one in sources]
    found: dict[str, Any] = {"data": shown[0] if len(shown) == 1 else shown, "budget": text_of(how["budget"])}
    if recipe["task"] != "auto":
        found["task"] = recipe["task"]
    if named:
        found["model"] = recipe["model"]
    for name in ("test", "validation"):
        if data.get(name) is not None:
            found[name] = names.get(data[name], data[name])
    if data["columns"]:
        found["columns"] = data["columns"]
    if how["seed"]:
        found["seed"] = how["seed"]
    if how["overrides"]:
        found["overrides"] = how["overrides"]
    return found


def as_python(values: Mapping[str, Any]) -> str:
    """A program for this machine."""
    arguments = [f"    {pprint.pformat(values['data'])},"]
    arguments += [f"    {name}={value!r}," for name, value in values.items() if name != "data"]
    body = "\n".join(arguments)
    return f"import luthier\n\nfound = luthier.auto(\n{body}\n)\nprint(found.verdict)\nmodel = found.model()\n"


def as_command(values: Mapping[str, Any]) -> str:
    """A command line for this machine."""
    sources = values["data"] if isinstance(values["data"], list) else [values["data"]]
    words = []
    for name in _OPTIONS:
        if name in values:
            words += [f"--{name}", str(values[name])]
    for role, column in (values.get("columns") or {}).items():
        words += ["--columns", f"{role}={','.join(column) if isinstance(column, list) else column}"]
    for item in values.get("overrides") or ():
        words += ["--set", item]
    shown = (f"./{one}" if one.startswith("-") else one for one in sources)
    return lines_of(["luthier", "auto", *map(shlex.quote, shown)], words)


def as_curl(address: str, body: Mapping[str, Any]) -> str:
    """A request that makes the job here; the key is in the environment."""
    return curl(f"{address}/luthier/v1/autos", body)
