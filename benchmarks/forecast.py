"""`python -m benchmarks.forecast`: 32 runs, each foretold by `luthier forecast` before it and trained after.

Forecast and run are processes of their own, as a person starts them. Results go to a JSON-lines file as they come, and a
job that is there already is not run again. The ledger begins empty, so the first forecasts know no earlier run.
`--table` writes the committed table. `--dev` are the runs that the model of the forecast was developed on; they are not
among the 32.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from luthier.search.ledger import record

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
Job = tuple[str, list[str]]


def sets(**values: Any) -> list[str]:
    """Options ``--set key=value``; two underscores stand for a dot."""
    return [word for key, value in values.items() for word in ("--set", f"{key.replace('__', '.')}={json.dumps(value)}")]


def banking(method: str, share: float, *, test: bool = True, **values: Any) -> list[str]:
    """3,080 test rows, or 400 validation rows alone."""
    held_out = ["--test", str(DATA / "banking77/test.csv")] if test else ["--validation", "0.04"]
    return ["--data", str(DATA / "banking77/train.csv"), *held_out, "--task", "classify", "--method", method,
            *sets(data__share=share, **values)]  # fmt: skip


def ncbi(method: str, part: str = "devel", **values: Any) -> list[str]:
    return ["--data", str(DATA / f"ncbi_disease/{part}.tsv"), "--test", str(DATA / "ncbi_disease/test.tsv"), "--task",
            "extract", "--method", method, *sets(**values)]  # fmt: skip


def sts(method: str, **values: Any) -> list[str]:
    columns = {"score": "0", "text": "1", "text_pair": "2"}
    return ["--data", str(DATA / "sts/2016.postediting.tsv"), "--data", str(DATA / "sts/2016.question-question.tsv"),
            "--test", str(DATA / "sts/2016.answer-answer.tsv"), "--task", "regress", "--method", method,
            *sets(data__columns=columns, **values)]  # fmt: skip


def e2e(method: str, share: float, **values: Any) -> list[str]:
    columns = {"prompt": "mr", "completion": "ref"}
    return ["--data", str(DATA / "e2e_nlg/devset.csv"), "--task", "complete", "--method", method,
            *sets(data__columns=columns, data__share=share, **values)]  # fmt: skip


def gsm8k(method: str, share: float, **values: Any) -> list[str]:
    columns = {"prompt": "question", "completion": "answer"}
    return ["--data", str(DATA / "gsm8k/train.jsonl"), "--task", "complete", "--method", method,
            *sets(data__columns=columns, data__share=share, data__validation=0.03, **values)]  # fmt: skip


def example(name: str, task: str, method: str, **values: Any) -> list[str]:
    folder = EXAMPLES / name
    kinds = [path for path in (folder / "train.jsonl", folder / "train.csv") if path.is_file()]
    test = [path for path in (folder / "test.jsonl", folder / "test.csv") if path.is_file()]
    return ["--data", str(kinds[0]), "--task", task, "--method", method, *(["--test", str(test[0])] if test else []),
            *sets(**values)]  # fmt: skip


def dev_jobs() -> list[Job]:
    """What the formulas, the probe and the widths of the intervals were developed on."""
    return [
        ("dev banking full", banking("full", share=0.05, train__epochs=1)),
        ("dev banking lora frozen", banking("lora", share=0.1, train__epochs=3, freeze__layers=4)),
        ("dev banking head", banking("head", share=0.2, train__epochs=12, evaluate__baselines=["majority"])),
        ("dev banking ia3", banking("ia3", share=0.1, train__epochs=2, evaluate__baselines=[])),
        ("dev ncbi lora", ncbi("lora", train__epochs=2)),
        ("dev sts full", sts("full", train__epochs=1)),
        ("dev e2e full", e2e("full", 0.2, train__epochs=1)),
        ("dev e2e lora 2", e2e("lora", 0.1, train__epochs=2, evaluate__generate_rows=32)),
        ("dev gsm8k lora", gsm8k("lora", 0.02, train__epochs=1, train__truncate="drop", evaluate__generate_rows=32)),
        ("dev chat", example("brand-voice-chat", "chat", "lora", train__epochs=2)),
    ]


def jobs() -> list[Job]:
    """The runs that are reported."""
    none: list[str] = []
    long: dict[str, Any] = {"train__truncate": "drop", "train__max_length": 400}
    return [
        ("banking full", banking("full", share=0.05, train__epochs=2, evaluate__baselines=["majority"])),
        ("banking full, batch 64", banking("full", test=False, share=0.05, train__epochs=2, train__batch_size=64)),
        ("banking lora, forgetting", banking("lora", test=False, share=0.05, train__epochs=1, evaluate__forgetting=True, evaluate__baselines=none)),
        ("banking lora", banking("lora", test=False, share=0.12, train__epochs=2, evaluate__baselines=none)),
        ("banking lora rank 4, 5 layers frozen", banking("lora", share=0.2, train__epochs=4, method__rank=4, freeze__layers=5, evaluate__baselines=["majority"])),
        ("banking lora, accumulate 4", banking("lora", test=False, share=0.1, train__epochs=1, train__accumulate=4, evaluate__baselines=["frozen"])),
        ("banking lora, patience 1", banking("lora", test=False, share=0.04, train__epochs=8, train__patience=1, evaluate__baselines=none)),
        ("banking adapter", banking("adapter", test=False, share=0.08, train__epochs=2, evaluate__baselines=["tfidf"])),
        ("banking bitfit", banking("bitfit", test=False, share=0.08, train__epochs=2, evaluate__baselines=none)),
        ("banking prefix", banking("prefix", test=False, share=0.06, train__epochs=2, evaluate__baselines=none)),
        ("banking head", banking("head", share=0.3, train__epochs=20, evaluate__baselines=["majority", "tfidf"])),
        ("ncbi full", ncbi("full", train__epochs=1)),
        ("ncbi head", ncbi("head", train__epochs=6)),
        ("ncbi bitfit, cut at 128", ncbi("bitfit", train__epochs=1, train__max_length=128)),
        ("ncbi lora, 4 layers frozen", ncbi("lora", train__epochs=3, freeze__layers=4)),
        ("sts lora", sts("lora", train__epochs=3)),
        ("sts adapter", sts("adapter", train__epochs=2)),
        ("sts full, 4 layers frozen", sts("full", train__epochs=3, freeze__layers=4)),
        ("sts head", sts("head", train__epochs=30)),
        ("support intents ia3", example("support-intents", "classify", "ia3", train__epochs=4)),
        ("finance sentiment lora", example("finance-sentiment", "classify", "lora", train__epochs=4)),
        ("delivery reviews full", example("delivery-reviews", "classify", "full", train__epochs=2, data__columns={"text": "review", "label": "verdict"})),
        ("e2e lora", e2e("lora", 0.15, train__epochs=1, evaluate__generate_rows=48)),
        ("e2e full, 3 epochs", e2e("full", 0.05, train__epochs=3, evaluate__generate_rows=16)),
        ("e2e adapter, no answers", e2e("adapter", 0.15, train__epochs=1, evaluate__generate_rows=0, evaluate__samples=0)),
        ("e2e ia3, 3 layers frozen", e2e("ia3", 0.12, train__epochs=2, freeze__layers=3, evaluate__generate_rows=16)),
        ("gsm8k lora", gsm8k("lora", 0.02, train__epochs=1, evaluate__generate_rows=16, evaluate__max_tokens=100, **long)),
        ("gsm8k full", gsm8k("full", 0.02, train__epochs=1, evaluate__generate_rows=0, evaluate__memorisation=0, **long)),
        ("chat lora", example("brand-voice-chat", "chat", "lora", train__epochs=2)),
        ("chat bitfit", example("brand-voice-chat", "chat", "bitfit", train__epochs=3, evaluate__generate_rows=16)),
        ("product descriptions full", example("product-descriptions", "complete", "full", train__epochs=2)),
        ("product descriptions prefix", example("product-descriptions", "complete", "prefix", train__epochs=1, evaluate__generate_rows=16)),
        ("contract clauses lora", example("contract-clauses", "chat", "lora", train__epochs=1)),
    ]


def command(verb: str, words: list[str], more: list[str], environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "luthier", verb, *words, *more, "--json", "--quiet"], check=False,
                          capture_output=True, text=True, env=environment)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"luthier {verb} {' '.join(words)}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def run_job(name: str, words: list[str], folder: Path, ledger: Path) -> dict[str, Any]:
    environment = {**os.environ, "LUTHIER_LEDGER": str(ledger), "LUTHIER_CACHE": str(folder / "cache")}
    for key in ("model", "seed"):
        environment.pop(key, None)
    instant = command("forecast", words, ["--no-probe"], environment)
    probed = command("forecast", words, [], environment)
    out = folder / "runs"
    ended = command("train", words, ["--out", str(out)], environment)
    report = json.loads((Path(ended["run"]) / "report.json").read_text(encoding="utf-8"))
    shutil.rmtree(out)
    own = report["forecast"]
    keep = ("seconds", "peak_memory_bytes", "stages")
    return {
        "job": name, "task": probed["task"], "model": probed["model"], "method": probed["method"], "rows": probed["rows"],
        "tokens_per_epoch": probed["tokens_per_epoch"], "epochs": probed["epochs"], "epochs_done": report["cost"]["epochs"],
        "words": [word.replace(str(DATA), "DATA").replace(str(EXAMPLES), "examples") for word in words],
        "probe": {key: probed[key] for key in keep}, "instant": {key: instant[key] for key in keep},
        "first_steps": own["refined"] and {key: own["refined"][key] for key in keep},
        "actual": own["actual"], "actual_stages": own["stages"],
    }  # fmt: skip


def table(lines: list[dict[str, Any]]) -> str:
    """The committed page."""
    rows = ["| run | foretold | interval | was | error | memory foretold | was | error |", "|---|---|---|---|---|---|---|---|"]
    for line in lines:
        said, mem, was = line["probe"]["seconds"], line["probe"]["peak_memory_bytes"], line["actual"]
        inside = "" if said["low"] <= was["seconds"] <= said["high"] else " (outside)"
        rows.append(
            f"| {line['job']} | {said['value']:.1f} s | {said['low']:.1f} to {said['high']:.1f} | {was['seconds']:.1f} s"
            f"{inside} | {(said['value'] / was['seconds'] - 1):+.0%} | {mem['value'] / 2**20:.0f} MiB "
            f"| {was['peak_memory_bytes'] / 2**20:.0f} MiB | {(mem['value'] / was['peak_memory_bytes'] - 1):+.0%} |"
        )
    return "\n".join(rows)


def summary(lines: list[dict[str, Any]], basis: str) -> dict[str, Any]:
    """Median errors and shares within the interval."""
    found = {}
    for key in ("seconds", "peak_memory_bytes"):
        pairs = [(line[basis][key], line["actual"][key]) for line in lines if line.get(basis)]
        found[key] = record(pairs) if pairs else {}
    return found


def read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "forecast.jsonl")
    parser.add_argument("--dev", action="store_true")
    parser.add_argument("--most", type=int, default=1000, help="jobs in this call")
    parser.add_argument("--ledger", type=Path, help="goes on from call to call")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    lines = read(args.out)
    if not args.table:
        done = {line["job"] for line in lines}
        ledger = args.ledger or args.out.with_suffix(".ledger")
        folder = Path(tempfile.mkdtemp(prefix="forecast-bench-"))
        todo = [job for job in (dev_jobs() if args.dev else jobs()) if job[0] not in done][: args.most]
        for name, words in todo:
            line = run_job(name, words, folder, ledger)
            with open(args.out, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(line) + "\n")
            said, was = line["probe"], line["actual"]
            print(f"{name}: {said['seconds']['value']:.1f} s foretold, {was['seconds']:.1f} s; "
                  f"{said['peak_memory_bytes']['value'] / 2**20:.0f} MiB, {was['peak_memory_bytes'] / 2**20:.0f} MiB",
                  flush=True)  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)
        return
    print(table(lines))
    for basis in ("instant", "probe", "first_steps"):
        print(basis, json.dumps(summary(lines, basis)))
    print(median(line["actual"]["seconds"] for line in lines), sum(line["actual"]["seconds"] for line in lines))


if __name__ == "__main__":
    main()
