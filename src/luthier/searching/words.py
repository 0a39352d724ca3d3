"""What came out, in sentences: the verdict first, with numbers, and luck called luck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.core.words import plural
from luthier.evaluate.report import told
from luthier.search.luck import Luck, Mean

Report = Mapping[str, Any]


def headline(report: Report) -> str:
    """The verdict in one or two sentences."""
    best, metric = report["best"], report["metric"]
    if best is None:
        return "No trial has a result."
    value = told(metric, best["value"])
    title = report["metric_title"]
    text = f"Trial {best['trial']} is the best of {report['counts']['all']}: {title} {value} on the validation rows"
    luck = report["luck"]
    if luck is None:
        return f"{text}. It was not trained again with other seeds, so some of that may be luck."
    if luck["verdict"] == "reversed":
        text = (
            f"Trial {best['trial']} is kept: {title} {_mean(metric, luck['kept'])} over {luck['kept']['count']} other "
            f"seeds. The trial that looked best, {luck['picked_trial']} with {told(metric, luck['picked'])}, was lucky"
        )
        return text + "."
    again = f"{_mean(metric, luck['best'])} over {plural(luck['best']['count'], 'other seed')}"
    text = f"{text}, {again}."
    if luck["verdict"] == "clear":
        return f"{text} It is better than the runner-up, trial {luck['runner_up_trial']}, with the same seeds."
    if luck["verdict"] == "tie":
        return (
            f"{text} Nobody can tell it from the runner-up, trial {luck['runner_up_trial']}: which of the two came "
            "first is luck."
        )
    return f"{text} Too few seeds to tell it from the next."


def luck_sentences(report: Report) -> list[str]:
    """What training again showed."""
    luck, metric = report["luck"], report["metric"]
    if luck is None:
        return []
    found = [
        f"Picked with {told(metric, luck['picked'])} as the best of {luck['trials']} comparable trials; with other "
        f"seeds the same recipe gives {_mean(metric, luck['best'])}."
    ]
    optimism = luck["optimism"]
    if optimism > 0:
        found[0] += f" So {gap(metric, optimism)} of the picked value was luck."
    if luck["expected_optimism"] is not None and luck["trials"] > 1:
        found.append(
            f"The same recipe varies by {gap(metric, luck['noise'])} (standard deviation) from seed to seed. The best "
            f"of {luck['trials']} trials that are all alike would look {gap(metric, luck['expected_optimism'])} better "
            "than they are."
        )
    if luck["difference"] is not None and luck["difference"]["low"] is not None:
        difference = luck["difference"]
        found.append(
            f"Against the runner-up, trial {luck['runner_up_trial']}, with the same seeds: "
            f"{gap(metric, difference['value'])} ({gap(metric, difference['low']).removesuffix(' points')} to "
            f"{gap(metric, difference['high'])}) in its favour."
        )
    if luck["why_fewer"]:
        found.append(f"There are fewer seeds than asked for: {luck['why_fewer']}.")
    return found


def gap(metric: str, value: float) -> str:
    """A difference between two values of a metric: of a share in points."""
    from luthier.evaluate.metric_names import metric_name

    return f"{100 * value:.2f} points" if metric_name(metric).is_share else f"{value:.3g}"


def _mean(metric: str, mean: Mapping[str, Any]) -> str:
    if mean["low"] is None:
        return told(metric, mean["value"])
    low, high = told(metric, mean["low"]).removesuffix(" %"), told(metric, mean["high"])
    return f"{told(metric, mean['value'])} ({low} to {high})"


def luck_record(luck: Luck, *, picked_trial: int, runner_up_trial: int | None, seeds: list[int], why_fewer: str,
                best: list[float], runner_up: list[float]) -> dict[str, Any]:  # fmt: skip
    """The luck of a search as JSON."""
    def plain(mean: Mean | None) -> dict[str, Any] | None:
        return None if mean is None else vars(mean) | {}

    return {
        "picked_trial": picked_trial, "picked": luck.picked, "runner_up_trial": runner_up_trial,
        "seeds": seeds, "best": plain(luck.best), "runner_up": plain(luck.runner_up),
        "best_values": best, "runner_up_values": runner_up,
        "kept": plain(luck.runner_up if luck.verdict == "reversed" else luck.best),
        "optimism": luck.optimism, "difference": plain(luck.difference), "verdict": luck.verdict,
        "noise": luck.noise, "expected_optimism": luck.expected_optimism, "trials": luck.trials,
        "why_fewer": why_fewer,
    }  # fmt: skip
