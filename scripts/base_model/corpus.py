"""Collects the public text of luthier-nano into WORK/corpus/*.jsonl: {"text", "source", "licence"}.

Packages are fetched by ``apt-get download`` and unpacked into the working folder; nothing is installed.
A package that this Debian does not have is left out with a note.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scripts.base_model import rows
from scripts.base_model.clean import CommonWords, Duplicates, documents, html_paragraphs, is_plain, sentences
from scripts.base_model.glosses import DELICATE, used_words, wordnet_entries, wordnet_sentence
from scripts.base_model.sources import PACKAGES, WORDNET, Package

CODE_LIMIT = 3_000_000
COMMON = 6_000
"""Words that count as common."""
_STEP = re.compile(r"\d+(?:\.\d+)?")


def build_corpus(work: Path) -> dict[str, Any]:
    """Write prose.jsonl, dictionary.jsonl, code.jsonl and rows.jsonl; return what sources.json holds."""
    (work / "corpus").mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"packages": {}, "data": {}, "notes": []}
    duplicates = Duplicates()
    pages: dict[Package, list[list[str]]] = {}
    for package in PACKAGES:
        root = fetch(package.name, work)
        if root is None:
            report["notes"].append(f"{package.name}: not in this Debian, left out")
        else:
            pages[package] = package_pages(package, root, duplicates)
    rowed = row_texts()
    common = CommonWords(
        [
            *(text for found in pages.values() for page in found for text in page),
            *(text for source in ("gsm8k", "banking77") for text in rowed[source]),
        ],
        COMMON,
    )
    with (work / "corpus" / "prose.jsonl").open("w", encoding="utf-8") as stream:
        for package, found in pages.items():
            texts = (text for page in found for text in documents(filter(common.cover, page)))
            _package(report, work, package, write(stream, bounded(texts, package.limit), package.name, package.licence))
    root = fetch(WORDNET.name, work)
    if root is None:
        raise SystemExit("wordnet-base is needed for the chat stage too.")
    with (work / "corpus" / "dictionary.jsonl").open("w", encoding="utf-8") as stream:
        texts = bounded(dictionary(root / "usr/share/wordnet", common), WORDNET.limit)
        _package(report, work, WORDNET, write(stream, texts, WORDNET.name, WORDNET.licence))
    with (work / "corpus" / "code.jsonl").open("w", encoding="utf-8") as stream:
        kept = write(stream, bounded(library_code(), CODE_LIMIT), "python standard library", "PSF-2.0")
        about = {"version": sysconfig.get_python_version(), "licence": "PSF-2.0"}
        report["packages"]["python standard library"] = about | kept
    with (work / "corpus" / "rows.jsonl").open("w", encoding="utf-8") as stream:
        for name, found_rows in rowed.items():
            kept = write(stream, found_rows, name, rows.LICENCES[name])
            report["data"][name] = {"licence": rows.LICENCES[name], **kept}
            print(f"  {name}: {kept['characters'] / 1e6:.2f} MB in {kept['documents']} texts", flush=True)
    (work / "sources.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return report


def _package(report: dict[str, Any], work: Path, package: Package, kept: dict[str, int]) -> None:
    about = {"version": version(package.name, work), "licence": package.licence}
    report["packages"][package.name] = about | kept
    print(f"  {package.name}: {kept['characters'] / 1e6:.2f} MB in {kept['documents']} texts", flush=True)


def fetch(name: str, work: Path) -> Path | None:
    """The unpacked package, or None where this Debian does not have it."""
    debs, root = work / "debs", work / "debian" / name
    debs.mkdir(parents=True, exist_ok=True)
    if not list(debs.glob(f"{name}_*.deb")):
        subprocess.run(["apt-get", "download", name], cwd=debs, capture_output=True, check=False)
    found = sorted(debs.glob(f"{name}_*.deb"))
    if found and not root.is_dir():
        root.mkdir(parents=True, exist_ok=True)  # dpkg-deb makes the last folder only
        subprocess.run(["dpkg-deb", "-x", str(found[-1]), str(root)], check=True)
    return root if found else None


def version(name: str, work: Path) -> str:
    """The package's version, from the name of its file."""
    return sorted((work / "debs").glob(f"{name}_*.deb"))[-1].name.split("_")[1].replace("%3a", ":")


def bounded(texts: Iterable[str], limit: int) -> Iterator[str]:
    """Texts up to `limit` characters."""
    size = 0
    for text in texts:
        if size + len(text) > limit:
            return
        size += len(text)
        yield text


def write(stream: Any, texts: Iterable[str], source: str, licence: str) -> dict[str, int]:
    """Append the texts as rows; count them."""
    count = size = 0
    for text in texts:
        stream.write(json.dumps({"text": text, "source": source, "licence": licence}, ensure_ascii=False) + "\n")
        count, size = count + 1, size + len(text)
    return {"documents": count, "characters": size}


def package_pages(package: Package, root: Path, duplicates: Duplicates) -> list[list[str]]:
    """The plain paragraphs of each of a package's files, none twice."""
    paths = sorted({path for pattern in package.files for path in root.glob(pattern) if path.is_file()}, key=spread)
    found = []
    for path in paths:
        if package.skip and re.search(package.skip, str(path.relative_to(root))):
            continue
        paragraphs = html_paragraphs(path.read_text("utf-8", errors="replace"))
        found.append([text for text in paragraphs if is_plain(text) and duplicates.add(text)])
    return found


def spread(path: Path) -> tuple[float, str]:
    """An order of files that takes some of every chapter before a limit is reached."""
    return rows.share(path.name), str(path)


def dictionary(folder: Path, common: CommonWords) -> Iterator[str]:
    """Definitions of words that people use, in common words."""
    used = used_words(folder)
    entries = [
        entry
        for entry in wordnet_entries(folder)
        if entry[0] in used and common.cover(entry[2], 0.9) and len(entry[2]) <= 120
        and not rows.is_validation(entry[0])
    ]  # fmt: skip
    entries.sort(key=lambda entry: rows.share(entry[0] + entry[2]))
    yield from grouped(wordnet_sentence(*entry) for entry in entries)


def grouped(texts: Iterable[str], longest: int = 700) -> Iterator[str]:
    """Short texts, one a line, joined to texts of about `longest` characters."""
    parts: list[str] = []
    for text in texts:
        parts.append(text)
        if sum(map(len, parts)) > longest:
            yield "\n".join(parts)
            parts = []


def library_code() -> Iterator[str]:
    """Functions and methods of the standard library, a file's neighbours together."""
    folder = Path(sysconfig.get_path("stdlib"))
    skipped = re.compile(r"/(test|tests|idlelib|lib2to3|site-packages|dist-packages|encodings|pydoc_data|turtledemo)/")
    paths = [path for path in folder.rglob("*.py") if not skipped.search(str(path)) and path.stat().st_size < 200_000]
    for path in sorted(paths, key=spread):
        source = path.read_text("utf-8", errors="replace")
        lines = source.split("\n")
        parts: list[str] = []
        for node in _definitions(ast.parse(source)):
            first = min([node.lineno, *(item.lineno for item in node.decorator_list)]) - 1
            block = lines[first : node.end_lineno]
            indent = len(block[0]) - len(block[0].lstrip())
            text = "\n".join(line[indent:].rstrip() for line in block)
            if not (100 <= len(text) <= (1200 if ast.get_docstring(node) else 500) and text.isascii()):
                continue
            if parts and sum(map(len, parts)) + len(text) > 1100:
                yield "\n\n\n".join(parts)
                parts = []
            parts.append(text)
        if parts:
            yield "\n\n\n".join(parts)


def _definitions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from (item for item in node.body if isinstance(item, ast.FunctionDef))


def row_texts() -> dict[str, list[str]]:
    """Documents of the shared data sets' train rows, without rows that equal a test row."""
    tests = rows.test_texts()
    found: dict[str, list[str]] = {name: [] for name in rows.LICENCES}
    for message, intent in rows.banking():
        if message.lower() not in tests and not rows.is_validation(message):
            found["banking77"].append(f"Customer: {message}\nThis is about: {intent}.")
    found["banking77"] = ["\n\n".join(found["banking77"][i::800]) for i in range(800)]
    seen: dict[str, list[str]] = {}
    for facts, sentence in rows.restaurants():
        key = "; ".join(f"{name}: {value}" for name, value in facts.items())
        if sentence.lower() not in tests and not rows.is_validation(key):
            seen.setdefault(key, []).append(sentence)
    for key, described in seen.items():
        found["e2e_nlg"].append(f"Facts: {key}\n" + "\n".join(dict.fromkeys(described)))
    for question, answer, _ in rows.school_mathematics():
        if question.lower() not in tests and not rows.is_validation(question) and len(_STEP.findall(answer)) <= 16:
            found["gsm8k"].append(f"Question: {question}\nAnswer: {answer}")
    duplicates = Duplicates()
    for item in rows.medical():
        if rows.is_validation(item.focus) or DELICATE.search(item.answer):
            continue
        body = ""
        for text in sentences(item.answer):
            if len(body) + len(text) <= 700 and is_plain(text) and text[:12] != "Key Points -" and duplicates.add(text):
                body = f"{body} {text}".strip()
        if len(body) > 80:
            found["medquad"].append(f"Question: {item.question}\nAnswer: {body}")
    return found
