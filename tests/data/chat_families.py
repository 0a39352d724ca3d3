"""Small tokenizers of the families of chat models, trained here, with each family's special tokens, splitting
pattern and oddities; their templates are in chat_templates/."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from luthier.core.conversation import Conversation, Message
from luthier.data.samples import Sample
from luthier.models.chat_tokenizer import HuggingChatTokenizer

TEXTS = [
    "You are a helpful assistant. Where is my parcel?  It came\n\ntwo days late\n and the box was torn.",
    'system user assistant tool model {"name": "weather", "arguments": {"city": "Köln", "days": 3}}',
    "def add(left, right):\n    return left + right\n\n\nprint(add(1, 2))  # 3\n",
    "Ünïcödé 日本語 text 🙂 and the engineer measured the temperature again and again.",
] * 4
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True)
class Family:
    """`end` is what ends an assistant's turn; `special` are all special tokens, `plain` added tokens that are not."""

    template: str
    kind: str
    end: str
    special: tuple[str, ...]
    eos: str
    bos: str | None = None
    plain: tuple[str, ...] = ()
    rstrip: tuple[str, ...] = ()
    system: bool = True
    tools: bool = False
    strips: bool = False
    lead: str = ""
    adds_bos: bool = field(default=False)


_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
)
_GEMMA = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
_MISTRAL = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
)  # fmt: skip
_PHI = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
FAMILIES: dict[str, Family] = {
    "llama3": Family(
        "llama3", "llama3", "<|eot_id|>", _LLAMA, "<|eot_id|>", "<|begin_of_text|>", strips=True, adds_bos=True
    ),
    "llama31": Family(
        "llama31",
        "llama3",
        "<|eot_id|>",
        _LLAMA,
        "<|eot_id|>",
        "<|begin_of_text|>",
        strips=True,
        adds_bos=True,
        tools=True,
    ),
    "qwen25": Family(
        "qwen25", "qwen", "<|im_end|>", _CHATML, "<|im_end|>", plain=("<tool_call>", "</tool_call>"), tools=True
    ),
    "qwen3": Family(
        "qwen3",
        "qwen",
        "<|im_end|>",
        _CHATML,
        "<|im_end|>",
        tools=True,
        plain=("<tool_call>", "</tool_call>", "<think>", "</think>"),
    ),
    "gemma2": Family(
        "gemma2", "gemma", "<end_of_turn>", _GEMMA, "<eos>", "<bos>", system=False, strips=True, adds_bos=True
    ),
    "gemma3": Family("gemma3", "gemma", "<end_of_turn>", _GEMMA, "<eos>", "<bos>", strips=True, adds_bos=True),
    "mistral03": Family(
        "mistral03", "llama2", "</s>", _MISTRAL, "</s>", "<s>", strips=True, lead=" ", adds_bos=True, tools=True
    ),
    "mistral_small": Family(
        "mistral_small",
        "llama3",
        "</s>",
        (*_MISTRAL[:5], "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        "</s>",
        "<s>",
        adds_bos=True,
    ),
    "phi3": Family(
        "phi3", "llama2", "<|end|>", ("<unk>", "<s>", *_PHI), "<|endoftext|>", "<s>", rstrip=_PHI[1:], adds_bos=True
    ),
    "phi4": Family("phi4", "llama3", "<|im_end|>", (*_CHATML, "<|im_sep|>"), "<|im_end|>", "<|endoftext|>"),
    "phi4mini": Family("phi4mini", "llama3", "<|end|>", _PHI, "<|endoftext|>", "<|endoftext|>"),
    "smollm": Family("smollm", "gpt2", "<|im_end|>", _CHATML, "<|im_end|>"),
    "smollm2": Family("smollm2", "gpt2", "<|im_end|>", _CHATML, "<|im_end|>"),
}
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    },
)


def template(name: str) -> str:
    """A family's template, to the byte."""
    return (Path(__file__).parent / "chat_templates" / f"{name}.jinja").read_bytes().decode("utf-8")


@cache
def hugging(name: str) -> PreTrainedTokenizerFast:
    """A family's tokenizer as transformers has it."""
    family = FAMILIES[name]
    backend = byte_backend(family.kind)
    backend.add_special_tokens(
        [AddedToken(t, special=True, normalized=False, rstrip=t in family.rstrip) for t in family.special]
    )
    backend.add_tokens([AddedToken(t, normalized=False) for t in family.plain])
    steps: list[Any] = []
    if family.kind == "llama3":
        steps.append(processors.ByteLevel(trim_offsets=True))
    if family.adds_bos:
        assert family.bos is not None
        pair = [(family.bos, backend.token_to_id(family.bos))]
        steps.append(processors.TemplateProcessing(single=f"{family.bos} $A", special_tokens=pair))
    if steps:
        backend.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=family.bos, eos_token=family.eos, chat_template=template(family.template)
    )


@cache
def chat_tokenizer(name: str) -> HuggingChatTokenizer:
    """The same behind `ChatTokenizer`."""
    return HuggingChatTokenizer(hugging(name), config(2048))


def config(positions: int) -> Any:
    """What a tokenizer reads of a model's configuration."""
    return SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=positions))


def byte_backend(kind: str) -> Tokenizer:
    """A small BPE that splits like this kind, without special tokens."""
    if kind in ("gemma", "llama2"):
        return _sentence_piece(kind)
    backend = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "gpt2")
    if kind == "gpt2":
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    else:
        pattern = Regex(_LLAMA3 if kind == "llama3" else _QWEN)
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, "isolated"), byte_level])
    if kind == "qwen":
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    return backend


def _sentence_piece(kind: str) -> Tokenizer:
    """BPE with byte fallback, blanks as ▁, and for Llama 2's kind one of them before each text."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=220, show_progress=False))
    trained = json.loads(backend.to_str())["model"]
    vocabulary = dict(trained["vocab"])
    for token in ("<unk>", *(f"<0x{byte:02X}>" for byte in range(256))):
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(pair) for pair in trained["merges"]]
    backend = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    prepend = [normalizers.Prepend("▁")] if kind == "llama2" else []
    backend.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    if kind == "gemma":
        backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return backend


_CONTENTS = (
    "Where is my parcel?", "ok", "", " leading and trailing ", "\n\nlines at both borders\n", "two\n\nparagraphs",
    "Ünïcödé cafe\u0301", "日本語のテキスト", "🙂👩‍👩‍👧 emoji", "a  b   c\td", "\r\nwindows\r\n", "12345 67,89",
    '{"a": [1, 2]}',
    "    indented = True\n", "<b>html & 'quotes' \"too\"</b>", "x" * 50, "\u200bzero\u00a0width",
)  # fmt: skip


def conversation(generator: random.Random, family: Family, *, tools: bool = True) -> Conversation:
    """One to four questions with answers, nasty at the borders; sometimes a system turn, tool calls, weights of 0."""
    messages = []
    if family.system and generator.random() < 0.5:
        messages.append(Message("system", generator.choice(_CONTENTS)))
    with_tools = tools and family.tools and generator.random() < 0.5
    for _ in range(generator.randint(1, 4)):
        messages.append(Message("user", generator.choice(_CONTENTS)))
        if with_tools and generator.random() < 0.6:
            place = json.dumps(
                {"city": generator.choice(_CONTENTS), "days": generator.randint(1, 9)}, ensure_ascii=False
            )
            call = {"id": "call12345", "type": "function", "function": {"name": "weather", "arguments": place}}
            messages.append(Message("assistant", "", tool_calls=(call,)))
            messages.append(Message("tool", generator.choice(_CONTENTS) or "none", tool_call_id="call12345"))
        messages.append(
            Message("assistant", generator.choice(_CONTENTS), weight=generator.choice((1.0, 1.0, 1.0, 0.0)))
        )
    return Conversation(tuple(messages), TOOLS if with_tools else ())


def as_transformers_wants(found: Conversation) -> list[dict[str, Any]]:
    """Messages as their documentation asks for them: arguments as objects."""
    messages = []
    for message in found.messages:
        values: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            calls = [
                {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
                for call in message.tool_calls
            ]
            values["tool_calls"] = calls
        if message.tool_call_id:
            values["tool_call_id"] = message.tool_call_id
        messages.append(values)
    return messages


def sample(found: Conversation, line: int = 1) -> Sample:
    """A row of a file."""
    return Sample(found.question().to_text(), target=found, line=line, source="chat.jsonl")
