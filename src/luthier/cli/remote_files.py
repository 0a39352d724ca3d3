"""Files of this machine that a server is to learn from: named as for a run here, and sent once each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from luthier.cli import output
from luthier.cli.remote import Server
from luthier.core.errors import UsageError


def send_files(
    server: Server, sources: Mapping[str, str | list[str]], *, prefix: str = ""
) -> dict[str, str | list[str]]:  # fmt: skip
    """Send what `sources` name, and give the ids in their places. Nothing is sent before every file was looked for.

    Raises `UsageError` for what is no file of this machine; its `param` is the source's key after `prefix`.
    """
    wanted = {name: _files(source, f"{prefix}{name}") for name, source in sources.items()}
    ids: dict[Path, str] = {}
    for file in (file for files in wanted.values() for file in files):
        if file not in ids:
            output.note(f"sending {output.clean(str(file))} ({file.stat().st_size:,} bytes)")
            ids[file] = server.upload(file, "fine-tune" if file.suffix == ".jsonl" else "user_data")["id"]
    return {name: ids[files[0]] if len(files) == 1 else [ids[one] for one in files] for name, files in wanted.items()}


def _files(source: str | list[str], key: str) -> list[Path]:
    """The files that a source names; a `UsageError` for what is no file of this machine."""
    found: list[Path] = []
    for text in [source] if isinstance(source, str) else source:
        if text.startswith("file-") and not Path(text).exists():
            raise UsageError(
                f"{text} looks like the id of a file on a server.",
                remedy="Name the file itself; it is sent.", param=key,
            )  # fmt: skip
        if "://" in text:
            raise UsageError(
                "a server fetches nothing from other machines.", where=text,
                remedy="Download the file first, then name it here.", code="remote_source", param=key,
            )  # fmt: skip
        path = Path(text)
        files = [path]
        if not path.exists() and any(mark in text for mark in "*?["):
            files = sorted(path.parent.glob(path.name))
        for file in files or [path]:
            if not file.is_file():
                reason = "is a folder" if file.is_dir() else "is not there"
                raise UsageError(
                    f"this {reason}, and only files can be sent.", where=str(file),
                    remedy="Name one or more files.", code="not_a_file", param=key,
                )  # fmt: skip
            found.append(file)
    return found
