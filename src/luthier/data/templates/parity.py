"""Gate G4: what stands before each learned answer in training is what the model is given in serving."""

from __future__ import annotations

from collections.abc import Iterable

from luthier.data.samples import Sample
from luthier.data.templates.rendered import Renderer

_AROUND = 4


def prefix_parity(renderer: Renderer, samples: Iterable[Sample]) -> list[str]:
    """Differences between training and serving on these rows, each a sentence with its place; none is right.

    Compared are, for every learned answer, the ids before it in training and those of its question in
    serving. Also found: two beginning-of-text tokens, one after the other (ollama#6823).
    """
    tokenizer = renderer.tokenizer
    bos = tokenizer.token_id(tokenizer.special_tokens.get("bos_token", ""))
    found = []
    for sample in samples:
        for row in renderer.render(sample):
            if bos is not None and row.ids[:2] == [bos, bos]:
                found.append(f"{sample.place}: the text begins with two {tokenizer.tokens([bos])[0]}.")
            for turn in row.turns:
                question = renderer.question(sample, turn.turn)
                if question is None:
                    continue
                served = renderer.prompt(question)
                trained = row.ids[: len(served)]
                if served != trained:
                    pairs = enumerate(zip(served, trained, strict=False))
                    at = next((i for i, (one, two) in pairs if one != two), min(len(served), len(trained)))
                    near = slice(max(0, at - _AROUND), at + _AROUND)
                    found.append(
                        f"{sample.place}: before answer {turn.turn}, token {at}: in training "
                        f"{tokenizer.tokens(row.ids[near])}, in serving {tokenizer.tokens(served[near])}."
                    )
    return found
