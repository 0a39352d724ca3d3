"""What a run has to do: counts of rows, tokens, steps and parameters, and the shape of its base. No data in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of tokens. `squares` is the sum of the squared lengths (attention); `learned` are the places at which a
    model that writes is judged."""

    rows: int
    tokens: int
    squares: int
    longest: int = 0
    learned: int = 0

    @classmethod
    def of(cls, lengths: Iterable[int], learned_share: float = 0.0) -> Self:
        """From tokens per row."""
        found = [int(length) for length in lengths]
        tokens = sum(found)
        squares = sum(length * length for length in found)
        return cls(len(found), tokens, squares, max(found, default=0), round(learned_share * tokens))

    def part(self, rows: int) -> Rows:
        """`rows` rows like these."""
        share = rows / max(1, self.rows)
        return Rows(
            rows, round(self.tokens * share), round(self.squares * share), self.longest, round(self.learned * share)
        )


@dataclass(frozen=True, slots=True)
class Base:
    """The shape of a transformer, as its config.json tells it. `gated`: three matrices in a feed-forward layer."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    positions: int
    gated: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """From config.json, in the names of BERT, RoBERTa, DistilBERT, Llama and their kin; what is missing is
        taken from what it usually is."""
        inner = config.get("text_config")
        values = inner if isinstance(inner, Mapping) else config

        def first(names: tuple[str, ...], default: int) -> int:
            found = (values.get(name) for name in names)
            return int(next((value for value in found if isinstance(value, int) and value > 0), default))

        hidden = first(("hidden_size", "d_model", "n_embd", "dim"), 768)
        heads = first(("num_attention_heads", "n_head", "n_heads", "num_heads"), max(1, hidden // 64))
        activation = str(values.get("hidden_act") or values.get("hidden_activation") or "")
        return cls(
            layers=first(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 12),
            hidden=hidden,
            intermediate=first(("intermediate_size", "n_inner", "hidden_dim", "d_ff"), 4 * hidden),
            heads=heads,
            kv_heads=first(("num_key_value_heads",), heads),
            vocabulary=first(("vocab_size",), 32_000),
            positions=first(("max_position_embeddings", "n_positions"), 512),
            gated=activation in ("silu", "swish", "swiglu", "geglu") or "num_key_value_heads" in values,
        )

    @property
    def layer_parameters(self) -> int:
        """Weights of the matrices of one layer."""
        attention = 2 * self.hidden * self.hidden * (1 + self.kv_heads / self.heads)
        return round(attention + (3 if self.gated else 2) * self.hidden * self.intermediate)

    @property
    def parameters(self) -> int:
        """All weights, nearly: words, positions of an encoder, layers."""
        positions = 0 if self.gated else self.positions
        return self.layers * self.layer_parameters + (self.vocabulary + positions) * self.hidden

    def forward_flops(self, rows: Rows, first: int = 0) -> float:
        """Floating-point operations of one pass over `rows` through the layers from `first` on (2 per weight and
        token, Kaplan et al. 2020; attention: 4 per pair of tokens and dimension), and the loss of one that writes."""
        layers = max(0, self.layers - max(0, first))
        body = layers * (2.0 * self.layer_parameters * rows.tokens + 4.0 * self.hidden * rows.squares)
        return body + 2.0 * self.hidden * self.vocabulary * rows.learned


TRAINS_WEIGHTS = ("full",)


@dataclass(frozen=True, slots=True)
class Workload:
    """One run.

    Attributes:
        train, validation: what is learned, and what is judged after each epoch (None: nothing).
        held_out_rows: rows of the proof. outputs: classes, numbers or tags; 0 for a model that writes.
        boundary: bottom layers below which nothing trains; -1: the embeddings train.
        cached: whether what these layers give is computed once and read from disk afterwards.
        trainable, total: parameters. stepped: those that the optimizer moves (of the words only those in the data).
        saved_share: of the tokens of training that common beginnings make unnecessary, as far as is known.
        proof: the held-out rows, where they were counted.
    """

    task: str
    method: str
    train: Rows
    validation: Rows | None
    held_out_rows: int
    outputs: int
    rows_per_step: int
    steps_per_epoch: int
    batches_per_epoch: int
    biggest_batch_tokens: int
    epochs: int
    patience: int
    boundary: int
    cached: bool
    trainable: int
    stepped: int
    total: int
    saved_share: float = 0.0
    proof: Rows | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """From JSON; keys that this version does not know are passed over."""
        known = {field.name for field in fields(cls)}
        plain = {key: value for key, value in values.items() if key in known}
        for name in ("train", "validation", "proof"):
            if isinstance(plain.get(name), Mapping):
                plain[name] = Rows(**{f.name: plain[name][f.name] for f in fields(Rows) if f.name in plain[name]})
        return cls(**plain)

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    @property
    def writes(self) -> bool:
        """Whether the model writes (chat, complete)."""
        return self.task in ("chat", "complete")

    @property
    def steps(self) -> int:
        """Optimizer steps of all epochs."""
        return self.steps_per_epoch * self.epochs

    @property
    def most_early_epochs(self) -> int:
        """The fewest epochs after which patience can end the run; all of them where it cannot."""
        return min(self.epochs, 1 + self.patience) if self.patience and self.validation is not None else self.epochs

    def held_out(self) -> Rows:
        """The rows of the proof; where they were not counted, they are thought to be as long as the others."""
        if self.proof is not None:
            return self.proof
        like = self.validation if self.validation is not None and self.validation.rows else self.train
        return like.part(self.held_out_rows)

    def epoch_flops(self, base: Base) -> float:
        """Of one epoch's forward and backward passes."""
        start = max(0, self.boundary)
        shrunk = self.train if not self.saved_share else _scaled(self.train, 1 - self.saved_share)
        if start >= base.layers and self.cached:
            return 6.0 * base.hidden * max(1, self.outputs) * shrunk.rows
        forward = base.forward_flops(shrunk, start if self.cached else 0)
        backward = base.forward_flops(shrunk, start) * (2.0 if self.method in TRAINS_WEIGHTS else 1.15)
        return forward + backward


def _scaled(rows: Rows, share: float) -> Rows:
    return Rows(rows.rows, round(rows.tokens * share), round(rows.squares * share), rows.longest, rows.learned)
