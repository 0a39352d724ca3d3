"""Our decoding loop gives transformers' own greedy tokens, alone and in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_causal import CAUSAL_FAMILIES, tiny_config
from transformers import AutoModelForCausalLM

from luthier.core.errors import UsageError
from luthier.core.generation import Generation, Sampling
from luthier.models.generation import Decoder, Request
from luthier.models.quiet import quiet

CONTEXT = 64
LENGTHS = (5, 12, 1, 12, 9, 30, 5)
NEW = 10


class Numbers:
    """A tokenizer that shows every id, so that texts are equal where all ids are."""

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        return "".join(f"<{index}>" for index in ids)


def tiny(family: str, **overrides: Any) -> Any:
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(tiny_config(family, 330, **overrides))
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def prompts() -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(1)
    return [tuple(torch.randint(4, 330, (length,), generator=generator).tolist()) for length in LENGTHS]


def request(ids: tuple[int, ...], stop_ids: frozenset[int] = frozenset({3}), **sampling: Any) -> Request:
    return Request(ids, Sampling(**{"max_tokens": NEW, **sampling}), Numbers(), stop_ids)  # type: ignore[arg-type]


def theirs(model: Any, ids: tuple[int, ...], eos: int = 3) -> list[int]:
    tokens = torch.tensor([ids])
    out = model.generate(
        tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=NEW, eos_token_id=eos,
        pad_token_id=1,
    )  # fmt: skip
    return out[0, len(ids) :].tolist()


def text_of(ids: Sequence[int], eos: int = 3) -> str:
    return Numbers().decode([token for token in ids if token != eos])


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_greedy_tokens_are_those_of_transformers(family: str) -> None:
    model = tiny(family)
    asked = prompts()[:5]
    expected = [theirs(model, ids) for ids in asked]
    decoder = Decoder(model, context=CONTEXT, rows=3)  # fewer rows than requests: places change hands
    together = decoder.generate([request(ids) for ids in asked])
    (alone,) = decoder.generate([request(asked[0])])
    assert alone == together[0]
    for ids, answer in zip(expected, together, strict=True):
        assert answer.text == text_of(ids)
        assert answer.completion_tokens == len(ids)


def test_rows_that_end_early_leave_and_others_go_on() -> None:
    model = tiny("llama")
    stop = theirs(model, prompts()[1], eos=329)[2]  # an end token that some answers reach soon
    expected = [theirs(model, ids, eos=stop) for ids in prompts()]
    assert len({len(ids) for ids in expected}) > 1
    found = Decoder(model, context=CONTEXT, rows=3).generate([request(ids, frozenset({stop})) for ids in prompts()])
    for ids, answer in zip(expected, found, strict=True):
        assert answer.completion_tokens == len(ids)
        assert answer.finish_reason == ("stop" if ids[-1] == stop else "length")
        assert answer.text == text_of(ids, stop)


def test_a_small_cache_only_makes_others_wait() -> None:
    model = tiny("qwen2")
    requests = [request(ids) for ids in prompts()]
    free = Decoder(model, context=CONTEXT).generate(requests)
    assert Decoder(model, context=CONTEXT, cache_tokens=20).generate(requests) == free


def test_logprobs_are_the_models_own() -> None:
    model, ids = tiny("gemma"), prompts()[1]
    answer = Decoder(model, context=CONTEXT).generate(
        [request(ids, max_tokens=6, temperature=1.5, seed=3, logprobs=3)]
    )[0]
    drawn = [_id(item.token) for item in answer.logprobs]
    assert len(drawn) == 6
    tokens = torch.tensor([[*ids, *drawn]])
    with torch.no_grad():
        expected = model(tokens).logits.log_softmax(-1)[0, len(ids) - 1 : -1]
    for item, row, token in zip(answer.logprobs, expected, drawn, strict=True):
        assert item.logprob == pytest.approx(float(row[token]), abs=1e-4)
        best = row.topk(3)
        assert [value for _, value in item.top] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert [_id(token) for token, _ in item.top] == best.indices.tolist()


def _id(token: str) -> int:
    return int(token.strip("<>"))


def test_a_drawn_answer_does_not_depend_on_its_neighbours() -> None:
    decoder = Decoder(tiny("llama"), context=CONTEXT, rows=3)
    asked = request(prompts()[4], temperature=0.9, top_p=0.95, repetition_penalty=1.3, frequency_penalty=0.2, seed=11)
    (alone,) = decoder.generate([asked])
    others = [request(ids, temperature=1.2, seed=row) for row, ids in enumerate(prompts())]
    assert decoder.generate([*others[:4], asked, *others[4:]])[4] == alone
    (other,) = decoder.generate([replace(asked, sampling=replace(asked.sampling, seed=12))])
    assert other.text != alone.text


def test_pieces_are_the_answers() -> None:
    decoder = Decoder(tiny("llama"), context=CONTEXT, rows=3)
    requests = [request(ids, temperature=1.0, seed=row) for row, ids in enumerate(prompts())]
    texts, ended = [""] * len(requests), dict[int, Generation]()
    for piece, whole in decoder.stream(requests):
        assert piece.index not in ended
        assert (piece.finish_reason is None) == (whole is None)
        texts[piece.index] += piece.text
        if whole is not None:
            ended[piece.index] = whole
    assert [ended[row] for row in range(len(requests))] == decoder.generate(requests)
    assert texts == [ended[row].text for row in range(len(requests))]


def test_stop_texts_are_not_part_of_the_answer() -> None:
    decoder, ids = Decoder(tiny("llama"), context=CONTEXT), prompts()[0]
    (whole,) = decoder.generate([request(ids)])
    stop = whole.text[4:8]
    place = whole.text.index(stop)
    (cut,) = decoder.generate([request(ids, stop=(stop, "never"))])
    assert (cut.text, cut.finish_reason) == (whole.text[:place], "stop")
    assert cut.completion_tokens < whole.completion_tokens
    shown = "".join(piece.text for piece, _ in decoder.stream([request(ids, stop=(stop,))]))
    assert shown == cut.text


def test_the_context_ends_an_answer() -> None:
    decoder = Decoder(tiny("llama"), context=33)
    (answer,) = decoder.generate([request(prompts()[5], frozenset())])
    assert (answer.completion_tokens, answer.finish_reason) == (3, "length")
    assert (answer.prompt_tokens) == 30
    for length, code in ((33, "context_length_exceeded"), (0, "empty_prompt")):
        with pytest.raises(UsageError) as caught:
            decoder.generate([request((5,) * length)])
        assert caught.value.code == code


def test_a_model_in_training_is_left_as_it_was() -> None:
    model = tiny("llama", attention_dropout=0.5)
    model.train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    decoder = Decoder(model, context=CONTEXT)
    asked = [request(ids) for ids in prompts()]
    steps = decoder.stream(asked)
    next(steps)
    assert not any(module.training for module in model.modules())
    steps.close()  # type: ignore[attr-defined]
    assert [module.training for module in model.modules()] == modes
    assert decoder.generate(asked) == decoder.generate(asked)
    assert all(parameter.grad is None for parameter in model.parameters())
    model(torch.tensor([asked[0].ids])).logits.sum().backward()
