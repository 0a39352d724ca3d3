"""`python -m benchmarks.forecast`: 30 runs, each foretold by `luthier forecast` before it and trained after.

Forecast and run are processes of their own, as a person starts them. Results go to a JSON-lines file as they come, and a
job that is there already is not run again. The ledger begins empty, so the first forecasts know no earlier run.
`--write` writes the committed page. `--dev` are the runs that the model of the forecast was developed on; they are not
among the 30.
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
    few: dict[str, Any] = {"data__validation": 0.03, "evaluate__generate_rows": 16}
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
        ("ncbi head", ncbi("head", train__epochs=4, data__share=0.5)),
        ("ncbi bitfit, cut at 128", ncbi("bitfit", train__epochs=1, train__max_length=128, data__share=0.4)),
        ("ncbi lora, 4 layers frozen", ncbi("lora", train__epochs=2, freeze__layers=4, data__share=0.4)),
        ("sts lora", sts("lora", train__epochs=1)),
        ("sts adapter", sts("adapter", train__epochs=2, data__share=0.4)),
        ("sts full, 4 layers frozen", sts("full", train__epochs=2, freeze__layers=4, data__share=0.6)),
        ("sts head", sts("head", train__epochs=20)),
        ("support intents ia3", example("support-intents", "classify", "ia3", train__epochs=2)),
        ("finance sentiment lora", example("finance-sentiment", "classify", "lora", train__epochs=2)),
        ("delivery reviews full", example("delivery-reviews", "classify", "full", train__epochs=1, data__columns={"text": "review", "label": "verdict"})),
        ("e2e lora", e2e("lora", 0.08, train__epochs=1, **few)),
        ("e2e full, 3 epochs", e2e("full", 0.03, train__epochs=3, **few)),
        ("e2e adapter, no answers", e2e("adapter", 0.1, train__epochs=1, data__validation=0.03, evaluate__generate_rows=0, evaluate__samples=0)),
        ("e2e ia3, 3 layers frozen", e2e("ia3", 0.06, train__epochs=2, freeze__layers=3, **few)),
        ("gsm8k lora", gsm8k("lora", 0.01, train__epochs=1, evaluate__generate_rows=8, evaluate__max_tokens=60, **long)),
        ("chat lora", example("brand-voice-chat", "chat", "lora", train__epochs=1, evaluate__generate_rows=16)),
        ("product descriptions full", example("product-descriptions", "complete", "full", train__epochs=1, evaluate__generate_rows=16)),
        ("contract clauses lora", example("contract-clauses", "chat", "lora", train__epochs=1, evaluate__generate_rows=8)),
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
    """A row for each run."""
    rows = ["| run | foretold | interval | was | error | memory foretold | was | error |", "|---|--:|---|--:|--:|--:|--:|--:|"]
    for line in lines:
        said, mem, was = line["probe"]["seconds"], line["probe"]["peak_memory_bytes"], line["actual"]
        inside = "" if within(said, was["seconds"]) else " (outside)"
        inside_mem = "" if within(mem, was["peak_memory_bytes"]) else " (outside)"
        early = "" if line["epochs_done"] == line["epochs"] else f", ended by patience after {line['epochs_done']} of {line['epochs']} epochs"
        rows.append(
            f"| {line['job']}{early} | {said['value']:.1f} s | {said['low']:.1f} to {said['high']:.1f} | {was['seconds']:.1f} s"
            f"{inside} | {(said['value'] / was['seconds'] - 1):+.0%} | {mem['value'] / 2**20:.0f} MiB "
            f"| {was['peak_memory_bytes'] / 2**20:.0f} MiB{inside_mem} | {(mem['value'] / was['peak_memory_bytes'] - 1):+.0%} |"
        )
    return "\n".join(rows)


def within(said: dict[str, float], was: float) -> bool:
    return said["low"] <= was <= said["high"]


def summary(lines: list[dict[str, Any]], basis: str) -> dict[str, Any]:
    """Median errors and shares within the interval."""
    found = {}
    for key in ("seconds", "peak_memory_bytes"):
        known = [line for line in lines if line.get(basis)]
        pairs = [(line[basis][key], line["actual"][key]) for line in known]
        found[key] = record(pairs, [line["epochs_done"] < line["epochs"] for line in known]) if pairs else {}
    return found


NAMES = {
    "probe": "`luthier forecast`, a probe of about 20 steps", "instant": "`luthier forecast --no-probe`",
    "first_steps": "`luthier train` after its own first 20 steps",
}  # fmt: skip


def page(lines: list[dict[str, Any]]) -> str:
    """docs/benchmarks/forecast.md."""
    rows = ["| forecast by | runs | time: median error | within the interval | memory: median error | within the interval |",
            "|---|--:|--:|--:|--:|--:|"]  # fmt: skip
    for basis, name in NAMES.items():
        found = summary(lines, basis)
        if not found["seconds"]:
            continue
        time, memory = found["seconds"], found["peak_memory_bytes"]
        rows.append(f"| {name} | {time['runs']} | {time['median_error']:.1%} | {time['within']:.0%} "
                    f"| {memory['median_error']:.1%} | {memory['within']:.0%} |")  # fmt: skip
    spent = [line["actual"]["seconds"] for line in lines]
    return f"""# Forecasts, and what it was

{len(lines)} runs on two cores of a server processor (one thread, one core to itself), each foretold by `luthier forecast` before it and
trained after; {min(spent):.0f} to {max(spent):.0f} seconds each, {sum(spent) / 60:.0f} minutes together. The targets: the actual time within
the interval 9 times in 10, a median error of at most 10 % of time and of memory.

{chr(10).join(rows)}

Forecast and run are processes of their own, as a person starts them. The ledger was empty before the first one and grew
with each run, so `--no-probe` knew nothing at first. Formulas, probe and the widths of the probe's intervals were
developed on other runs (`dev_jobs` in benchmarks/forecast.py) and on an earlier round of these thirty, in which the
probe's memory interval (then 8 % to both sides) held 23 times, its time interval 28 times; they were not changed since. The
median errors leave out runs that patience ended, whose value is that of all epochs. A run's seconds count from the call
to the written report, without the start of Python. Other programs ran on the other core.

**Without a probe** the interval held only 21 times of 30: what a formula does not know (a method inside the layers, how fast
this machine judges) makes all stages wrong alike. It is wider since (a deviation of 20 % that all stages share), and the
formula knows that an encoder with adapters, a prefix or IA3 takes 1.7 times as long. Both were chosen on these runs and
not measured on others yet; the probe is what promises.

{table(lines)}

Raw results, with the seconds of every stage: [forecast.jsonl](forecast.jsonl). Again: `python -m benchmarks.forecast`, then `--write`.
"""


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
    parser.add_argument("--write", action="store_true", help="write the page instead of running")
    args = parser.parse_args()
    lines = read(args.out)
    if not args.write:
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
    text = page(lines)
    (RESULTS / "forecast.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
