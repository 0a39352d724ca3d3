"""Toy problems that a tiny random model can learn, and one call that trains."""

from __future__ import annotations

import itertools
import json
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast

from luthier.core.events import Event, Listener
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.data.samples import Sample, Span
from luthier.data.tokens import TargetCoder, TokenTable, encode_samples
from luthier.evaluate.scorers import scorer_for
from luthier.models import methods
from luthier.models.base_source import from_folder
from luthier.models.build import build
from luthier.models.quiet import quiet
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import Tokenizer, load_tokenizer
from luthier.models.trainable import trainable_state
from luthier.train.forward import Forward
from luthier.train.run import Trained, train
from luthier.train.step import StepRunner
from luthier.train.tasks import make_task


def save_toy_base(folder: Path) -> Path:
    """A BERT of three narrow layers that knows the words of `rows`.

    Its words are a fixed list and its weights are drawn by name, so that golden curves hold in every
    process: tokenizers that are trained in a test break ties in another order each time.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, *GOOD, *BAD, *FILL, "invoice", *(f"unused{i}" for i in range(20))]
    backend = Backend(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = BertConfig(
        num_hidden_layers=3, num_attention_heads=4, hidden_size=32, intermediate_size=48, vocab_size=len(words),
        max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng(), quiet():
        model = AutoModel.from_config(config)
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            noise = torch.randn(parameter.shape, generator=generator) * 0.1
            parameter.data.copy_(noise + 1 if name.endswith("LayerNorm.weight") else noise)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


GOOD, BAD = ("wonderful", "thank", "service"), ("torn", "late", "broke")
FILL = ("the", "parcel", "my", "account", "please", "again", "ok", "and", "of", "march")
Row = dict[str, Any]


def write(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _words(random_: random.Random, count: int) -> list[str]:
    return [random_.choice(FILL) for _ in range(count)]


def rows(task: str, count: int, seed: int = 0) -> list[Row]:
    """classify, several, regress or extract: the answer follows from a few words."""
    r = random.Random(f"{task}{seed}")
    found: list[Row] = []
    for index in range(count):
        words = _words(r, r.randint(2, 6))
        place = r.randint(0, len(words))
        if task == "classify":
            good = index % 2 == 0
            words.insert(place, r.choice(GOOD if good else BAD))
            found.append({"text": " ".join(words), "label": "good" if good else "bad"})
        elif task == "several":
            labels = [name for name, word in (("bad", "torn"), ("good", "thank")) if r.random() < 0.5]
            words += [word for name, word in (("bad", "torn"), ("good", "thank")) if name in labels]
            r.shuffle(words)
            found.append({"text": " ".join(words), "label": labels})
        elif task == "regress":
            share = r.randint(0, 4)
            words = ["thank"] * share + ["late"] * (4 - share) + words[:2]
            r.shuffle(words)
            found.append({"text": " ".join(words), "score": 100.0 + 5 * share})
        else:
            words.insert(place, "invoice")
            text = " ".join(words)
            start = text.index("invoice")
            found.append({"text": text, "spans": [{"start": start, "end": start + 7, "label": "doc"}]})
    return found


def samples(task: str, count: int, seed: int = 0) -> list[Sample]:
    def target(row: Row) -> Any:
        if task == "classify":
            return row["label"]
        if task == "several":
            return tuple(row["label"])
        if task == "regress":
            return (row["score"],)
        return tuple(Span(**span) for span in row["spans"])

    return [Sample(row["text"], None, target(row)) for row in rows(task, count, seed)]


LABELS = {
    "classify": ("bad", "good"),
    "several": ("bad", "good"),
    "regress": ("score",),
    "extract": ("doc",),
}


@dataclass
class Parts:
    """A model and what trains it, without a run."""

    model: TaskModel
    tokenizer: Tokenizer
    coder: TargetCoder
    table: TokenTable
    runner: StepRunner

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}


def parts(
    folder: Path, task: str = "classify", method: Any = "full", *, count: int = 12, stream: bool = True, **options: Any
) -> Parts:
    """Build everything below the run; `options` go into the recipe (freeze, head)."""
    recipe = Recipe.build({"data": "none", "method": method, **options})
    source, tokenizer = from_folder(folder, name=str(folder)), load_tokenizer(folder)
    plain = "classify" if task == "several" else task
    data = samples(task, count)
    coder = TargetCoder.fit(plain, LABELS[task], task == "several", data)
    table = encode_samples(data, tokenizer, coder, max_length=48, keep=True)
    pooling = recipe.head.pooling if recipe.head.pooling != "auto" else "stock"
    model = build(
        source, task=plain, labels=LABELS[task], several_labels=task == "several", pooling=pooling, dropout=0.0,
        encoder_dropout=0.0,
    )  # fmt: skip
    methods.apply(model, recipe.method, recipe.freeze)
    forward = Forward(model, tokenizer.pad_id, stream=stream)
    forward.train_used_words_only(table)
    runner = StepRunner(forward, make_task(coder, table, "none"), batch_size=8, max_tokens=4096)
    return Parts(model, tokenizer, coder, table, runner)


class Crash(BaseException):
    """Ends a run as a power cut would: nothing gets a chance to save."""


@dataclass
class TrainToy:
    """Trains on toy data in `folder`."""

    folder: Path
    base: Path
    events: list[Event] = field(default_factory=list)
    _names: Any = field(default_factory=itertools.count)

    def data(self, task: str = "classify", count: int = 24, seed: int = 0) -> Path:
        return write(self.folder / f"{task}-{count}-{seed}.jsonl", rows(task, count, seed))

    def recipe(self, task: str = "classify", **changes: Any) -> Recipe:
        """24 training and 12 validation rows, two epochs of three steps; `changes` by dotted key."""
        plain = "classify" if task == "several" else task
        recipe = Recipe.build({
            "model": str(self.base), "task": plain, "out": str(self.folder / "runs"),
            "data": {"train": str(self.data(task)), "validation": str(self.data(task, 12, 1))},
            "train": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3},
        })  # fmt: skip
        return recipe.replace(**changes)

    def train(
        self,
        recipe: Recipe,
        run: Path | None = None,
        *,
        resume: bool = False,
        preflight: bool = False,
        crash_after: int = 0,
        listener: Listener | None = None,
    ) -> Trained:
        folder = run or self.folder / f"run-{next(self._names)}"
        folder.mkdir(exist_ok=True)
        self.events = []

        def hear(event: Event) -> None:
            self.events.append(event)
            if listener is not None:
                listener(event)
            if crash_after and event.kind == "step" and event.data["step"] == crash_after:
                raise Crash

        return train(recipe, RunDir(folder), scorer_for=scorer_for, listener=hear, resume=resume, preflight=preflight)

    def messages(self) -> str:
        return "\n".join(event.message for event in self.events)


def losses(run: RunDir) -> list[float]:
    """The losses of the steps, in order of the file."""
    return [line["loss"] for line in run.metrics() if line["kind"] == "step"]


def state(trained: Trained) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainable_state(trained.model).items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Bit-equal."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def farthest(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """The largest difference of a weight; a key bias has no gradient but rounding noise, so it is left out."""
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first if not name.endswith("key.bias"))
