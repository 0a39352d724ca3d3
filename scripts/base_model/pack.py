"""Puts the trained model into the package: half the bytes, hashes, licences and a model card."""

# ruff: noqa: E501 - sentences of the card
from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[2] / "src" / "luthier" / "models" / "bases" / "luthier_nano"
LARGEST = 40 * 2**20
"""Bytes that the shipped weights may have."""
TEXT_PROMPTS = (
    "The purpose of this chapter is",
    "To print a document,",
    "Abandon means",
    "Question: What causes headache?\nAnswer:",
    'def read_lines(path):\n    """',
)
CHAT_PROMPTS = (
    "Hello",
    "Who are you?",
    "What does curious mean?",
    "How do I print a page?",
    "Describe this restaurant.\nname: The Mill; food: Italian; area: riverside; customer rating: high",
    "Extract the facts as JSON.\nThe Eagle is a coffee shop by the riverside that serves Chinese food.",
    "What is asthma?",
    "What is 12 + 30?",
    "Who won the game last night?",
)
"""Fixed before any answer of the model was seen; the card shows what it answers, good or bad."""


def pack(work: Path, pretrained: Path, chat: Path, target: Path = TARGET) -> dict[str, str]:
    """Copy the chat run's model to `target` in float16; return file names with their sha256."""
    names, worst, parameters = halved(work, chat / "model", target)
    if (target / "model.safetensors").stat().st_size > LARGEST:
        raise SystemExit(f"the weights are larger than {LARGEST} bytes.")
    sources = json.loads((work / "sources.json").read_text("utf-8"))
    (target / "LICENSES.md").write_text(licences(sources), "utf-8")
    log = training_log({"pretrain": pretrained, "chat": chat})
    (target / "training.json").write_text(json.dumps(log, indent=1) + "\n", "utf-8")
    (target / "README.md").write_text(card(log, parameters, worst, samples(target, pretrained)), "utf-8")
    hashes = {name: sha256(target / name) for name in names}
    (target / "SHA256SUMS").write_text("".join(f"{value}  {name}\n" for name, value in hashes.items()), "utf-8")
    return hashes


def halved(work: Path, source: Path, target: Path) -> tuple[list[str], float, int]:
    """Write the model in `source` to `target` in float16: file names, largest change of a weight, parameters."""
    from safetensors.torch import load_file, save_file

    target.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "model.safetensors")
    small = {name: weight.half() for name, weight in weights.items()}
    worst = max(float((weights[name].float() - half.float()).abs().max()) for name, half in small.items())
    if not all(bool(half.isfinite().all()) for half in small.values()):
        raise SystemExit("a weight is too large for float16.")
    save_file(small, target / "model.safetensors", metadata={"format": "pt"})
    _write_json(target / "config.json", config(source))
    names = ["model.safetensors", "config.json"]
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        origin = source / name if (source / name).is_file() else work / "blank" / name
        shutil.copyfile(origin, target / name)
        names.append(name)
    return names, worst, sum(weight.numel() for weight in weights.values())


def config(source: Path) -> dict[str, Any]:
    """The model's configuration, with the two keys that readers older than transformers 5 look for."""
    values: dict[str, Any] = json.loads((source / "config.json").read_text("utf-8"))
    values |= {"dtype": "float16", "torch_dtype": "float16"}
    values["rope_theta"] = values["rope_parameters"]["rope_theta"]
    values.pop("_name_or_path", None)
    return values


def sha256(path: Path) -> str:
    """The file's hash in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def licences(sources: dict[str, Any]) -> str:
    """Every source of the training text with version, size and licence, as Markdown."""
    rows = [
        f"| {name} | {entry['version']} | {entry['characters']:,} | {entry['licence']} |"
        for name, entry in sources["packages"].items()
        if entry["characters"]
    ]
    data = [
        f"| {name} | train rows | {entry['characters']:,} | {entry['licence']} |"
        for name, entry in sources["data"].items()
    ]
    return "\n".join(
        [
            "# What luthier-nano was trained on",
            "",
            "The text itself is not part of this package. Characters are those kept after cleaning; of some sources"
            " only a part was drawn. Debian packages are those of bookworm.",
            "",
            "| source | version | characters | licence |",
            "|---|---|---:|---|",
            *rows,
            *data,
            "",
        ]
    )


def training_log(runs: dict[str, Path]) -> dict[str, Any]:
    """Of each stage: the data's hash, every evaluation, and the mean loss of each 100 steps."""
    return {name: _stage_log(run) for name, run in runs.items()}


def _stage_log(run: Path) -> dict[str, Any]:
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    steps = [row for row in metrics if row["kind"] == "step"]
    blocks = [steps[start : start + 100] for start in range(0, len(steps), 100)]
    data = json.loads((run / "data.json").read_text("utf-8"))
    return {
        "train_rows": data["rows"]["train"],
        "files": [{"bytes": item["bytes"], "sha256": item["sha256"]} for item in data["train"]],
        "steps": steps[-1]["step"],
        "tokens": sum(row["tokens"] for row in steps),
        "started": steps[0]["created_at"],
        "ended": steps[-1]["created_at"],
        "loss": [
            {
                "step": block[-1]["step"],
                "loss": round(
                    sum(row["loss"] * row["tokens"] for row in block) / sum(row["tokens"] for row in block), 4
                ),
            }
            for block in blocks
        ],
        "evaluations": [
            {key: value for key, value in row.items() if key != "samples"} for row in metrics if row["kind"] != "step"
        ],
    }


def samples(target: Path, pretrained: Path) -> dict[str, str]:
    """What the first stage continues and what the packed model answers, the most likely token each time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found: dict[str, str] = {}
    for folder, prompts in ((pretrained / "model", TEXT_PROMPTS), (target, CHAT_PROMPTS)):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        ends = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
        for prompt in prompts:
            text = prompt
            if folder == target:
                turn = [{"role": "user", "content": prompt}]
                text = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
            ids = tokenizer(text, return_tensors="pt")
            out = model.generate(
                **ids,
                max_new_tokens=60,
                do_sample=False,
                repetition_penalty=1.1,
                eos_token_id=ends,
                pad_token_id=tokenizer.pad_token_id,
            )
            found[prompt] = str(tokenizer.decode(out[0, ids.input_ids.shape[1] :], skip_special_tokens=True))
    return found


def card(log: dict[str, Any], parameters: int, worst: float, shown: dict[str, str]) -> str:
    """The model card."""
    lines = [
        "# luthier-nano",
        "",
        f"A Llama-architecture language model with {parameters:,} parameters, a byte-level vocabulary of 4,096 tokens and"
        " a context of 1,024. It was trained from random weights by Luthier's own engine on a CPU (`scripts/base_model`, `make base-model`),"
        " in float32 with bfloat16 products, so that fine-tuning a generative model needs no download.",
        "",
        "## What it is for",
        "A start for fine-tuning on one narrow task, for tests and for teaching. It was trained on help pages, short answers to questions,"
        " definitions, school problems, descriptions of restaurants and a little Python, and on conversations with system, user, assistant and tool turns."
        " Its sentences are mostly grammatical where they are of that kind; what they say is mostly not true, and often not about the question.",
        "",
        "## Limits",
        "- It is thousands of times smaller than the models people chat with. It knows few facts, and most long answers are wrong.",
        "- Left to take the most likely token each time, it repeats itself after two or three sentences. A repetition penalty of 1.1 helps"
        " (`repetition_penalty` of transformers and of Luthier's `Sampling`, or `frequency_penalty` over the API). It is not the default, since answers that copy, such as JSON, have to repeat.",
        "- It does not know what words mean: asked for a definition, it writes something that sounds like one. It seldom copies a name from the question.",
        "- **Never** use it for medical, legal or financial advice, though some of its text sounds like that.",
        "- English only. Arithmetic is unreliable. Code rarely runs.",
        "- Trained on help pages for computer programs above all; its restaurants are from Cambridge. No safety training beyond a few refusals.",
        "- No text longer than 512 tokens was seen in training, though the context allows 1,024.",
        "",
        "## Training",
        "",
        "| stage | rows | tokens | steps | first loss | last loss |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, stage in log.items():
        first, last = stage["loss"][0]["loss"], stage["loss"][-1]["loss"]
        lines.append(
            f"| {name} | {stage['train_rows']:,} | {stage['tokens']:,} | {stage['steps']:,} | {first:.2f} | {last:.2f} |"
        )
    lines += [
        "",
        "Losses are means over 100 steps, in nats per learned token. `training.json` has the whole curve and every evaluation."
        f" Shipped in float16; the largest change of a weight by that is {worst:.1e}.",
        "",
        "## Data and licence",
        "LICENSES.md lists every source. The weights are under Apache-2.0 as far as they are ours; whether licences of"
        " training text reach weights is not settled, and we claim nothing about it. Test splits were never read for training;"
        " of MedQuAD, which has no splits, a fifth of the subjects is kept out (`scripts/base_model/rows.py`, `reserved`). E2E's development"
        " set was trained on, since its trainset is not in the shared folder.",
        "",
        "## Samples",
        "Prompts were fixed before any answer was seen; the most likely token each time, repetition penalty 1.1, at most 60 tokens, not chosen. The settings of the chat stage were chosen between two after answers to these prompts were seen.",
        "",
        "After the first stage (plain text):",
        "",
        *_quoted(TEXT_PROMPTS, shown),
        "As shipped (chat):",
        "",
        *_quoted(CHAT_PROMPTS, shown),
    ]
    return "\n".join(lines)


def _quoted(prompts: tuple[str, ...], shown: dict[str, str]) -> list[str]:
    found: list[str] = []
    for prompt in prompts:
        found += ["```text", f"> {prompt}", shown[prompt].strip(), "```", ""]
    return found


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
