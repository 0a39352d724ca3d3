"""Our decoding loop against transformers' ``generate``: the same greedy tokens, how many per second.

``python -m benchmarks.generate`` takes under a minute. The model is a Llama of 30 M parameters with random
weights; requests have prompts of 20 to 120 tokens and answers of different lengths, as users' have. The peer
gets all of them in one padded batch with `max_new_tokens` of the longest, since it has one limit per batch;
only tokens that were asked for are counted. The second peer is given one request at a time.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from luthier.core.generation import Sampling
from luthier.models.generation import Decoder, Request

CONFIG: dict[str, Any] = {
    "vocab_size": 16_384, "hidden_size": 448, "intermediate_size": 1_216, "num_hidden_layers": 8,
    "num_attention_heads": 7, "num_key_value_heads": 7, "max_position_embeddings": 1024, "tie_word_embeddings": True,
}  # fmt: skip
NO_END = frozenset[int]()


class _Ids:
    """Shows ids, so that texts are compared token by token."""

    def decode(self, ids: Any, *, skip_special: bool = True) -> str:
        return "".join(f"<{index}>" for index in ids)


def requests(count: int, longest: int) -> list[Request]:
    """Prompts of 20 to 120 tokens, answers of a quarter of `longest` up to `longest` tokens."""
    draw = random.Random(0)
    found = []
    for index in range(count):
        ids = tuple(draw.randrange(CONFIG["vocab_size"]) for _ in range(draw.randint(20, 120)))
        tokens = longest if index == 0 else draw.randint(longest // 4, longest)
        found.append(Request(ids, Sampling(max_tokens=tokens), _Ids(), NO_END))  # type: ignore[arg-type]
    return found


def ours(model: Any, asked: list[Request]) -> list[str]:
    """Our answers."""
    return [answer.text for answer in Decoder(model, context=1024).generate(asked)]


def theirs(model: Any, asked: list[Request]) -> list[str]:
    """transformers, one padded batch."""
    width = max(len(request.ids) for request in asked)
    ids = torch.tensor([[0] * (width - len(request.ids)) + list(request.ids) for request in asked])
    mask = torch.tensor([[0] * (width - len(request.ids)) + [1] * len(request.ids) for request in asked])
    longest = max(request.sampling.max_tokens for request in asked)
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=longest, pad_token_id=0)
    rows = out[:, width:].tolist()
    return [_Ids().decode(row[: r.sampling.max_tokens]) for row, r in zip(rows, asked, strict=True)]


def one_by_one(model: Any, asked: list[Request]) -> list[str]:
    """transformers, each request alone with its own limit."""
    return [theirs(model, [request])[0] for request in asked]


def timed(work: Callable[[], list[str]], repeats: int) -> tuple[list[str], float]:
    """(answers, seconds of the fastest run)."""
    best, answers = float("inf"), []
    for _ in range(repeats):
        begin = time.perf_counter()
        answers = work()
        best = min(best, time.perf_counter() - begin)
    return answers, best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64, help="of the longest answer")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    logging.set_verbosity_error()
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, bos_token_id=None, eos_token_id=None)).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3)  # near-uniform logits would tie
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.0f} M parameters, {torch.get_num_threads()} thread(s)")
    print("| requests | tokens | ours, tokens/s | transformers batch | transformers one by one | same tokens |")
    print("|---|---|---|---|---|---|")
    ours(model, requests(2, 4))
    for count in (1, 16):
        asked = requests(count, args.tokens)
        tokens = sum(request.sampling.max_tokens for request in asked)
        mine, seconds = timed(lambda asked=asked: ours(model, asked), args.repeats)  # type: ignore[misc]
        peer, batch = timed(lambda asked=asked: theirs(model, asked), args.repeats)  # type: ignore[misc]
        single, alone = timed(lambda asked=asked: one_by_one(model, asked), 1)  # type: ignore[misc]
        same = f"{sum(a == b == c for a, b, c in zip(mine, peer, single, strict=True))}/{count}"
        print(
            f"| {count} | {tokens} | {tokens / seconds:.0f} | {tokens / batch:.0f} ({batch / seconds:.2f}x) "
            f"| {tokens / alone:.0f} ({alone / seconds:.2f}x) | {same} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
