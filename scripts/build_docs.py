"""Write the pages that follow from the code: docs/cli.md (every --help) and docs/recipe.md (every key).

A test compares the committed pages with what this writes.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "scripts")]

from luthier.cli.main import build_parser  # noqa: E402
from luthier.core.recipe import Recipe  # noqa: E402
from recipe_keys import KEYS  # noqa: E402

CLI_HEAD = """\
# The command line

Written by `make docs` from every `--help`; do not edit it by hand.

Exit codes: 0 = done, 1 = the work failed (data rejected, training diverged, interrupted), 2 = wrong
usage. Results go to stdout, progress and errors to stderr. An error is one paragraph: what, where,
what to do; `--debug` adds the traceback.
"""

RECIPE_HEAD = """\
# The recipe

Written by `make docs` from the schema in `luthier.core.recipe`; do not edit it by hand.

A recipe is a YAML file, or keywords of `luthier.train(...)`; every key can be set with
`--set key.path=value`. An unknown key is an error that names the nearest right one. `auto` is chosen
from data, model and machine; the run's own `recipe.yaml` holds what was chosen and why.

```yaml
model: minilm
task: classify
data: {train: train.csv, validation: 0.1, test: test.csv}
method: {kind: lora, rank: 16, alpha: 32}
train: {epochs: 3, seed: 0}
```

Short forms: `method: lora` is `method: {kind: lora}`, and `data: train.csv` is `data: {train: train.csv}`.
"""


def cli_page() -> str:
    """docs/cli.md."""
    parser, verbs = build_parser()
    parts = [CLI_HEAD, f"```text\n{parser.format_help()}```\n"]
    parts += [f"## luthier {name}\n\n```text\n{verb.format_help()}```\n" for name, verb in verbs.items()]
    return "\n".join(parts)


def recipe_page() -> str:
    """docs/recipe.md."""
    parts = [RECIPE_HEAD]
    top: list[str] = []
    for name, info in Recipe.model_fields.items():
        models = [part for part in members(info.annotation) if isinstance(part, type)]
        models = [part for part in models if issubclass(part, BaseModel)]
        if not models:
            top.append(row(name, info))
        elif len(models) == 1:
            parts.append(section(name, models[0]))
        else:
            parts.append(f"## method\n\n{KEYS['method']}\n")
            parts += [method_section(model) for model in models]
    parts.insert(1, "## Top level\n\n" + table(top))
    return "\n".join(parts)


def section(name: str, model: type[BaseModel]) -> str:
    """One nested mapping of the recipe."""
    rows = []
    for key, info in model.model_fields.items():
        rows.append(row(f"{name}.{key}", info))
        for part in members(info.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                rows += [row(f"{name}.{key}.{inner}", field) for inner, field in part.model_fields.items()]
    return f"## {name}\n\n{KEYS[name]}\n\n{table(rows)}"


def method_section(model: type[BaseModel]) -> str:
    """The keys of one method."""
    kind = model.model_fields["kind"].default
    keys = [f"method.{key}" for key in model.model_fields if key != "kind"]
    rows = [row(key, model.model_fields[key.partition(".")[2]]) for key in keys]
    text = KEYS[f"method.kind.{kind}"]
    return f"### method.kind: {kind}\n\n{text}\n" + (f"\n{table(rows)}" if rows else "")


def row(key: str, info: Any) -> str:
    """One key: its name, default, what may stand there, what it means."""
    default = info.get_default(call_default_factory=True)
    shown = "required" if default is PydanticUndefined else f"`{plain(default)}`"
    return f"| `{key}` | {shown} | {allowed(info.annotation)} | {KEYS[key]} |"


def table(rows: list[str]) -> str:
    return "\n".join(["| key | default | allowed | meaning |", "|---|---|---|---|", *rows]) + "\n"


def plain(value: Any) -> str:
    """A default as YAML has it."""
    if isinstance(value, BaseModel):
        return "{}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | dict):
        items = ", ".join(map(str, value))
        return f"[{items}]" if isinstance(value, list) else f"{{{items}}}"
    return str(value)


def members(annotation: Any) -> list[Any]:
    """The parts of a union, tags and bounds taken off."""
    if hasattr(annotation, "__metadata__"):
        return members(annotation.__origin__)
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for item in get_args(annotation) for part in members(item)]
    return [annotation]


def allowed(annotation: Any) -> str:
    """What may stand there, in words."""
    words = []
    for part in members(annotation):
        origin = get_origin(part)
        if origin is Literal:
            words += [str(item) for item in get_args(part)]
        elif origin in (list, dict):
            words.append("list" if origin is list else "mapping")
        elif part is type(None):
            words.append("null")
        elif isinstance(part, type) and issubclass(part, BaseModel):
            words.append("mapping")
        else:
            words.append({int: "whole number", float: "number", str: "text", bool: "true, false"}[part])
    return ", ".join(dict.fromkeys(words))


def main() -> None:
    for name, text in (("cli.md", cli_page()), ("recipe.md", recipe_page())):
        (ROOT / "docs" / name).write_text(text, encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
