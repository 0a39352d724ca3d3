"""One LoRA training step of a Llama-shaped decoder, ways of computing it side by side, as ratios.

`python -m benchmarks.causal_step` alternates the sides step by step in one process, on the same batches
(conversations of log-normal lengths, 40 to 600 tokens, grouped by length, 60 % prompt), weights and
optimizer. Sides: `stock` (transformers + PEFT, padded, full logits), `segments` (our unpadded stream
through the stock modules, our loss), `stream` (hand-derived blocks), `packed` (the same with frozen
weights packed for oneDNN where a measurement prefers it). Steps only: no start-up, no Trainer.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed import ALLOCATOR
from luthier.core.recipe import LoraMethod
from luthier.models import methods
from luthier.models.causal_attention import ATTENTION
from luthier.models.causal_families import CAUSAL_FAMILIES
from luthier.models.causal_layout import CausalLayout
from luthier.models.causal_model import CausalModel
from luthier.models.causal_stream import CausalStream
from luthier.models.linear_cross_entropy import linear_cross_entropy

SHAPES: dict[str, dict[str, int]] = {
    "31m": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4,
            "intermediate_size": 1408, "vocab_size": 16384},
    "135m": {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
             "intermediate_size": 1536, "vocab_size": 49152},
    "toy": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 128, "vocab_size": 512},
}  # fmt: skip
SIDES = ("stock", "segments", "stream", "packed")
Row = tuple[Tensor, int]
"""Token ids, and how many of them are the prompt."""


def batches(count: int, vocabulary: int, size: int = 8) -> list[list[Row]]:
    """`count` batches of `size` conversations of like length, in random order."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.empty(count * size).log_normal_(5.2, 0.6, generator=generator).clamp_(40, 600).int().tolist()
    rows = [(torch.randint(vocabulary, (n,), generator=generator), int(0.6 * n)) for n in sorted(lengths)]
    made = [rows[begin : begin + size] for begin in range(0, len(rows), size)]
    return [made[index] for index in torch.randperm(count, generator=generator).tolist()]


def decoder(shape: dict[str, int], attention: str) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**shape, tie_word_embeddings=True, max_position_embeddings=1024)  # type: ignore[arg-type]
    config._attn_implementation = attention
    return LlamaForCausalLM(config)


def stock_side(shape: dict[str, int]) -> tuple[torch.nn.Module, Callable[[list[Row]], Tensor]]:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(decoder(shape, "sdpa"), config)

    def loss(batch: list[Row]) -> Tensor:
        pad = torch.nn.utils.rnn.pad_sequence
        labels = [ids.masked_fill(torch.arange(len(ids)) < prompt, -100) for ids, prompt in batch]
        output = model(
            input_ids=pad([ids for ids, _ in batch], batch_first=True),
            attention_mask=pad([torch.ones_like(ids) for ids, _ in batch], batch_first=True),
            labels=pad(labels, batch_first=True, padding_value=-100),
        )
        result: Tensor = output.loss
        return result

    return model, loss


def our_side(shape: dict[str, int], side: str) -> tuple[torch.nn.Module, Callable[[list[Row]], Tensor]]:
    backbone = decoder(shape, ATTENTION)
    model = CausalModel(backbone, CAUSAL_FAMILIES["llama"], task="chat", seed=0, precision="fp32")
    methods.apply(model, LoraMethod(kind="lora", rank=16, alpha=32))
    stream = None if side == "segments" else CausalStream(model, prepack=side == "packed")
    if stream is not None and side == "packed":
        linears = {name: getattr(stream.layers[0], name).packed for name in ("qkv", "out", "gate_up", "down")}
        print("packed:", linears)

    def loss(batch: list[Row]) -> Tensor:
        ids = torch.cat([row[:-1] for row, _ in batch])
        targets = torch.cat([row[1:] for row, _ in batch])
        layout = CausalLayout.of([len(row) - 1 for row, _ in batch])
        pick = torch.cat([torch.arange(len(row) - 1) >= prompt - 1 for row, prompt in batch]).nonzero().view(-1)
        hidden = model.hidden(ids, layout)[pick] if stream is None else stream.hidden(ids, layout, pick)
        weights = torch.ones(len(pick))
        return linear_cross_entropy(hidden, model.output_weight, None, targets[pick], weights)[0] / len(pick)

    return model, loss


def ceiling() -> float:
    """GFLOP/s of a product of the model's shape, the best of a few."""
    a, b = torch.randn(2048, 512), torch.randn(512, 1408)
    seconds = []
    for _ in range(8):
        begin = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - begin)
    return 2 * 2048 * 512 * 1408 / min(seconds) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="31m")
    parser.add_argument("--sides", default="stock,stream", help=f"of {', '.join(SIDES)}; the first is compared with")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=50.0, help="stop after the step that passes this")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    work = batches(options.steps + 1, shape["vocab_size"])
    names: list[str] = options.sides.split(",")
    sides = {name: stock_side(shape) if name == "stock" else our_side(shape, name) for name in names}
    first = [p for p in sides[names[0]][0].parameters() if p.requires_grad]
    optimizers = {}
    for name, (model, _) in sides.items():
        trained = [p for p in model.parameters() if p.requires_grad]
        for parameter, same in zip(trained, first, strict=True):
            parameter.data.copy_(same.data)
        optimizers[name] = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
    print(f"{options.shape}, {torch.get_num_threads()} threads, torch {torch.__version__}, {ceiling():.0f} GFLOP/s")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.disable()
    begun = time.perf_counter()
    for step, batch in enumerate(work):
        figures = []
        for name in names:
            model, loss_of = sides[name]
            begin = time.perf_counter()
            loss = loss_of(batch)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1e9)
            optimizers[name].step()
            optimizers[name].zero_grad()
            took = time.perf_counter() - begin
            if step:  # the first one warms up
                seconds[name].append(took)
            figures.append(f"{name} {took:6.2f} s loss {loss.item():.6f} grad {norm.item():.5f}")
        print(f"step {step} {sum(len(ids) for ids, _ in batch):5d} tokens   " + "   ".join(figures), flush=True)
        if time.perf_counter() - begun > options.seconds:
            break
    for name in names[1:]:
        ratios = [a / b for a, b in zip(seconds[names[0]], seconds[name], strict=True)]
        print(f"{name} against {names[0]}: median {statistics.median(ratios):.2f}x "
              f"({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} steps)")  # fmt: skip


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **ALLOCATOR})
    main()
