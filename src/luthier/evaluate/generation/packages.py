"""The packages of the extra `generate`: what is measured without them is told, not guessed."""

from __future__ import annotations

from importlib.util import find_spec

from luthier.core.errors import UsageError

_INSTALLED_AS = {"sacrebleu": "sacrebleu", "rouge_score": "rouge-score", "rapidfuzz": "rapidfuzz"}


def there(package: str) -> bool:
    """Whether a package of the extra is installed."""
    return find_spec(package) is not None


def hint(package: str) -> str:
    """How to get it."""
    return f"pip install {_INSTALLED_AS[package]} (or: pip install 'luthier[generate]')"


def need(package: str, what: str) -> None:
    """Raise `UsageError` when `package`, which measures `what`, is not installed."""
    if not there(package):
        raise UsageError(
            f"{what!r} is measured by a package that is not installed.",
            remedy=f"Install it: {hint(package)}.",
            code="package_missing",
        )
