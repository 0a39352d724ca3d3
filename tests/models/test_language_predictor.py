"""A tuned language model answers as it was saved, and measures what transformers measures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_causal import tiny_causal
from tiny_tuned import tiny_tuned
from torch.nn.functional import cross_entropy

import luthier
from luthier.core.conversation import Completion, Conversation, Message
from luthier.core.errors import LuthierError, ModelError, UsageError
from luthier.core.generation import Generator, Sampling
from luthier.core.predictor import Predictor
from luthier.data.samples import Sample
from luthier.data.templates import renderer_for
from luthier.models.language_predictor import LanguageModel

SHORT = Sampling(max_tokens=8)
METHODS: list[dict[str, Any]] = [
    {"kind": "lora", "rank": 4},
    {"kind": "prefix", "tokens": 3},
    {"kind": "adapter", "bottleneck": 4},
    {"kind": "full"},
]
TALK = Conversation(
    (
        Message("system", "Be short."),
        Message("user", "Where is my parcel?"),
        Message("assistant", "I am sorry."),
        Message("user", "thank you"),
        Message("assistant", "Wonderful service!"),
    )
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def model(base: Path) -> LanguageModel:
    return LanguageModel.load_base(str(base))


def continued(model: LanguageModel, ids: list[int], count: int) -> list[int]:
    """Greedy tokens by whole forward passes on an unpadded stream: no cache, no batch."""
    found: list[int] = []
    while len(found) < count and (not found or found[-1] not in model.renderer.stop_ids):
        tokens = torch.tensor([ids + found])
        with torch.no_grad():
            logits = model.model(tokens, torch.ones_like(tokens))
        found.append(int(logits[0, -1].argmax()))
    return found


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method["kind"]))
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_saved_model_answers_with_its_own_tokens(family: str, method: dict[str, Any], tmp_path: Path) -> None:
    base = tiny_causal(tmp_path / "base", family)
    loaded = luthier.load(tiny_tuned(base, tmp_path / "tuned", method))
    assert isinstance(loaded, LanguageModel)
    prompts = ["Where is my parcel?", "ok", TALK.question()]
    for prompt, answer in zip(prompts, loaded.generate(prompts, SHORT), strict=True):
        ids = continued(loaded, loaded.renderer.prompt(prompt), SHORT.max_tokens)
        assert answer.text == loaded.tokenizer.decode([i for i in ids if i not in loaded.renderer.stop_ids])
        assert answer.completion_tokens == len(ids)
    assert loaded.context == 256 - (3 if method["kind"] == "prefix" else 0)


def test_it_is_what_others_know_it_as(model: LanguageModel) -> None:
    assert isinstance(model, Generator)
    assert isinstance(model, Predictor)
    assert (model.task, tuple(model.labels)) == ("chat", ())


def test_all_ways_to_ask_are_the_same_question(model: LanguageModel) -> None:
    text = "Where is my parcel?"
    messages = [{"role": "user", "content": text}]
    asked = [text, Conversation((Message("user", text),)), messages]
    found = model.generate(asked, SHORT)
    assert found[0] == found[1] == found[2] == model.chat(messages, max_tokens=8)
    assert [item.output for item in model.predict(asked, sampling=SHORT)] == [found[0].text] * 3
    streamed = "".join(piece.text for piece in model.stream_pieces([text], SHORT))
    assert streamed == found[0].text


def test_rows_are_answered_in_order_and_read_ahead_a_little(model: LanguageModel) -> None:
    read = 0

    def prompts() -> Iterator[str]:
        nonlocal read
        for number in range(10**9):
            read += 1
            yield f"{'ok ' * (number % 3)}{number}"

    answers = model.stream(prompts(), sampling=Sampling(max_tokens=1))
    found = [next(answers).output for _ in range(70)]
    assert read <= 128
    single = [model.predict([text], sampling=Sampling(max_tokens=1))[0].output for text in ("0", "ok 1", "ok 67")]
    assert [found[0], found[1], found[67]] == single


def test_gaps_are_filled_and_completions_continued(base: Path) -> None:
    model = LanguageModel.load_base(str(base), task="complete")
    plain, completion = model.generate(["def add(", Completion("def add(", "left")], SHORT)
    assert plain == completion
    with pytest.raises(LuthierError) as caught:
        model.generate([Completion("def add(", "", "return")])
    assert caught.value.code == "no_fim_tokens"
    with pytest.raises(LuthierError) as caught:
        model.generate([TALK])
    assert caught.value.code == "not_a_text"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (("a", "b"), "not_a_prompt"),
        ([], "not_a_prompt"),
        ([{"role": "robot", "content": "x"}], "unknown_role"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "nothing_to_answer"),
    ],
)
def test_what_is_no_question_is_refused(model: LanguageModel, asked: Any, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        model.predict([asked])
    assert caught.value.code == code


def test_wrong_use_is_named(model: LanguageModel, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="list"):
        model.generate("text")
    with pytest.raises(UsageError, match="tmperature"):
        model.chat([{"role": "user", "content": "x"}], tmperature=1.0)
    with pytest.raises(UsageError) as caught:
        luthier.load(tiny_tuned(base, tmp_path / "tuned", {"kind": "lora"}), threshold=0.5)
    assert caught.value.param == "threshold"
    with pytest.raises(ModelError):
        luthier.load(tmp_path / "nothing")


def samples(task: str) -> list[Sample]:
    if task == "complete":
        pairs = [("def add(", "left)"), ("", "Wonderful service!"), ("Where is ", "my parcel? " * 40)]
        return [Sample(text=prompt, target=Completion(prompt, answer)) for prompt, answer in pairs]
    silent = Conversation((Message("user", "ok"), Message("assistant", "ok", weight=0.0)))
    return [Sample(text="", target=talk) for talk in (TALK, silent, TALK.before(3))]


@pytest.mark.parametrize("task", ["chat", "complete"])
def test_likelihood_is_the_loss_of_each_sample(base: Path, task: str) -> None:
    model = LanguageModel.load_base(str(base), task=task)
    model.model.train()
    found = list(model.likelihood(iter(samples(task))))
    assert model.model.training
    renderer = renderer_for(task, model.tokenizer)
    for sample, likelihood in zip(samples(task), found, strict=True):
        loss = weight = right = 0.0
        for row in renderer.render(sample):
            ids, weights = torch.tensor([row.ids[:256]]), torch.tensor(row.weights[1:256])
            with torch.no_grad():
                logits = model.model.backbone(ids).logits[0, :-1]
            loss += float((cross_entropy(logits, ids[0, 1:], reduction="none") * weights).sum())
            weight += float(weights.sum())
            right += float(((logits.argmax(-1) == ids[0, 1:]) & (weights > 0)).sum())
        assert likelihood.loss_sum == pytest.approx(loss, rel=1e-4)
        assert (likelihood.weight, likelihood.correct) == (weight, right)


def test_likelihood_reads_ahead_a_little(base: Path) -> None:
    model = LanguageModel.load_base(str(base), task="complete")
    read = 0

    def many() -> Iterator[Sample]:
        nonlocal read
        while True:
            read += 1
            yield Sample(text="ok", target=Completion("ok", "thank you"))

    first = next(model.likelihood(many()))
    assert first.weight > 0
    assert read <= 64
