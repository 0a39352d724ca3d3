"""A folder of source code: which of its files are read, and each file as one sample.

As git sees the folder: what its ``.gitignore`` files leave out is left out (gitignore(5), through
pathspec). Hidden and vendored folders, binary, minified and very large files are passed over too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from luthier.data.formats.base import Row
from luthier.data.samples import Finding
from luthier.data.sources import DATA_ENDINGS, open_stored

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

LARGEST = 1_000_000
"""Bytes; larger files are generated or data."""
LONGEST_LINE = 5_000
"""Characters in a line, from which a file counts as minified or generated."""

CODE_ENDINGS = (
    ".py", ".pyi", ".pyx", ".ipy", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".vue", ".svelte", ".java", ".kt",
    ".kts", ".scala", ".groovy", ".clj", ".go", ".rs", ".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx", ".m",
    ".mm", ".cs", ".fs", ".vb", ".swift", ".dart", ".rb", ".php", ".pl", ".pm", ".lua", ".r", ".jl", ".hs", ".ml",
    ".mli", ".ex", ".exs", ".erl", ".elm", ".nim", ".zig", ".v", ".sv", ".vhd", ".f90", ".f95", ".pas", ".asm", ".s",
    ".sh", ".bash", ".zsh", ".fish", ".ps1", ".sql", ".css", ".scss", ".sass", ".less", ".html", ".htm", ".j2",
    ".proto", ".graphql", ".tf", ".cmake", ".mk", ".gradle", ".cu", ".cuh", ".cl", ".glsl", ".sol", ".tex", ".lisp",
    ".el", ".scm", ".rkt", ".tcl", ".awk", ".toml", ".yaml", ".yml",
)  # fmt: skip
CODE_NAMES = ("makefile", "dockerfile", "rakefile", "gemfile", "cmakelists.txt", "justfile")
SUPPORT = (".toml", ".yaml", ".yml", ".html", ".htm", ".css", ".tex", ".j2")
"""Endings that go with code, but do not make a folder a code base."""
VENDORED = frozenset((
    "node_modules", "bower_components", "vendor", "third_party", "site-packages", "dist-packages", "__pycache__",
    "venv", "virtualenv", "dist", "build", "target", "obj", "coverage", "htmlcov", "DerivedData", "Pods",
))  # fmt: skip
"""Folders of others' code and of what is built."""


def code_files(root: str) -> tuple[list[str], bool]:
    """(source files below a local folder, sorted by path; whether the folder is a code base).

    A code base has more files of code than data files that are not ignored.
    """
    found: list[str] = []
    code = data = 0
    for path in _walk(root, "", []):
        name = path.rsplit("/", 1)[-1].lower()
        if name.endswith(CODE_ENDINGS) or name in CODE_NAMES:
            found.append(os.path.join(root, path))
            code += not name.endswith(SUPPORT)
        elif name.endswith(DATA_ENDINGS):
            data += 1
    return found, code > data


def _walk(root: str, folder: str, specs: list[tuple[str, GitIgnoreSpec]]) -> Iterator[str]:
    """Files that are not ignored, with ``/`` between folders, relative to `root`."""
    here = os.path.join(root, folder)
    ignore = os.path.join(here, ".gitignore")
    if os.path.isfile(ignore):
        specs = [*specs, (folder, _spec(ignore))]
    for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            if entry.name not in VENDORED and not _ignored(f"{path}/", specs):
                yield from _walk(root, path, specs)
        elif entry.is_file() and not _ignored(path, specs):
            yield path


def _spec(path: str) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    with open(path, encoding="utf-8", errors="replace") as lines:
        return GitIgnoreSpec.from_lines(lines)


def _ignored(path: str, specs: list[tuple[str, GitIgnoreSpec]]) -> bool:
    """The nearest .gitignore that says anything of the path decides, as in git."""
    for folder, spec in reversed(specs):
        told = spec.check_file(path[len(folder) + 1 :] if folder else path).include
        if told is not None:
            return told
    return False


class SourceCode:
    """A source file as one sample; its group is the file."""

    name = "code"

    def __init__(self, path: str) -> None:
        self.path = path

    def header(self) -> list[str]:
        return ["text"]

    def rows(self) -> Iterator[Row | Finding]:
        with open_stored(self.path) as stream:
            data = stream.read(LARGEST + 1)
        why = ""
        if len(data) > LARGEST:
            why = f"it is larger than {LARGEST:,} bytes"
        elif b"\0" in data:
            why = "it is binary"
        elif not data.strip():
            return
        else:
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError:
                why = "it is not UTF-8"
            else:
                text = text.replace("\r\n", "\n")
                if any(len(line) > LONGEST_LINE for line in text.split("\n")):
                    why = f"it has a line of more than {LONGEST_LINE:,} characters, as minified code has"
        if why:
            message, remedy = f"this file is passed over: {why}.", "Nothing needs to be done."
            yield Finding("skipped_file", "info", message, remedy, 1, self.path)
            return
        yield Row({"text": text}, 1, self.path, group=self.path)
