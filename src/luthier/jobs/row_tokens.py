"""One row as a base model will see it, token by token: ``python -m luthier.jobs.row_tokens PARENT``.

A process that stays: each line of stdin is a request, each line of stdout its answer, until stdin ends. Tokenizers are
kept between requests, since loading one takes far longer than a row.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from luthier.core.errors import LuthierError
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.columns import Columns, check_mapping, recognise_task, resolve
from luthier.data.formats import Row
from luthier.data.language_columns import recognise_language, resolve_language
from luthier.data.rows import row_to_sample
from luthier.data.samples import Finding, Sample, Span
from luthier.jobs.children import begin_checking
from luthier.jobs.worker_wire import from_line, to_line

MOST_TOKENS = 8192
"""That are told of one row."""
_MEMORY_BYTES = 16 * 2**30


def tokens_of(request: dict[str, Any]) -> dict[str, Any]:
    """The tokens of a row.

    Args:
        request: `values`, `line`, `columns` (names of the data set's columns), `task` ("" or auto: what the row shows),
            `model` (a base's place; None: the default of the task), `max_length`.

    Returns:
        `task`, `total` and `learned` (counts of tokens), `max_length`, `cut`, `tokens` [{id, text, weight, special,
        tag}]; or `error` {code, message, param}.
    """
    try:
        columns, task = _understood(request)
        sample = row_to_sample(Row(request["values"], request["line"], ""), columns, task)
        if isinstance(sample, Finding):
            message = f"{sample.message} {sample.remedy}".strip()
            return {"error": {"code": sample.code, "message": message, "param": "row"}}
        told = _rendered if task in LANGUAGE_TASKS else _encoded
        return {"task": task, **told(sample, task, request.get("model"), request.get("max_length"))}
    except LuthierError as error:
        return {"error": error.to_dict()}


def _understood(request: dict[str, Any]) -> tuple[Columns, str]:
    names, values, task = request["columns"], [request["values"]], request.get("task") or "auto"
    mapping = check_mapping({})
    if task == "auto":
        task = recognise_language(names, mapping, values, where="the row") or recognise_task(
            names, mapping, values, where="the row", require_target=True
        )
    settle = resolve_language if task in LANGUAGE_TASKS else resolve
    return settle(names, task, mapping, group=None, where="the row", require_target=True), task


@functools.lru_cache(maxsize=4)
def _renderer(task: str, model: str) -> Any:
    from luthier.data.templates.renderer import renderer_for
    from luthier.models.catalogue import locate
    from luthier.models.chat_tokenizer import load_chat_tokenizer

    return renderer_for(task, load_chat_tokenizer(locate(model).path))


@functools.lru_cache(maxsize=4)
def _encoder(model: str) -> Any:
    from luthier.models.catalogue import locate
    from luthier.models.tokenizer import load_tokenizer

    return load_tokenizer(locate(model).path)


def _rendered(sample: Sample, task: str, model: str | None, max_length: int | None) -> dict[str, Any]:
    """Of a conversation or a completion: weights above 0 are learned."""
    renderer = _renderer(task, model or "luthier-nano")
    tokenizer = renderer.tokenizer
    found: list[dict[str, Any]] = []
    total = learned = 0
    for row in renderer.render(sample):
        starts = [start for start, _ in row.offsets]
        total, learned = total + len(row.ids), learned + row.trained_tokens
        ends = [*starts[1:], len(row.text)]
        for index, weight, start, end in zip(row.ids, row.weights, starts, ends, strict=True):
            special = bool(tokenizer.decode([index], skip_special=False)) and not tokenizer.decode(
                [index], skip_special=True
            )
            text = row.text[start:end]
            found.append({"id": int(index), "text": text, "weight": float(weight), "special": special, "tag": None})
            if len(found) == MOST_TOKENS:
                break
    limit = min(max_length or tokenizer.max_length, tokenizer.max_length)
    return {
        "total": total, "learned": learned, "max_length": limit, "cut": total > limit, "tokens": found[:MOST_TOKENS],
    }  # fmt: skip


def _encoded(sample: Sample, task: str, model: str | None, max_length: int | None) -> dict[str, Any]:
    """Of a text that is answered with numbers: nothing of it is learned, all of it is read."""
    encoder = _encoder(model or "minilm")
    limit = min(max_length or encoder.max_length, encoder.max_length)
    [encoded] = encoder.encode([sample.input], max_length=limit)
    texts = encoder.tokens(encoded.ids)
    tags: list[str | None] = [None] * len(texts)
    if task == "extract":
        from luthier.data.tags import bio_labels, encode_spans

        target = sample.target if isinstance(sample.target, tuple) else ()
        spans = [item for item in target if isinstance(item, Span)]
        labels = sorted({span.label for span in spans})
        names = bio_labels(labels)
        tags = [names[tag] for tag in encode_spans(spans, encoded.offsets, labels)[0]]
    found = [
        {"id": int(index), "text": text, "weight": 0.0, "special": start == end and text[:1] in "[<", "tag": tag}
        for index, text, (start, end), tag in zip(encoded.ids, texts, encoded.offsets, tags, strict=True)
    ]
    return {
        "total": encoded.full_length, "learned": 0, "max_length": limit,
        "cut": encoded.full_length > len(encoded.ids), "tokens": found[:MOST_TOKENS],
    }  # fmt: skip


def main(argv: list[str]) -> int:
    """Answer until nobody asks any more."""
    line = begin_checking(int(argv[0]), _MEMORY_BYTES)
    while line:
        sys.stdout.buffer.write(to_line(tokens_of(from_line(line))))
        sys.stdout.buffer.flush()
        line = sys.stdin.buffer.readline()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
