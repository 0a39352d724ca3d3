"""An adapter's folder before PEFT sees it: a closed list of what its configuration may ask for, and sound weights."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from luthier.core.errors import ModelError
from luthier.models.base_source import read_json
from luthier.models.generation.fast_adapters import Pairs
from luthier.models.weights_header import check_weights

MAX_RANK = 256
_PLAIN: dict[str, Any] = {"peft_type": "LORA", "bias": "none", "init_lora_weights": True}
"""What must be so. Other ways to initialise compute on the base's weights, or change them."""
_FREE = {
    "base_model_name_or_path", "revision", "task_type", "inference_mode", "r", "lora_alpha", "lora_dropout",
    "target_modules", "use_rslora", "fan_in_fan_out", "peft_version", "megatron_core", "qalora_group_size",
}  # fmt: skip
"""What may be anything; every other key must be empty."""


_NAME = re.compile(r"base_model\.model\.model\.layers\.(\d{1,4})\.(.{1,60})\.lora_([AB])\.weight")


@dataclass(frozen=True, eq=False)
class AdapterFiles:
    """A LoRA adapter that was read and checked. `scaling` is that of its updates."""

    folder: Path
    tensors: dict[str, Tensor]
    scaling: float

    @property
    def bytes(self) -> int:
        """Of its weights in float32."""
        return sum(4 * tensor.numel() for tensor in self.tensors.values())

    def pairs(self) -> Pairs:
        """For the fast path. Raises `ValueError` for an adapter of other layers than it knows."""
        found: dict[tuple[int, str], dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            match = _NAME.fullmatch(name)
            if match is None:
                raise ValueError(f"{name[:80]!r} is no matrix of a block")
            found.setdefault((int(match[1]), match[2]), {})[match[3]] = tensor
        if any(len(both) != 2 for both in found.values()):
            raise ValueError("one of two matrices is missing")
        return {place: (both["A"], both["B"], self.scaling) for place, both in found.items()}


def read_adapter(folder: Path) -> AdapterFiles:
    """Raises `ModelError`."""
    path, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    config = read_json(path)
    for name, value in config.items():
        if (name in _PLAIN and value != _PLAIN[name]) or (name not in _FREE and name not in _PLAIN and value):
            raise _broken(path, f"{name[:60]!r} is set, and this is no plain LoRA adapter")
    rank = config.get("r")
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise _broken(path, f"its rank is no whole number from 1 to {MAX_RANK}")
    if not weights.is_file():
        raise _broken(weights, "the file is not there")
    check_weights(weights)
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(weights).items()}
    except (OSError, SafetensorError, RuntimeError, TypeError) as error:
        raise _broken(weights, str(error).strip().splitlines()[0]) from None
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise _broken(weights, f"{name[:60]!r} holds numbers that are not finite")
        if rank not in tensor.shape:
            raise _broken(weights, f"{name[:60]!r} is not of rank {rank}")
    alpha: Any = config.get("lora_alpha")
    if type(alpha) not in (int, float) or not math.isfinite(alpha):
        raise _broken(path, "its lora_alpha is no number")
    return AdapterFiles(folder, tensors, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _broken(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"the saved adapter cannot be used: {reason.rstrip('.')}.",
        where=str(path),
        remedy="Copy the model again from where it was trained.",
        code="broken_model",
        param="model",
    )
