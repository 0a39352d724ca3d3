"""Exports a tuned model, in a process of its own: ``python -m luthier.jobs.model_export PARENT``.

It reads one request from stdin and writes one answer to stdout. What comes out is one file, a tar archive: no name in
it is a client's.
"""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from luthier.core.children import die_with_parent
from luthier.core.durable_files import FileWriter
from luthier.core.errors import LuthierError
from luthier.jobs.file_names import renamed
from luthier.jobs.worker_wire import from_line, to_line

_NICE = 10


def export_model(request: dict[str, Any]) -> dict[str, Any]:
    """Export, check and pack.

    Args:
        request: `folder` (the tuned model), `to`, `dtype`, `out` (a folder to be made), `archive` (the file to be
            made), `top` (the name of the archive's one folder), `names`.

    Returns:
        `form`, `dtype`, `size` (of the files), `parity`; or `error` {code, message, param}.
    """
    from luthier import api

    try:
        told = api.export(request["folder"], request["to"], request["out"], dtype=request["dtype"]).to_dict()
        pack(Path(request["out"]), Path(request["archive"]), request["top"])
    except LuthierError as error:
        return {"error": renamed(error.to_dict(), request["names"])}
    return {name: told[name] for name in ("form", "dtype", "size", "parity")}


def pack(folder: Path, archive: Path, top: str) -> None:
    """All files of `folder` as a tar archive, below the folder `top`; without anything of this machine."""
    with FileWriter(archive) as writer:
        streamed: Literal["w|"] = "w|"  # through the writer, which alone touches the disk
        with tarfile.open(fileobj=cast(BinaryIO, writer), mode=streamed, format=tarfile.PAX_FORMAT) as packed:
            for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
                facts = tarfile.TarInfo(f"{top}/{path.relative_to(folder).as_posix()}")
                facts.size, facts.mode, facts.mtime = path.stat().st_size, 0o644, int(path.stat().st_mtime)
                with open(path, "rb") as stream:
                    packed.addfile(facts, stream)
        writer.commit()


def main(argv: list[str]) -> int:
    """Answer one request."""
    die_with_parent(int(argv[0]))
    os.nice(_NICE)
    line = sys.stdin.buffer.readline()
    if line:
        sys.stdout.buffer.write(to_line(export_model(from_line(line))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
