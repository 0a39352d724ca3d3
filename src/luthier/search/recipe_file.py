"""A recipe file with searches, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.core.recipe import SOURCES
from luthier.core.recipe_io import read_yaml
from luthier.search.notation import WORD


def file_values(path: str | Path) -> dict[str, Any]:
    """The plain values of a recipe file, in which files that are there count from the file's folder."""
    values, folder = read_yaml(path), Path(path).parent

    def settle(source: Any) -> Any:
        if isinstance(source, list):
            return [settle(item) for item in source]
        if isinstance(source, str) and "://" not in source and not Path(source).is_absolute():
            here = folder / source
            return str(here) if here.exists() else source
        return source

    data, judged, model = values.get("data"), values.get("evaluate"), values.get("model")
    if isinstance(data, str | list):
        values["data"] = settle(data)
    elif isinstance(data, dict):
        values["data"] = {name: settle(item) if name in SOURCES else item for name, item in data.items()}
    if isinstance(judged, dict):
        for name, key in (("forgetting", "anchors"), ("fairness", "swaps")):
            if isinstance(judged.get(name), dict) and key in judged[name]:
                judged[name] = {**judged[name], key: settle(judged[name][key])}
    if isinstance(model, str) and model.startswith("."):
        values["model"] = settle(model)
    elif isinstance(model, dict) and isinstance(model.get(WORD), list):
        choices = [settle(one) if isinstance(one, str) and one.startswith(".") else one for one in model[WORD]]
        values["model"] = {WORD: choices}
    return values
