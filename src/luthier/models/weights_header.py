"""The head of a safetensors file, read strictly before any library opens the file.

The format leaves open what a name that stands twice means, so two readers of one file can see different weights;
here it is refused. Layout: https://huggingface.co/docs/safetensors (eight bytes of length, JSON, the tensors' bytes).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from luthier.core.errors import ModelError

LONGEST_HEAD = 4 * 2**20
"""Bytes: some thirty thousand tensors."""


def check_weights(path: Path) -> None:
    """Raise a `ModelError` for a file that is no sound safetensors file; only its head is read."""
    _tensors(path)


def count_weights(path: Path) -> int:
    """How many numbers a sound safetensors file holds; raises as `check_weights`."""
    try:
        return sum(math.prod(value["shape"]) for value in _tensors(path).values())
    except (LookupError, TypeError):
        raise _broken(path, "its head is no table of tensors") from None


def _tensors(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            head = handle.read(length) if length <= LONGEST_HEAD else b""
        size = path.stat().st_size
    except OSError as error:
        raise _broken(path, f"it cannot be read ({error.strerror or error})") from None
    if length > LONGEST_HEAD or len(head) < length or length < 2:
        raise _broken(path, "it does not begin with a head of at most 4 MiB")
    try:
        found = json.loads(head, object_pairs_hook=lambda pairs: _object(path, pairs))
        tensors = {name: value for name, value in found.items() if name != "__metadata__"}
        places = sorted(_place(value) for value in tensors.values())
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise _broken(path, "its head is no table of tensors") from None
    end = 0
    for start, stop in places:
        if start != end or stop < start:
            raise _broken(path, "its tensors overlap or leave gaps")
        end = stop
    if 8 + length + end != size:
        raise _broken(path, f"its tensors need {8 + length + end:,} bytes and it has {size:,}")
    return tensors


def _object(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise _broken(path, f"its head has {twice[:60]!r} twice")
    return values


def _place(value: Any) -> tuple[int, int]:
    start, stop = value["data_offsets"]
    if type(start) is not int or type(stop) is not int:
        raise TypeError("an offset is no whole number")
    return start, stop


def _broken(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"this is no sound safetensors file: {reason}.",
        where=str(path),
        remedy="Fetch or copy it again; if it came from somebody else, ask them how it was written.",
        code="broken_weights",
        param="model",
    )
