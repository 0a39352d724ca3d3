"""A base model on this disk: a folder in the Hugging Face layout that was checked and hashed.

No torch and no transformers in here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.core.errors import ModelError


@dataclass(frozen=True, slots=True)
class BaseSource:
    """A base model on this disk.

    `name` is what the user wrote; `sha256` maps the weight, configuration and tokenizer files of
    `path` to their hashes; `sentence_encoder` says that it was trained to embed whole texts
    (it has a modules.json), and `embedding_pooling` how: mean or first.
    """

    name: str
    path: Path
    hub_id: str = ""
    revision: str = ""
    licence: str = ""
    sha256: dict[str, str] = field(default_factory=dict)
    sentence_encoder: bool = False
    embedding_pooling: str = "mean"


def from_folder(path: Path, *, name: str, hub_id: str = "", revision: str = "", licence: str = "") -> BaseSource:
    """A checked folder in the Hugging Face layout as a `BaseSource`."""
    check_folder(path)
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        pickled = sorted(item.name for item in path.iterdir() if item.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        raise ModelError(
            f"the weights are pickle files ({', '.join(pickled)}), which can run code when they are opened."
            if pickled
            else "there are no weights here (*.safetensors).",
            where=str(path),
            remedy="Convert them to safetensors where you trust them (save_pretrained does).",
            code="weights_not_safetensors" if pickled else "weights_missing",
            param="model",
        )
    hashed = [*weights, path / "config.json", path / "tokenizer.json"]
    return BaseSource(
        name=name,
        path=path,
        hub_id=hub_id,
        revision=revision,
        licence=licence,
        sha256={item.name: sha256_of(item) for item in hashed if item.is_file()},
        sentence_encoder=(path / "modules.json").is_file(),
        embedding_pooling=_embedding_pooling(path),
    )


def check_folder(path: Path) -> dict[str, Any]:
    """Refuse a folder that brings code of its own; gives its config.json."""
    config_json = path / "config.json"
    if not config_json.is_file():
        raise ModelError(
            "this is not a model folder: it has no config.json.",
            where=str(path),
            remedy="Give the folder that save_pretrained wrote (for a run of ours: RUN/model).",
            code="not_a_model",
            param="model",
        )
    refuse_code(path)
    return read_json(config_json)


def refuse_code(path: Path) -> None:
    """Raise a `ModelError` when a model folder holds Python files or asks for them (auto_map)."""
    scripts = sorted(item.name for item in path.rglob("*.py"))
    mapped = [
        name
        for name in ("config.json", "tokenizer_config.json")
        if (path / name).is_file() and "auto_map" in read_json(path / name)
    ]
    if scripts or mapped:
        reason = f"it holds {', '.join(scripts[:3])}" if scripts else f"{mapped[0]} has auto_map"
        raise ModelError(
            f"this model wants to run code of its own ({reason}); Luthier runs no remote code.",
            where=str(path),
            remedy="Choose a model of a family that transformers itself knows.",
            code="remote_code",
            param="model",
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or a `ModelError` with the place of what is wrong."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ModelError(
            f"this is not valid JSON: {error.msg}.",
            where=f"{path}:{error.lineno}",
            remedy="Fetch the model again.",
            code="broken_model",
        ) from None
    except UnicodeDecodeError:
        raise ModelError(
            "this is not UTF-8 text.", where=str(path), remedy="Fetch the model again.", code="broken_model"
        ) from None
    except (RecursionError, ValueError):  # nested too deep, or a number of thousands of digits
        raise ModelError(
            "this is no JSON that a model has.", where=str(path), remedy="Fetch the model again.", code="broken_model"
        ) from None
    if not isinstance(value, dict):
        raise ModelError(
            "a JSON object is needed here.",
            where=str(path),
            remedy="Fetch the model again.",
            code="broken_model",
        )
    return value


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _embedding_pooling(path: Path) -> str:
    pooling_json = path / "1_Pooling" / "config.json"
    if not pooling_json.is_file():
        return "mean"
    config = read_json(pooling_json)
    return "first" if config.get("pooling_mode_cls_token") or config.get("pooling_mode") == "cls" else "mean"
