"""What the server and the inference engine say to each other: JSON lines over a Unix socket.

The server sends requests, each with an id of its own; many are under way at once. The engine answers each with
replies that carry the id, the last of which is `end` or `error`. Both sides read lines of at most `MAX_LINE` bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

MAX_LINE = 32 * 2**20
"""Bytes of the longest line; a longer one ends the connection."""

MAX_SOCKET_PATH = 100
"""Bytes of a Unix socket's path; the kernel takes no more than 107."""

Operation = Literal["generate", "embed", "predict", "load", "unload", "status", "cancel"]
Happening = Literal["started", "piece", "answer", "embedding", "prediction", "status", "end", "error"]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model answers.

    Attributes:
        name: as the client calls it (``luthier-nano``, ``ft:...``).
        base: catalogue name or local folder of the base.
        folder: the tuned model's folder (a run's ``model/``), unique per weights; None = the base itself. Where a name
            comes with another folder, a better model has taken its place, and the one before leaves.
    """

    name: str
    base: str
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the server tells the engine when it starts it.

    Attributes:
        threads: of one product of matrices; 0 = a thread for each core.
        memory_bytes: for weights; what was not used for longest leaves first. 0 = half of the machine's.
        idle_seconds: a model that nobody asked for so long leaves.
        rows: answers that one base writes at the same time; others wait.
        cache_tokens: tokens of all of them together.
        waiting: requests that may be under way; further ones are refused with kind ``busy``.
        device: auto, cpu or cuda.
        precision: fp32 or bf16.
    """

    threads: int = 0
    memory_bytes: int = 0
    idle_seconds: float = 3600.0
    rows: int = 16
    cache_tokens: int = 1 << 16
    waiting: int = 1024
    device: str = "auto"
    precision: str = "fp32"

    def to_text(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> EngineOptions:
        """The inverse of `to_text`."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One request. `body` by operation:

    - generate: ``messages`` (OpenAI's list, with ``tools``, ``tool_choice``) or ``prompt`` (with ``suffix``), ``n``,
      ``sampling`` (fields of `core.generation.Sampling`; choice i of n is drawn with seed + i). Where an answer must be
      a call, ``sampling.json_schema`` says so, and the text is not searched for calls. Replies: started
      {prompt_tokens}, piece {index, text, logprobs?} ..., answer {index, text, finish_reason, completion_tokens,
      tool_calls?, logprobs?} for each of n, end. logprobs are lists of {token, logprob, top: [[token, logprob], ...]}.
    - embed: ``texts``. Replies: embedding {index, values, tokens} ..., end.
    - predict: ``texts`` (a text or a pair each), ``threshold``. Replies: prediction {index, ...} ..., end.
    - load, unload: of `model`. Reply: end {seconds?, canary?}; canary is passed, or none where none was recorded. What
      is in use is unloaded when its last request has ended.
    - status: no body. Reply: status {models: [{name, base, folder, idle_seconds, bytes, active, canary}], active,
      waiting, loading, requests, bytes, memory_bytes}, end.
    - cancel: ``target`` (the id of a request); no reply of its own.
    """

    id: str
    op: Operation
    model: ModelRef | None = None
    project: str = ""
    body: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """The request as one line."""
        return _line(asdict(self))

    @classmethod
    def from_line(cls, line: bytes) -> EngineRequest:
        """Read a line of `to_line`; ValueError for anything else."""
        value = json.loads(line)
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            raise ValueError("no request")
        model = value.get("model")
        return cls(value["id"], value["op"], ModelRef(**model) if model else None, value.get("project", ""),
                   value.get("body") or {})  # fmt: skip


@dataclass(frozen=True, slots=True)
class EngineReply:
    """One reply; of an error `data` is {code, message, param, kind}, kind being ``user`` (the request cannot be
    answered), ``busy`` (try again) or ``internal``."""

    id: str
    event: Happening
    data: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """The reply as one line."""
        return _line(asdict(self))

    @classmethod
    def from_line(cls, line: bytes) -> EngineReply:
        """Read a line of `to_line`; ValueError for anything else."""
        value = json.loads(line)
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            raise ValueError("no reply")
        return cls(value["id"], value["event"], value.get("data") or {})


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"
