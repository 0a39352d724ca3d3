"""Bounded memory: a million rows within 300 MB."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, resource, sys
from luthier.data.checks import check
report = check(sys.argv[1], test=sys.argv[2], findings_file=sys.argv[3])
if sys.platform == "linux":  # a child's ru_maxrss begins at what pytest had before exec
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20
counts = {item.code: item.count for item in report.codes}
print(json.dumps({"rows": report.rows, "ok": report.ok, "peak_mb": peak, "counts": counts}))
"""


def measured(tmp_path, rows):
    """Check `rows` random rows in a process of its own; every 100th repeats one, every 1,000th is empty."""
    source = random.Random(1)
    words = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(2, 9))) for _ in range(20_000)]
    for name, count in (("train.csv", rows), ("test.csv", 1000)):
        last = "x"
        with open(tmp_path / name, "w") as handle:
            handle.write("text,label\n")
            for k in range(count):
                text = " ".join(source.choices(words, k=source.randint(5, 16)))
                text = last if k % 100 == 50 else "" if k % 1000 == 7 else text
                handle.write(f"{text},c{k % 100 // 10}\n")
                last = text
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            str(tmp_path / "train.csv"),
            str(tmp_path / "test.csv"),
            str(tmp_path / "f.jsonl"),
        ],
        env={**os.environ, "PYTHONPATH": str(REPO / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["rows"] == rows
    assert result["counts"]["empty_text"] == rows // 1000 + 1
    repeated = sum(result["counts"].get(code, 0) for code in ("duplicate", "label_conflict"))
    assert repeated == rows // 100 + 10
    return result["peak_mb"]


def test_fifty_thousand_rows(tmp_path):
    assert measured(tmp_path, 50_000) < 200


@pytest.mark.slow
def test_a_million_rows_within_300_mb(tmp_path):
    assert measured(tmp_path, 1_000_000) < 300
