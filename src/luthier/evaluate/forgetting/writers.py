"""What a model that writes forgot: how likely it finds general texts, and what it answers, against its base."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.core.generation import Sampling
from luthier.data.samples import Sample
from luthier.evaluate.comparison import distance
from luthier.evaluate.forgetting.summary import Finding, Outcome
from luthier.evaluate.generation import GenerationEvaluation, Writer, compare_generation, evaluate_generation
from luthier.evaluate.generation.questions import question_of

_OUTCOMES: dict[str, Outcome] = {"better": "gained", "worse": "forgot", "cannot tell them apart": "kept"}
_LONGEST_ANSWER = 60


def judge_writer(
    name: str, base: Writer, tuned: Writer, anchors: Sequence[Sample], *, answers: int = 4, resamples: int = 1000
) -> Finding:
    """Loss per token of `anchors` by both, with a paired bootstrap over the texts, and a few greedy answers of both."""
    before, after = (_measured(model, anchors, resamples) for model in (base, tuned))
    comparison = next(one for one in compare_generation(after, before, resamples=resamples) if one.metric == "loss")
    outcome = _OUTCOMES[comparison.verdict]
    values = f"{comparison.theirs:.2f} to {comparison.ours:.2f} nats a token"
    where = f"on {len(anchors)} {name}"
    if outcome == "kept":
        low, high = -comparison.difference.high, -comparison.difference.low
        sentence = (
            f"No forgetting is shown: loss {where} went from {values} "
            f"(95 % interval of the change {low:+.2f} to {high:+.2f})."
        )
    else:
        ahead = distance("loss", comparison.difference, comparison.verdict, named=False)
        verb = "It forgot: loss" if outcome == "forgot" else "It forgot nothing: loss"
        direction = "rose" if outcome == "forgot" else "fell"
        sentence = f"{verb} {where} {direction} from {values}, {ahead}."
    return Finding(
        name, len(anchors), "loss, nats a token", comparison.theirs, comparison.ours,
        comparison.ours - comparison.theirs, outcome, sentence,
        {"loss": {"base": comparison.theirs, "tuned": comparison.ours, "difference": comparison.difference.to_dict(),
                  "p_value": comparison.p_value, "test": comparison.test}},
        _answers(base, tuned, anchors, answers),
    )  # fmt: skip


def mean_loss(model: Writer, samples: Sequence[Sample]) -> float:
    """Nats a token over all weighted tokens."""
    found = list(model.likelihood(samples))
    return sum(one.loss_sum for one in found) / max(sum(one.weight for one in found), 1e-9)


def _measured(model: Writer, anchors: Sequence[Sample], resamples: int) -> GenerationEvaluation:
    return evaluate_generation(model, anchors, metrics=["loss"], rows_to_generate=0, bootstrap=resamples)


def _answers(base: Writer, tuned: Writer, anchors: Sequence[Sample], count: int) -> list[dict[str, str]]:
    """Questions spread evenly over the anchors."""
    asked = [question for sample in anchors if (question := question_of(sample)) is not None]
    chosen = asked[:: max(1, len(asked) // count)][:count] if count else []
    if not chosen:
        return []
    sampling = Sampling(max_tokens=_LONGEST_ANSWER)
    prompts = [question.prompt for question in chosen]
    before, after = (model.generate(prompts, sampling) for model in (base, tuned))
    return [
        {"prompt": question.text, "reference": question.reference, "base": old.text, "tuned": new.text}
        for question, old, new in zip(chosen, before, after, strict=True)
    ]
