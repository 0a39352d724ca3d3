"""Names of a recipe and a model for the ledger, which tell nobody where files lie."""

from __future__ import annotations

import hashlib
import json

from luthier.core.recipe import Recipe


def fingerprint(recipe: Recipe) -> str:
    """A hash of what a recipe asks for; the same for a forecast and the run that follows it."""
    values = recipe.model_dump(mode="json")
    values.pop("out")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:24]


def known_model(name: str) -> str:
    """A catalogue's name as it is; of a folder or a hub id only a hash, so that no path stands in the ledger."""
    from luthier.models.catalogue import entries

    if any(entry.name == name for entry in entries()):
        return name
    return "other-" + hashlib.sha256(name.encode()).hexdigest()[:8]
