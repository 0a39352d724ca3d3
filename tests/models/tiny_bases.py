"""Tiny random bases of every family, with tokenizers trained here."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from luthier.models.quiet import quiet

FAMILIES = ("bert", "roberta", "distilbert", "deberta-v2", "modernbert", "mpnet", "electra")
TEXTS = [
    "The parcel came two days late and the box was torn.",
    "Wonderful service, thank you so much!",
    "I cannot log in to my account anymore",
    "Please send me the invoice of March.",
    "ok",
    "The engineer measured the unbelievable temperature again and again, until the thermometer broke.",
]
VOCABULARY = 120
SHAPE = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 48}


def _word_piece() -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [word.strip(".,!") for text in TEXTS for word in text.lower().split()]
    letters = sorted({letter for text in TEXTS for letter in text.lower() if letter != " "})
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *sorted(set(words) - set(letters))]
    # not trained: a trainer numbers pieces anew each time, and a model from the same seed would be another
    vocabulary = {piece: index for index, piece in enumerate(pieces[:VOCABULARY])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def _byte_level() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=330, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>",
        bos_token="<s>", eos_token="</s>", mask_token="<mask>",
    )  # fmt: skip


def _config(family: str, vocab: int) -> object:
    common = {**SHAPE, "vocab_size": vocab, "max_position_embeddings": 64}
    roberta_ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    if family == "bert":
        return BertConfig(**common)
    if family == "roberta":
        return RobertaConfig(**common, **roberta_ids, type_vocab_size=1)
    if family == "distilbert":
        return DistilBertConfig(
            dim=32, hidden_dim=48, n_layers=3, n_heads=4, vocab_size=vocab, max_position_embeddings=64
        )
    if family == "deberta-v2":
        return DebertaV2Config(
            **common, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16,
            norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False, type_vocab_size=0,
            conv_kernel_size=3, conv_act="gelu", pooler_hidden_size=32,
        )  # fmt: skip
    if family == "modernbert":
        return ModernBertConfig(
            **common, pad_token_id=1, bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2,
            local_attention=8, global_attn_every_n_layers=2,
        )  # fmt: skip
    if family == "mpnet":
        return MPNetConfig(**common)
    return ElectraConfig(**common, embedding_size=16)


def save_base(family: str, folder: Path) -> Path:
    """Write a random base of `family` into `folder`."""
    tokenizer = _byte_level() if family in ("roberta", "modernbert") else _word_piece()
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(3)
        model = AutoModel.from_config(_config(family, len(tokenizer)))
        for parameter in model.parameters():  # transformers starts all norms and biases alike
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
