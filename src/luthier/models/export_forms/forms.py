"""What can be asked of an export. No torch in here, so that the command line knows it at once."""

from __future__ import annotations

import importlib.util

from luthier.core.errors import ModelError, UsageError, nearest

FORMS: dict[str, tuple[str, ...]] = {
    "merged": ("fp32", "bf16", "f16"),
    "adapter": (),
    "gguf": ("f16", "q8_0", "bf16", "fp32"),
    "onnx": ("fp32",),
}
"""The dtypes that each form is written in, the usual one first; an adapter stays as it was trained."""

DTYPES = ("f16", "q8_0", "fp32", "bf16")


def dtype_of(form: str, dtype: str | None) -> str:
    """The dtype that `form` is written in ("" for an adapter), or a `UsageError`."""
    if form not in FORMS:
        raise UsageError(f"there is no form {form!r}.", remedy=nearest(form, FORMS), code="unknown_form", param="to")
    known = FORMS[form]
    if dtype is None:
        return known[0] if known else ""
    if dtype not in known:
        raise UsageError(
            f"{form} is not written in {dtype}.",
            remedy=f"Choose one of: {', '.join(known)}." if known else "Leave --dtype out: it stays as it was trained.",
            code="unknown_dtype",
            param="dtype",
        )
    return dtype


def need(modules: tuple[str, ...], extra: str, purpose: str) -> None:
    """Raise a `ModelError` that names the extra when one of its packages is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"{purpose} needs {', '.join(missing)}, which is not installed.",
            remedy=f"pip install 'luthier[{extra}]'",
            code="missing_package",
        )
