"""The page of a search: the verdict first, then how sure it is, the pictures, and every trial."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from luthier.evaluate.charts import Chart, Series
from luthier.evaluate.metric_names import metric_name
from luthier.evaluate.page import render, table
from luthier.evaluate.report import told
from luthier.searching.page_parallel import parallel_of
from luthier.searching.words import luck_sentences

Report = Mapping[str, Any]
_OBJECTIVES = {
    "size": "trainable parameters", "seconds": "seconds of training", "forgetting": "forgotten (0 = nothing)"
}  # fmt: skip


def page_of(report: Report) -> str:
    """HTML that works offline, of a search.json value."""
    sections = [
        ("How sure is that?", _sure(report)),
        ("The fresh run", _fresh(report)),
        ("The best recipe", _recipe(report)),
        ("History", _history(report)),
        ("Parameters and results", parallel_of(report)),
        ("What mattered", _importance(report)),
        ("What one gives up for the other", _pareto(report)),
        ("Where trials stopped", _rungs(report)),
        ("Every trial", _trials(report)),
        ("How it was searched", _how(report)),
    ]
    state = "" if report["done"] else " · stopped before its end"
    kicker = f"Luthier search · {report['created_at']}{state}"
    return render(f"Search: {report['task']}, {report['model']}", report["verdict"], sections, kicker=kicker)


def _sure(report: Report) -> str:
    luck = report["luck"]
    sentences = [*luck_sentences(report), *report["notes"]]
    body = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    if luck is None:
        return body
    metric = report["metric"]
    names = ["Seed", f"Trial {luck['picked_trial']}"]
    columns = [luck["best_values"]]
    if luck["runner_up_values"]:
        names.append(f"Trial {luck['runner_up_trial']}, the runner-up")
        columns.append(luck["runner_up_values"])
    rows = [
        [f"seed {seed}", *(told(metric, column[i]) for column in columns)] for i, seed in enumerate(luck["seeds"])
    ]  # fmt: skip
    return body + table(f"{report['metric_title']} on the validation rows with other seeds", names, rows)


def _fresh(report: Report) -> str:
    best = report["best"]
    if best is None or not best["run"]:
        return ""
    rows = []
    for name, cell in best["intervals"].items():
        if cell.get("value") is None:
            continue
        interval = "" if cell.get("low") is None else f"{told(name, cell['low'])} to {told(name, cell['high'])}"
        rows.append([metric_name(name).title, told(name, cell["value"]), interval])
    link = '<p><a href="best/report.html">Its own report</a> has the proof: baselines, errors, cost.</p>'
    return link + (table("The best recipe, trained afresh", ["Metric", "Value", "95 % interval"], rows) if rows else "")


def _recipe(report: Report) -> str:
    best = report["best"]
    if best is None:
        return ""
    rows = [[name, _plain(value)] for name, value in best["params"].items()]
    where = "<p><code>best.yaml</code> beside this page is the whole recipe: <code>luthier train best.yaml</code>.</p>"
    return where + table("What the search chose", ["Parameter", "Value"], rows)


def _history(report: Report) -> str:
    metric = metric_name(report["metric"])
    sign = 1.0 if report["higher_is_better"] else -1.0
    complete = [trial for trial in report["trials"] if trial["state"] == "complete"]
    stopped = [trial for trial in report["trials"] if trial["state"] != "complete" and trial["value"] is not None]
    if not complete and not stopped:
        return ""
    best: list[float] = []
    for trial in complete:
        best.append(trial["value"] if not best or sign * trial["value"] > sign * best[-1] else best[-1])
    series = []
    if stopped:
        numbers = [trial["number"] for trial in stopped]
        series.append(
            Series("stopped early", numbers, [trial["value"] for trial in stopped], kind="points", muted=True)
        )
    if complete:
        numbers = [trial["number"] for trial in complete]
        series.append(Series("complete", numbers, [trial["value"] for trial in complete], kind="points"))
        series.append(Series("best so far", numbers, best))
    note = "A trial that stopped early has the value of its last rung, so it is lower than it could have become."
    chart = Chart(
        f"{metric.title} of each trial", "trial", metric.title, series, percent_y=metric.is_share,
        note=note if stopped else "",
    )  # fmt: skip
    return chart.html("history")


def _importance(report: Report) -> str:
    found = report["importance"]
    if not found["shares"]:
        return f'<p class="note">{escape(found["why_not"][:1].upper() + found["why_not"][1:])}</p>'
    names = list(found["shares"])
    series = [Series("share of the variance", names, list(found["shares"].values()), kind="bars")]
    when = "their whole schedule" if found["share"] == 1 else f"{found['share']:.0%} of their epochs"
    source = "Hutter et al. 2014" if found["method"] == "fANOVA" else "Watanabe et al. 2023"
    note = (
        f"{found['method']} ({source}) over {found['trials']} trials, compared after {when}. With few trials this is a "
        "hint, not a law."
    )
    title = "How much each parameter mattered"
    return Chart(title, "", "share", series, percent_y=True, note=note).html("importance")


def _pareto(report: Report) -> str:
    objectives = report["pareto"]["objectives"]
    if len(objectives) < 2:
        return ""
    metric = metric_name(report["metric"])
    known = [trial for trial in report["trials"] if trial["state"] == "complete"]
    parts = []
    for name in objectives[1:]:
        groups = {True: [t for t in known if t["pareto"]], False: [t for t in known if not t["pareto"]]}
        series = [
            Series(
                "nobody beats it in everything" if on_front else "beaten",
                [_objective(trial, name) for trial in group], [trial["value"] for trial in group], kind="points",
                text=[f"trial {trial['number']}" if on_front else "" for trial in group], muted=not on_front,
            )
            for on_front, group in groups.items() if group
        ]  # fmt: skip
        if series:
            chart = Chart(
                f"{metric.title} against {_OBJECTIVES[name]}", _OBJECTIVES[name], metric.title, series,
                log_x=name == "size", percent_y=metric.is_share,
            )  # fmt: skip
            parts.append(chart.html(f"pareto-{name}"))
    rows = [
        [str(t["number"]), told(report["metric"], t["value"]), *(f"{_objective(t, n):,.4g}" for n in objectives[1:]),
         _params(t)]
        for t in known if t["pareto"]
    ]  # fmt: skip
    names = ["Trial", metric.title, *(_OBJECTIVES[n][:1].upper() + _OBJECTIVES[n][1:] for n in objectives[1:])]
    return "".join(parts) + table("Trials that no other beats in everything", [*names, "Parameters"], rows)


def _objective(trial: Mapping[str, Any], name: str) -> float:
    keys = {"size": "trainable_parameters", "seconds": "seconds_of_all", "forgetting": "forgetting"}
    return float(trial[keys[name]] or 0.0)


def _rungs(report: Report) -> str:
    if report["settings"]["pruner"] == "none" or len(report["rungs"]) < 2:
        return ""
    spent = sum(trial["epoch"] for trial in report["trials"])
    whole = sum(trial["epochs"] or 0 for trial in report["trials"])
    rows = [[f"{100 * rung['share']:.0f} %", str(rung["trials"])] for rung in report["rungs"]]
    text = (
        f"One of {report['settings']['reduction']} trials goes on at each rung, from its checkpoint. All together "
        f"trained {spent:,} of the {whole:,} epochs that all of them whole would have taken."
    )
    return f"<p>{escape(text)}</p>" + table("Trials by how far they came", ["Of their epochs", "Trials"], rows)


def _trials(report: Report) -> str:
    metric = report["metric"]
    best = report["best"]["trial"] if report["best"] else None
    rows = []
    for trial in report["trials"]:
        value = "-" if trial["value"] is None else told(metric, trial["value"])
        state = trial["state"] if not trial["error"] else f"failed: {trial['error']}"
        rows.append(
            [
                f"{trial['number']}{' (best)' if trial['number'] == best else ''}", state, value,
                f"{trial['epoch']} of {trial['epochs'] or '?'}",
                "-" if trial["seconds"] is None else f"{trial['seconds']:.1f} s",
                "-" if not trial["trainable_parameters"] else f"{trial['trainable_parameters']:,}", _params(trial),
            ]
        )  # fmt: skip
    names = ["Trial", "State", report["metric_title"], "Epochs", "Training", "Trained parameters", "Parameters"]
    return table("Every trial", names, rows)


def _how(report: Report) -> str:
    settings, counts = report["settings"], report["counts"]
    told_counts = ", ".join(f"{count} {state}" for state, count in counts.items() if state != "all")
    rows = [
        ["Trials", f"{counts['all']} ({told_counts})"],
        ["Sampler", settings["sampler"]],
        ["Pruning", settings["pruner"]],
        ["Objectives", ", ".join(settings["objectives"])],
        ["Workers", str(settings["workers"])],
        ["Budget", "none" if settings["budget"] is None else f"{settings['budget']:g} s"],
        ["Seed", str(settings["seed"])],
        ["Took", f"{report['seconds']:,.0f} s"],
    ]
    rows += [[parameter["name"], _space(parameter)] for parameter in report["parameters"]]
    text = "Trials are compared on the same validation rows. Test rows judge the fresh run only."
    return f"<p>{escape(text)}</p>" + table("Settings and space", ["What", "Value"], rows)


def _space(parameter: Mapping[str, Any]) -> str:
    if parameter["choices"] is not None:
        return ", ".join(_plain(choice) for choice in parameter["choices"])
    log = ", logarithmic" if parameter["log"] else ""
    return f"{_plain(parameter['low'])} to {_plain(parameter['high'])}{log}"


def _params(trial: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in trial["params"].items())


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
