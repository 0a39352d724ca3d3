"""Arms that ask a model in words: prompts, sources, and both together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from luthier.approaches.answering import Approach
from luthier.approaches.assistant import Assistant
from luthier.approaches.documents import CHUNKS, passages_of
from luthier.approaches.index import Index, words_of
from luthier.approaches.nearest import Nearest
from luthier.approaches.prompted import Prompted, Sources
from luthier.approaches.questions import Asking, instructions
from luthier.core.predictor import Prediction
from luthier.data.samples import Sample
from luthier.deciding.built import Built, Change, best_tuned
from luthier.deciding.workshop import Workshop
from luthier.evaluate.generation.questions import prompt_of

SHOTS = (4, 8)
PASSAGES = (1, 2, 4)
_NEAR_BEST = 0.95


def _prompted(shop: Workshop, asking: Asking, choice: str = "", count: int = 0, **more: Any) -> Prompted:
    choose = shop.chooser(choice, count, shop.rows.train, shop.row_index) if choice else None
    return Prompted(shop.chat_model, asking, choose=choose, max_tokens=shop.max_tokens, **more)


def zero_shot(shop: Workshop) -> Built:
    asking = shop.asking
    if not asking.instruction and shop.writes:
        return Built(_prompted(shop, asking), f"{shop.chat_model.name}, the question alone")
    return Built(_prompted(shop, asking), f"{shop.chat_model.name}: {asking.instruction[:80]}")


def few_shot(shop: Workshop) -> Built:
    choice, count, approach = _best_examples(shop, shop.asking)

    def change(altered: dict[int, Sample]) -> Approach:
        index, rows = shop.changed_index(altered)
        choose = shop.chooser(choice, count, rows, index)
        return Prompted(shop.chat_model, shop.asking, choose=choose, max_tokens=shop.max_tokens)

    return Built(approach, f"{shop.chat_model.name}, {count} {choice} examples", change)


def _best_examples(shop: Workshop, asking: Asking) -> tuple[str, int, Approach]:
    settings = [
        (choice, count)
        for choice in ("similar", "random", "diverse")
        for count in SHOTS
        if count <= len(shop.rows.train)
    ] or [("random", len(shop.rows.train))]
    candidates = [(f"{choice} {count}", _prompted(shop, asking, choice, count)) for choice, count in settings]
    name, approach = shop.best(candidates)
    choice, count = name.split(" ")
    return choice, int(count), approach


def instructed(shop: Workshop) -> Built:
    """The best of our instructions, and of those that a hosted model writes itself after seeing examples
    (Zhou et al. 2023, "Large language models are human-level prompt engineers")."""
    asking = _best_instruction(shop)
    choice, count, approach = _best_examples(shop, asking)

    def change(altered: dict[int, Sample]) -> Approach:
        index, rows = shop.changed_index(altered)
        choose = shop.chooser(choice, count, rows, index)
        return Prompted(shop.chat_model, asking, choose=choose, max_tokens=shop.max_tokens)

    shown = asking.instruction[:80] or "no instruction"
    return Built(approach, f"{shop.chat_model.name}: {shown!r}, {count} {choice} examples", change)


def _best_instruction(shop: Workshop) -> Asking:
    texts = instructions(shop.rows.form)
    if not shop.chat_model.local:
        texts += _proposed(shop)
    askings = {text: Asking(shop.rows.form, text) for text in dict.fromkeys(texts)}
    name, _ = shop.best([(text, _prompted(shop, asking)) for text, asking in askings.items()])
    return askings[name]


def _proposed(shop: Workshop, count: int = 3) -> list[str]:
    from luthier.approaches.examples import random_rows
    from luthier.core.conversation import Conversation, Message
    from luthier.core.generation import Sampling

    found = []
    for number in range(count):
        rows = random_rows(shop.rows.train, 6, shop.seed + number)
        shown = "\n\n".join(f"Input: {shop.asking.question(row)}\nOutput: {shop.asking.answer(row)}" for row in rows)
        wanted = (
            "Somebody gave a colleague an instruction, and the colleague turned each input into its output:\n\n"
            f"{shown}\n\nWrite that instruction, in two to four sentences, for inputs that are not among these. Write "
            "only the instruction."
        )
        conversation = Conversation((Message("user", wanted),))
        (answer,) = shop.chat_model.generate([conversation], Sampling(max_tokens=300, temperature=0.7, seed=number))
        labels = ", ".join(shop.rows.form.labels)
        text = answer.text.strip()
        if text:
            found.append(text if not labels or labels in text else f"{text}\nThe labels: {labels}.")
    return found


def _document_sources(shop: Workshop) -> tuple[Sources, str]:
    """Passage length, search and number of passages by how many of the words of the validation rows' answers are found:
    nothing is asked for that. The fewest passages win that come near the best."""
    rows = shop.choosing.samples
    questions = [shop.asking.question(row) for row in rows]
    wanted = [set(words_of(shop.asking.answer(row))) for row in rows]
    found: list[tuple[float, int, Sources, str]] = []
    for longest in CHUNKS:
        index = Index(passages_of(shop.documents, longest), shop.embed if shop.embeds else None)
        for how in index.searches:
            ranked = index.search(questions, max(PASSAGES), how)
            for count in PASSAGES:
                shares = []
                for words, passages in zip(wanted, ranked, strict=True):
                    told = set(words_of(" ".join(passage.text for passage, _ in passages[:count])))
                    shares.append(len(words & told) / max(1, len(words)))
                told_as = f"{count} passages of {longest} characters by {how}"
                found.append((float(np.mean(shares)), count * longest, Sources(index, count, how), told_as))
    most = max(share for share, *_ in found)
    _, _, sources, name = min((one for one in found if one[0] >= _NEAR_BEST * most), key=lambda one: (one[1], -one[0]))
    return sources, name


def _row_sources(shop: Workshop, index: Index) -> Sources:
    return Sources(index, 3, index.searches[-1])


def _sources(shop: Workshop) -> tuple[Sources, str]:
    if shop.documents:
        return _document_sources(shop)
    return _row_sources(shop, shop.row_index), f"3 of {len(shop.rows.train):,} rows"


def nearest_passage(shop: Workshop) -> Built:
    """The nearest sentence or passage as it stands."""
    candidates: list[tuple[str, Approach]] = []
    for longest in (0, *CHUNKS):
        index = Index(passages_of(shop.documents, longest), shop.embed if shop.embeds else None)
        what = f"passage of {longest} characters" if longest else "sentence"
        # the search that uses most comes first, for the first wins a tie
        candidates += [
            (f"{what} by {how}", Nearest(index, [], shop.asking, 1, how)) for how in reversed(index.searches)
        ]
    name, approach = shop.best(candidates)
    return Built(approach, f"the nearest {name}")


def rag(shop: Workshop) -> Built:
    sources, name = _sources(shop)
    asking = replace(shop.asking, cite=bool(shop.documents))
    return Built(
        _prompted(shop, asking, sources=sources), f"{shop.chat_model.name} with {name}", _changed_rag(shop, asking)
    )


def _changed_rag(shop: Workshop, asking: Asking) -> Change | None:
    if shop.documents:
        return None

    def change(altered: dict[int, Sample]) -> Approach:
        index, _ = shop.changed_index(altered)
        return _prompted(shop, asking, sources=_row_sources(shop, index))

    return change


class _Assisted:
    """An assistant as an approach: rows are asked as they are."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant
        self.usage = assistant.usage

    def answer(self, samples: Sequence[Sample]) -> list[Prediction]:
        """One text per row, in order."""
        return [Prediction(output=self._assistant.respond(prompt_of(sample)).text.strip()) for sample in samples]


def own_assistant(path: str) -> Callable[[Workshop], Built]:
    """The arm of an assistant's file: only its allow-listed actions run."""

    def build(shop: Workshop) -> Built:
        from luthier.deciding.assistants import open_assistant

        found = open_assistant(path)
        return Built(_Assisted(found), f"{found.file.name}: {found.model.name}, {len(found.actions)} actions")

    return build


def assistant(shop: Workshop) -> Built:
    """Instructions, knowledge and examples together, as an assistant has them; actions come with a user's file."""
    asking = _best_instruction(shop)
    sources, name = _sources(shop)
    approach = _prompted(shop, asking, "similar", SHOTS[0], sources=sources)

    def change(altered: dict[int, Sample]) -> Approach:
        index, rows = shop.changed_index(altered)
        choose = shop.chooser("similar", SHOTS[0], rows, index)
        given = sources if shop.documents else _row_sources(shop, index)
        return Prompted(shop.chat_model, asking, choose=choose, sources=given, max_tokens=shop.max_tokens)

    return Built(approach, f"{shop.chat_model.name}: an instruction, {SHOTS[0]} similar examples, {name}", change)


def rag_on_tuned(shop: Workshop) -> Built:
    from luthier.deciding.local_model import LocalModel

    method, model, _ = best_tuned(shop)
    sources, name = _sources(shop)
    asking = shop.asking
    chat = LocalModel(model, f"the {method} model")

    def change(altered: dict[int, Sample]) -> Approach:
        index, _ = shop.changed_index(altered)
        given = sources if shop.documents else _row_sources(shop, index)
        return Prompted(chat, asking, sources=given, max_tokens=shop.max_tokens)

    approach = Prompted(chat, asking, sources=sources, max_tokens=shop.max_tokens)
    return Built(approach, f"the {method} model with {name}", change)
