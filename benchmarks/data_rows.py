"""A data set of a million rows over HTTP: how long it takes to make, to page and to search.

    .venv/bin/python -m benchmarks.data_rows [--rows 1000000] [--write]

Starts a `luthier serve` of its own, without torch in its way: nothing is trained. Each format is one line of the
results; one that is there for so many rows is not measured again. `--write` keeps them in
docs/benchmarks/data_rows.jsonl and writes data_rows.md from them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.language_speed import machine
from benchmarks.service_clients import Server

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "benchmarks" / "data_rows.jsonl"
WORDS = [
    "parcel", "late", "refund", "the", "is", "my", "order", "where", "broken", "blue", "chair", "help", "please", "again",
    "address",
]  # fmt: skip
TIMES = 40
HEADER = """\
# A data set of a million rows

Written by `python -m benchmarks.data_rows --write` from data_rows.jsonl. One `luthier serve` on SQLite and a local
folder; server and client share the core. A row has 13 words and a label. Times are of whole HTTP requests: the median,
and in brackets the slowest of {times}.

| | JSON lines | CSV |
|---|---|---|
"""
LINES = (
    ("rows (bytes)", "{rows:,} ({bytes:,})"), ("make the data set (read whole, index written)", "{make:.1f} s"),
    ("a page of 50 rows at the beginning", "{first_p50:.1f} ms ({first_max:.1f})"),
    ("in the middle", "{middle_p50:.1f} ms ({middle_max:.1f})"), ("at the end", "{last_p50:.1f} ms ({last_max:.1f})"),
    ("search for a frequent word", "{frequent_p50:.1f} ms ({frequent_max:.1f})"),
    ("search for what is nowhere, all rows", "{absent:.2f} s in {absent_requests} requests"),
    ("drop 1,000 rows into a new version", "{fix:.1f} s"),
    ("the server's memory afterwards", "{memory:.0f} MB"),
)


def content(kind: str, rows: int, path: Path) -> None:
    """A file of so many rows, the same each time."""
    draw = random.Random(1)
    with open(path, "w", encoding="utf-8") as out:
        if kind == "csv":
            out.write("text,label\n")
        for number in range(rows):
            text = f"{' '.join(draw.choices(WORDS, k=12))} {number}"
            label = "ab"[number % 2]
            line = f"{text},{label}" if kind == "csv" else json.dumps({"text": text, "label": label})
            out.write(line + "\n")


class Asking:
    """Requests over one connection."""

    def __init__(self, server: Server) -> None:
        self.connection = http.client.HTTPConnection(server.host, server.port, timeout=600)
        self.headers = {"authorization": f"Bearer {server.key}"}

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        headers = self.headers | ({"content-type": "application/json"} if body is not None else {})
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.connection.getresponse()
        told = json.loads(answer.read())
        assert answer.status == 200, told
        return told

    def times(self, path: str) -> tuple[float, float]:
        """(median, slowest) in ms of asking for `path` again and again."""
        found = []
        for _ in range(TIMES):
            began = time.perf_counter()
            self("GET", path)
            found.append(1000 * (time.perf_counter() - began))
        return statistics.median(found), max(found)


def measure(kind: str, rows: int) -> dict[str, Any]:
    """All times for one format."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{kind}"
        content(kind, rows, path)
        server = Server(Path(folder), "--data-folder", folder)
        try:
            ask = Asking(server)
            began = time.perf_counter()
            made = ask("POST", "/luthier/v1/datasets", {"path": str(path)})
            result: dict[str, Any] = {"make": time.perf_counter() - began, "bytes": made["latest"]["bytes"]}
            assert made["latest"]["rows"] == rows
            root = f"/luthier/v1/datasets/{made['id']}/versions"
            for name, after in (("first", 0), ("middle", rows // 2), ("last", rows - 50)):
                result[f"{name}_p50"], result[f"{name}_max"] = ask.times(f"{root}/1/rows?after={after}")
            result["frequent_p50"], result["frequent_max"] = ask.times(f"{root}/1/rows?q=refund")
            began, after, requests = time.perf_counter(), 0, 0
            while after is not None:
                told = ask("GET", f"{root}/1/rows?q={quote('no such word')}&after={after}")
                after, requests = told["next_after"], requests + 1
            result |= {"absent": time.perf_counter() - began, "absent_requests": requests}
            began = time.perf_counter()
            new = ask("POST", root, {"base": 1, "fixes": [{"fix": "drop_rows", "rows": list(range(1, 1001))}]})
            assert new["rows"] == rows - 1000
            result["fix"] = time.perf_counter() - began
            status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
            result["memory"] = next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmRSS" in line)
        finally:
            server.stop()
    return {"kind": kind, "rows": rows, "machine": machine(), "date": date.today().isoformat(), **result}


def write(results: list[dict[str, Any]]) -> None:
    """data_rows.md of the newest result of each format."""
    newest = {one["kind"]: one for one in results}
    lines = [
        f"| {name} | {text.format(**newest['jsonl'])} | {text.format(**newest['csv'])} |" for name, text in LINES
    ]
    end = f"\n\n{newest['csv']['machine']}, {newest['csv']['date']}.\n"
    page = HEADER.format(times=TIMES) + "\n".join(lines) + end
    RESULTS.with_suffix(".md").write_text(page, encoding="utf-8")


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    known = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    for kind in ("jsonl", "csv"):
        if any(one["kind"] == kind and one["rows"] == args.rows for one in known):
            continue
        known.append(measure(kind, args.rows))
        print(json.dumps(known[-1]), flush=True)
        if args.write:
            with open(RESULTS, "a", encoding="utf-8") as out:
                out.write(json.dumps(known[-1]) + "\n")
    if args.write:
        write([one for one in known if one["rows"] == args.rows])


if __name__ == "__main__":
    main()
