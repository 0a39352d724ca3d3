"""Collects the public text of luthier-nano into WORK/corpus/*.jsonl: {"text", "source", "licence"}.

Packages are fetched by ``apt-get download`` and unpacked into the working folder; nothing is installed.
A package that this Debian does not have is left out with a note.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scripts.base_model import rows
from scripts.base_model.clean import (
    Duplicates,
    documents,
    entry_paragraphs,
    html_paragraphs,
    pod_paragraphs,
    rst_paragraphs,
    script_paragraphs,
    tidy,
)
from scripts.base_model.glosses import foldoc_sentences, gcide_sentences, wordnet_entries, wordnet_sentence
from scripts.base_model.sources import DICTIONARIES, PACKAGES, Package

CODE_LIMIT = 6_000_000
_READERS = {
    "html": html_paragraphs,
    "rst": rst_paragraphs,
    "pod": pod_paragraphs,
    "script": script_paragraphs,
    "entries": entry_paragraphs,
}


def build_corpus(work: Path) -> dict[str, Any]:
    """Write prose.jsonl, dictionary.jsonl, code.jsonl and rows.jsonl; return what sources.json holds."""
    corpus = work / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    duplicates = Duplicates()
    report: dict[str, Any] = {"packages": {}, "data": {}, "notes": []}
    known: frozenset[str] = frozenset()
    with (
        (corpus / "prose.jsonl").open("w", encoding="utf-8") as prose,
        (corpus / "dictionary.jsonl").open("w", encoding="utf-8") as dictionary,
    ):
        for package in PACKAGES:
            root = fetch(package.name, work)
            if root is None:
                report["notes"].append(f"{package.name}: not in this Debian, left out")
                continue
            if package.reader == "wordnet":
                known = frozenset(entry[0] for entry in wordnet_entries(root / "usr/share/wordnet"))
            texts = bounded(package_texts(package, root, duplicates, known), package.limit)
            kept = write(dictionary if package.reader in DICTIONARIES else prose, texts, package.name, package.licence)
            report["packages"][package.name] = {
                "version": version(package.name, work),
                "licence": package.licence,
                **kept,
            }
            print(f"  {package.name}: {kept['characters'] / 1e6:.2f} MB in {kept['documents']} texts", flush=True)
    with (corpus / "code.jsonl").open("w", encoding="utf-8") as stream:
        kept = write(stream, bounded(library_code(), CODE_LIMIT), "python standard library", "PSF-2.0")
        report["packages"]["python standard library"] = {
            "version": sysconfig.get_python_version(),
            "licence": "PSF-2.0",
            **kept,
        }
    with (corpus / "rows.jsonl").open("w", encoding="utf-8") as stream:
        for name, found in row_texts().items():
            report["data"][name] = {"licence": rows.LICENCES[name], **write(stream, found, name, rows.LICENCES[name])}
            print(f"  {name}: {report['data'][name]}", flush=True)
    (work / "sources.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return report


def fetch(name: str, work: Path) -> Path | None:
    """The unpacked package, or None where this Debian does not have it."""
    debs, root = work / "debs", work / "debian" / name
    debs.mkdir(parents=True, exist_ok=True)
    if not list(debs.glob(f"{name}_*.deb")):
        subprocess.run(["apt-get", "download", name], cwd=debs, capture_output=True, check=False)
    found = sorted(debs.glob(f"{name}_*.deb"))
    if found and not root.is_dir():
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


def package_texts(package: Package, root: Path, duplicates: Duplicates, known: frozenset[str]) -> Iterator[str]:
    """The cleaned texts of one package."""
    paths = sorted({path for pattern in package.files for path in root.glob(pattern) if path.is_file()}, key=spread)
    if package.reader == "wordnet":
        entries = [entry for entry in wordnet_entries(root / "usr/share/wordnet") if not rows.is_validation(entry[0])]
        # Synsets with an example sentence are the commoner words, and the example is plain English.
        entries.sort(key=lambda entry: (not entry[3], rows.share(entry[0] + entry[2])))
        yield from grouped(wordnet_sentence(*entry) for entry in entries)
        return
    for path in paths:
        if package.skip and re.search(package.skip, str(path.relative_to(root))):
            continue
        source = read(path)
        if package.reader == "gcide":
            found = [text for word, text in gcide_sentences(source, known) if not rows.is_validation(word)]
            yield from grouped(sorted(found, key=rows.share))
        elif package.reader == "foldoc":
            yield from grouped(text for term, text in foldoc_sentences(source) if duplicates.add(text))
        elif package.reader == "freeciv":
            blocks = re.findall(r'_\("((?:[^"\\]|\\.|\\\n)*)"\)', source)
            yield from documents(
                (tidy(text.replace("\\\n", " ").replace("\\n", " ").replace('\\"', '"')) for text in blocks), duplicates
            )
        else:
            yield from documents(_READERS[package.reader](source), duplicates)


def spread(path: Path) -> tuple[float, str]:
    """An order of files that takes some of every chapter before a limit is reached."""
    return rows.share(path.name), str(path)


def read(path: Path) -> str:
    """A text file, unpacked where its name says so."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix in (".gz", ".dz") else path.read_bytes()
    return raw.decode("utf-8", errors="replace")


def grouped(texts: Iterable[str], longest: int = 900) -> Iterator[str]:
    """Short texts, one a line, joined to texts of about `longest` characters."""
    parts: list[str] = []
    for text in texts:
        parts.append(text)
        if sum(map(len, parts)) > longest:
            yield "\n".join(parts)
            parts = []


def library_code() -> Iterator[str]:
    """Functions and classes of the standard library with a docstring, a file's neighbours together."""
    folder = Path(sysconfig.get_path("stdlib"))
    skipped = re.compile(r"/(test|tests|idlelib|lib2to3|site-packages|encodings|pydoc_data|turtledemo|__pycache__)/")
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
            if not (120 <= len(text) <= (2400 if ast.get_docstring(node) else 700) and text.isascii()):
                continue
            if parts and sum(map(len, parts)) + len(text) > 2000:
                yield "\n\n\n".join(parts)
                parts = []
            parts.append(text)
        if parts:
            yield "\n\n\n".join(parts)


def _definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            if (node.end_lineno or 0) - node.lineno < 50:
                yield node
            else:
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
    for key, sentences in seen.items():
        found["e2e_nlg"].append(f"Facts: {key}\n" + "\n".join(dict.fromkeys(sentences)))
    for question, answer, _ in rows.school_mathematics():
        if question.lower() not in tests and not rows.is_validation(question):
            found["gsm8k"].append(f"Question: {question}\nAnswer: {answer}")
    duplicates = Duplicates()
    for item in rows.medical():
        sentences = re.split(r"(?<=[a-z)][.?!]) (?=[A-Z])", item.answer)
        body = " ".join(text for text in sentences if duplicates.add(text) and "Key Points" not in text)[:1600]
        body = body[: body.rfind(". ") + 1] if len(body) >= 1500 else body
        if len(body) > 80 and not rows.is_validation(item.focus):
            found["medquad"].append(f"Question: {item.question}\nAnswer: {body}")
    found["ncbi_disease"] = list(rows.abstracts())
    return found
