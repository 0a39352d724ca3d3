"""Make train.jsonl and test.jsonl from this repository's own source, src/luthier.

One row is one function: its place, signature and docstring are the prompt, its body is the completion.
Run it from anywhere: python examples/code-completion/build.py
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHORTEST, LONGEST = 3, 25
"""Lines of a body: shorter ones teach little, longer ones are not guessed from a signature."""
WIDEST_PROMPT = 1400
"""Characters; a longer one leaves too little room in a context of 1,024 tokens."""
TEST_SHARE = 0.15
"""Of the files. A file is on one side only, since its functions resemble each other."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[tuple[ast.ClassDef | None, Function]]:
    """Functions of the module and methods of its classes; a function inside a function is part of its body."""
    for node in tree.body:
        if isinstance(node, Function):
            yield None, node
        elif isinstance(node, ast.ClassDef):
            yield from ((node, member) for member in node.body if isinstance(member, Function))


def header(path: str, tree: ast.Module) -> str:
    """Where the function stands, and the first line of what the file says about itself."""
    says = (ast.get_docstring(tree) or "").partition("\n")[0]
    return f"# {path}: {says}\n\n" if says else f"# {path}\n\n"


def class_line(owner: ast.ClassDef | None, lines: list[str]) -> str:
    """``class Name(Base):``, or nothing for a function of the module."""
    if owner is None:
        return ""
    line = lines[owner.lineno - 1].rstrip()
    return line + "\n" if line.endswith(":") else f"class {owner.name}:\n"


def row(
    path: str, lines: list[str], tree: ast.Module, owner: ast.ClassDef | None, function: Function
) -> dict[str, str]:
    """The function as prompt and completion; empty where it has no docstring, or a body of another length."""
    if ast.get_docstring(function) is None:
        return {}
    first = function.body[0].end_lineno or 0  # the line after the docstring, counted from 0
    body = lines[first : function.end_lineno]
    while body and not body[0].strip():
        body, first = body[1:], first + 1
    begin = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)]) - 1
    prompt = header(path, tree) + class_line(owner, lines) + "\n".join(lines[begin:first]) + "\n"
    if not SHORTEST <= sum(bool(line.strip()) for line in body) <= LONGEST or len(prompt) > WIDEST_PROMPT:
        return {}
    return {"prompt": prompt, "completion": "\n".join(body), "file": path}


def rows_of(source: Path) -> list[dict[str, str]]:
    """All rows of one file, in its order."""
    text = source.read_text(encoding="utf-8")
    tree, path = ast.parse(text), source.relative_to(ROOT / "src").as_posix()
    found = (row(path, text.splitlines(), tree, owner, function) for owner, function in functions(tree))
    return [one for one in found if one]


def is_test(path: str) -> bool:
    """By a hash of the name: a file stays on its side when others come or go."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") / 2**32 < TEST_SHARE


def main() -> None:
    """Write both files."""
    sides: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    seen: set[str] = set()
    for source in sorted((ROOT / "src" / "luthier").rglob("*.py")):
        for one in rows_of(source):
            if one["completion"] not in seen:  # the same body again might be on the other side
                seen.add(one["completion"])
                sides["test" if is_test(one["file"]) else "train"].append(one)
    for side, rows in sides.items():
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows)
        (HERE / f"{side}.jsonl").write_text(text, encoding="utf-8")
        print(f"{side}.jsonl: {len(rows)} rows from {len({one['file'] for one in rows})} files")


if __name__ == "__main__":
    main()
