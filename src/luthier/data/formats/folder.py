"""Text files: one sample each in a folder of class folders, one sample per line when named alone."""

from __future__ import annotations

from collections.abc import Iterator

from luthier.core.errors import DataError
from luthier.data.formats.base import Row, problem
from luthier.data.formats.lines import LINE_CAP, check_text, head, read_lines
from luthier.data.samples import Finding


class WholeText:
    """A text file as one sample; its label, if any, is the name of its folder."""

    name = "folder"

    def __init__(self, path: str, label: str | None) -> None:
        self.path, self.label = path, label

    def header(self) -> list[str]:
        return ["text"] if self.label is None else ["text", "label"]

    def rows(self) -> Iterator[Row | Finding]:
        try:
            check_text(self.path, head(self.path))
        except DataError as error:  # one bad file of many is a finding
            code = "empty_text" if error.code == "empty_file" else error.code
            yield problem(code, error.message, error.remedy, 1, self.path)
            return
        lines: list[str] = []
        size = 0
        for _, line in read_lines(self.path):
            if isinstance(line, Finding):
                yield line
                return
            lines.append(line)
            size += len(line) + 1
            if size > LINE_CAP:
                yield problem(
                    "line_too_long",
                    f"this text is longer than {LINE_CAP:,} characters.",
                    "Split it into several files.",
                    1,
                    self.path,
                )
                return
        text = "\n".join(lines).removesuffix("\n")
        yield Row({"text": text} if self.label is None else {"text": text, "label": self.label}, 1, self.path)


class TextLines:
    """A text file with one text per line and nothing else, as `predict` takes it."""

    name = "lines"

    def __init__(self, path: str) -> None:
        self.path = path

    def header(self) -> list[str]:
        return ["text"]

    def rows(self) -> Iterator[Row | Finding]:
        for number, line in read_lines(self.path):
            if isinstance(line, Finding):
                yield line
            elif line.strip():
                yield Row({"text": line}, number, self.path)


def class_of(path: str, root: str) -> str | None:
    """The name of the folder that holds `path`, or None where that is the data folder itself."""
    inside = path[len(root) :].replace("\\", "/").strip("/").split("/")
    return inside[-2] if len(inside) > 1 else None
