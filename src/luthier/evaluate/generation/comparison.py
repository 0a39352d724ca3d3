"""Whether one writing model is better than another on the same rows, or whether nobody can tell."""

from __future__ import annotations

from collections.abc import Mapping

from luthier.evaluate.comparison import Comparison, sentence
from luthier.evaluate.generation.evaluation import GenerationEvaluation
from luthier.evaluate.intervals import Judge, PairedTest, decide, holm, paired_bootstrap, paired_test
from luthier.evaluate.metric_names import metric_name


def compare_generation(
    ours: GenerationEvaluation,
    others: Mapping[str, GenerationEvaluation] | GenerationEvaluation,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare by loss, and by the telling metric of the answers, with a paired test each.

    `others` (one alone is the untuned base) were measured on the same rows, in the same order; p-values are
    corrected for the number of tests (Holm). A metric that either side lacks is left out.
    """
    if isinstance(others, GenerationEvaluation):
        others = {"base": others}
    found: list[tuple[str, str, PairedTest, float, float]] = []
    for name, theirs in others.items():
        for metric in ("loss", ours.headline):
            if metric is None or metric not in ours.metrics or metric not in theirs.metrics:
                continue
            a, b = (_judge(side, metric) for side in (ours, theirs))
            values = (ours.metrics[metric].value, theirs.metrics[metric].value)
            found.append((name, metric, _test(a, b, metric, resamples, seed), *values))
    corrected = holm([test.p_value for _, _, test, *_ in found])
    return [
        Comparison(
            name,
            metric,
            our_value,
            their_value,
            test.difference,
            p_value,
            test.test,
            verdict := decide(test.difference, p_value),
            sentence(name, metric, test.difference, verdict),
        )
        for (name, metric, test, our_value, their_value), p_value in zip(found, corrected, strict=True)
    ]


def _judge(side: GenerationEvaluation, metric: str) -> Judge:
    return side.likelihood if metric in side.likelihood.names() else side.answers


def _test(a: Judge, b: Judge, metric: str, resamples: int, seed: int) -> PairedTest:
    better_is_more = metric_name(metric).higher_is_better
    ours, theirs = a.row_values(metric), b.row_values(metric)
    if ours is not None and theirs is not None:
        return paired_test(ours, theirs, higher_is_better=better_is_more, resamples=resamples, seed=seed)
    return paired_bootstrap(a, b, metric, higher_is_better=better_is_more, resamples=resamples, seed=seed)
