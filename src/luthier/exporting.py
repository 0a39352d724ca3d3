"""A run becomes a folder for other tools: written, read again there, compared, and only then published."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core import clock, durable
from luthier.core.errors import UsageError
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.models.export_forms.forms import dtype_of
from luthier.models.export_forms.parity import Parity, refuse

PARITY_JSON = "parity.json"


@dataclass(frozen=True)
class ExportResult:
    """A published export.

    Attributes:
        path: its folder.
        form, dtype: what it is; the dtype of an adapter is "" (as it was trained).
        parity: the table, one row per form and reader.
        size: of all its files, in bytes.
        seconds: wall clock, checks included.
    """

    path: Path
    form: str
    dtype: str
    parity: tuple[Parity, ...]
    size: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As `luthier export --json` prints it."""
        return {
            "path": str(self.path),
            "form": self.form,
            "dtype": self.dtype or None,
            "parity": [row.to_dict() for row in self.parity],
            "size": self.size,
            "seconds": round(self.seconds, 3),
        }


def export(
    path: str | Path,
    to: str,
    out: str | Path | None = None,
    *,
    dtype: str | None = None,
    prompts: Sequence[str] | None = None,
) -> ExportResult:
    """Export a run (or a model folder) to `out`; without it, into ``exports/FORM-DTYPE`` beside its model.

    `to` is merged, adapter, gguf or onnx, `dtype` f16, q8_0, fp32 or bf16 as the form has it. `prompts` are what
    the forms are compared on (a few fixed ones). An earlier export in `out` is replaced, anything else refused.
    Raises `UsageError`, `ModelError` (code ``parity`` when the exported form answers differently; nothing is
    published then) and `StorageError`.
    """
    began = clock.monotonic()
    dtype = dtype_of(to, dtype)
    if prompts is not None and not prompts:
        raise UsageError("parity needs prompts.", remedy="Give at least one, or none at all.", param="prompts")
    from luthier.models.base_source import read_json
    from luthier.models.export import SETTINGS_JSON
    from luthier.models.export_forms.sources import PROMPTS, CausalSource, EncoderSource
    from luthier.models.run_model import model_folder

    folder = model_folder(path)
    target = _target(folder, to, dtype, out)
    writer = importlib.import_module(f"luthier.models.export_forms.{to}")
    generative = read_json(folder / SETTINGS_JSON).get("task") in LANGUAGE_TASKS
    write = writer.export_causal if generative else writer.export_encoder
    source = (CausalSource if generative else EncoderSource)(folder, prompts or PROMPTS)
    with durable.atomic_folder(target) as temporary:
        rows: list[Parity] = write(source, temporary, dtype)
        refuse(rows)
        durable.write_json(
            temporary / PARITY_JSON,
            {"form": to, "dtype": dtype or None, "rows": [row.to_dict() for row in rows], "prompts": source.texts},
        )
    size = sum(item.stat().st_size for item in target.rglob("*") if item.is_file())
    return ExportResult(target, to, dtype, tuple(rows), size, clock.monotonic() - began)


def _target(folder: Path, form: str, dtype: str, out: str | Path | None) -> Path:
    if out is None:
        return folder.parent / "exports" / (f"{form}-{dtype}" if dtype else form)
    target = Path(out)
    if target.is_dir() and any(target.iterdir()) and not (target / PARITY_JSON).is_file():
        raise UsageError(
            "this folder holds something else than an earlier export, and would be replaced.",
            where=str(target),
            remedy="Give a new or empty folder with --out.",
            code="out_exists",
            param="out",
        )
    return target
