"""How many bytes an export has at least, known before it is made: from the heads of the weights, without torch."""

from __future__ import annotations

import contextlib
from pathlib import Path

from luthier.core.errors import LuthierError
from luthier.models.base_source import read_json
from luthier.models.catalogue import entries, place_of
from luthier.models.export_forms.forms import FORMS
from luthier.models.weights_header import count_weights

_BYTES = {"fp32": 4, "bf16": 2, "f16": 2, "q8_0": 1}
"""Of one weight, at least."""
_CERTAIN = 0.9
"""Of the weights, as some forms leave a few of a base's out."""
_PEFT_WEIGHTS = "adapter_model.safetensors"


def least_bytes(model: Path, to: str, dtype: str | None) -> int:
    """Bytes that an export of the tuned model in the folder `model` cannot stay below; 0 where nobody knows."""
    with contextlib.suppress(LuthierError, OSError, ValueError, LookupError, TypeError):
        if to == "adapter":
            return (model / _PEFT_WEIGHTS).stat().st_size
        return int(_CERTAIN * _weights(model) * _BYTES[dtype or FORMS[to][0]])
    return 0


def _weights(model: Path) -> int:
    """How many numbers the whole model has: its own, or those of the base that its adapter stands on."""
    settings = read_json(model / "luthier.json")
    if settings["layout"] not in ("peft", "luthier"):
        return _count(model)
    base = settings["base"]
    entry = next((entry for entry in entries() if entry.name == base["name"]), None)
    place = Path(base["path"]) if base["path"] else None if entry is None else place_of(entry)
    return _count(place) if place is not None and place.is_dir() else 0 if entry is None else entry.parameters


def _count(folder: Path) -> int:
    return sum(count_weights(path) for path in sorted(folder.glob("*.safetensors")))
