"""Builds luthier-nano from public text: ``python -m scripts.base_model.build [--stage ...]``.

Every stage is left out when its result is there, so that a stopped build goes on where it stopped; delete a
stage's folder to do it again. Needs selectolax (to read HTML) and Debian's apt-get and dpkg-deb.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from scripts.base_model.chat_stage import build_chat
from scripts.base_model.corpus import build_corpus
from scripts.base_model.pack import pack
from scripts.base_model.pretrain import build_pretrain
from scripts.base_model.tokenizer import blank_model, train_tokenizer

from luthier.core.rundir import RunDir, list_runs

HERE = Path(__file__).resolve().parent
WORK = HERE.parents[1] / "build" / "base-model"
STAGES = ("corpus", "tokenizer", "data", "pretrain", "chat", "pack")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=STAGES, help="only this one (default: all)")
    chosen = parser.parse_args(arguments).stage
    for stage in STAGES:
        if chosen in (None, stage):
            print(f"{stage}:", flush=True)
            run_stage(stage)


def run_stage(stage: str, work: Path = WORK) -> None:
    """One stage, unless its result is there."""
    if stage == "corpus" and not (work / "sources.json").is_file():
        build_corpus(work)
    elif stage == "tokenizer" and not (work / "blank" / "model.safetensors").is_file():
        train_tokenizer(work / "corpus", work / "blank")
        print(f"  {blank_model(work / 'blank'):,} parameters")
    elif stage == "data":
        if not (work / "pretrain" / "report.json").is_file():
            print(f"  {build_pretrain(work)['total_tokens']:,} tokens")
        if not (work / "chat" / "validation.jsonl").is_file():
            print(f"  {build_chat(work)['train']:,} conversations")
    elif stage == "pretrain":
        train(HERE / "pretrain.yaml", work / "runs" / "pretrain")
    elif stage == "chat":
        train(HERE / "chat.yaml", work / "runs" / "chat", "--model", str(trained(work, "pretrain").model))
    elif stage == "pack":
        for name, value in pack(work, trained(work, "pretrain").path, trained(work, "chat").path).items():
            print(f'    "{name}": "{value}",')


def train(recipe: Path, out: Path, *more: str) -> None:
    """A new run below `out`, or its unfinished one taken up again."""
    runs = list_runs(out)
    if runs and runs[-1].report() is not None:
        return
    resume = bool(runs and runs[-1].steps())
    command = ["--resume", str(runs[-1].path)] if resume else [str(recipe), "--out", str(out), *more]
    subprocess.run([sys.executable, "-m", "luthier", "train", *command], check=True)


def trained(work: Path, stage: str) -> RunDir:
    """The last run of a stage that has a model."""
    found = [run for run in list_runs(work / "runs" / stage) if (run.model / "model.safetensors").is_file()]
    if not found:
        raise SystemExit(f"no trained model below {work / 'runs' / stage}: run --stage {stage} first.")
    return found[-1]


if __name__ == "__main__":
    main()
