"""A report for the terminal: verdict, facts, findings by code, and a row as the model sees it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from luthier.core.words import plural
from luthier.data.checks.conversation_preview import Stretch, preview_text
from luthier.data.checks.language import NAMES
from luthier.data.checks.report import CheckReport, CodeSummary
from luthier.data.checks.turns import describe_turns

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

MARKS = {"error": ("✗", "bold red"), "warning": ("▲", "yellow"), "info": ("·", "cyan")}
BARS = 8
"""Up to so many labels are shown each with a bar."""
TOKENS = 48
LEARNED = "bold green"
TEXT = 240
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LEVELS = "▁▂▃▄▅▆▇█"


def render(report: CheckReport) -> list[RenderableType]:
    """What to print, one renderable after another; fits 80 columns and uses more where there are more."""
    parts: list[RenderableType] = [_verdict(report), _facts(report)]
    if report.codes:
        parts += [_title("Findings"), *(_group(summary) for summary in report.codes)]
        if report.overflow:
            where = f"in {report.findings_file}" if report.findings_file else "not kept; --findings FILE keeps them"
            parts.append(_line(f"  {plural(report.overflow, 'more finding')}: {where}", "dim"))
    if report.sample is not None:
        parts += [_title(f"Row {report.sample['line']} as the model sees it"), _sample(report)]
    return parts


def _clean(text: str, limit: int = 0) -> str:
    """The user's text in one line, without what could steer a terminal."""
    line = _CONTROL.sub(lambda match: " " if match.group() in "\n\r\t" else "\N{REPLACEMENT CHARACTER}", text)
    return line if not limit or len(line) <= limit else line[: limit - 1] + "…"


def _line(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style)


def _title(text: str) -> Text:
    return _line(f"\n{text}", "bold")


def _verdict(report: CheckReport) -> Text:
    errors, warnings, notes = (report.count(level) for level in ("error", "warning", "info"))
    counts = [plural(errors, "error")] if errors else []
    counts += [plural(warnings, "warning")] if warnings else []
    counts += [plural(notes, "note")] if notes else []
    text = _line("✗ Not ready to train", "bold red") if errors else _line("✓ Ready to train", "bold green")
    text.append(f"  {report.task}, {plural(report.rows, 'row')}", "default not bold")
    text.append(f"  ({', '.join(counts) or 'nothing to mend'})", "not bold dim")
    return text


def _grid() -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, min_width=10)
    grid.add_column(overflow="fold")
    return grid


def _facts(report: CheckReport) -> RenderableType:
    from rich.padding import Padding

    stats, grid = report.stats, _grid()
    for name, part in stats["parts"].items():
        unusable = f", {part['unusable']:,} of them unusable" if part["unusable"] else ""
        grid.add_row(name, f"{plural(part['rows'], 'row')}{unusable}")
    if stats.get("labels"):
        grid.add_row("labels", _labels(stats))
    for name, score in stats.get("scores", {}).items():
        grid.add_row(
            f"score {_clean(name, 16)}",
            f"{score['min']:g} to {score['max']:g}, median {score['median']:g}, std {score['std']:.3g}",
        )
    if spans := stats.get("spans"):
        grid.add_row("spans", f"{spans['spans']:,} in {plural(spans['rows_with_spans'], 'row')}")
    for name, lengths in stats.get("lengths", {}).items():
        if lengths:
            grid.add_row(name, _lengths(lengths))
    if limit := stats.get("suggested_max_length"):
        tokens = stats["lengths"]["tokens"]
        cut = plural(tokens["cut_rows"], "row") if tokens["cut_rows"] else "no row"
        grid.add_row("max_length", f"{limit} suggested; {cut} would be cut at {tokens['max_length']}")
    if stats.get("conversations"):
        grid.add_row("turns", describe_turns(stats))
    if "trained_share" in stats:
        grid.add_row("learned", f"{stats['trained_share']:.1%} of the characters")
    for column, found in stats.get("groups", {}).items():
        grid.add_row(f"by {_clean(column, 16)}", _group_counts(found))
    if languages := stats.get("languages"):
        grid.add_row("language", _languages(languages))
    return Padding(grid, (0, 0, 0, 2), expand=False)


def _group_counts(found: dict[str, Any]) -> Text:
    rows: dict[str, int] = found["rows"]
    shown = [f"{_clean(name, 24)} {count:,}" for name, count in list(rows.items())[:BARS]]
    return _line(", ".join(shown) + ("" if found["num_groups"] <= BARS else f", … ({found['num_groups']:,} groups)"))


def _labels(stats: dict[str, Any]) -> Text:
    labels: dict[str, dict[str, Any]] = stats["labels"]
    count = stats["num_labels"]
    if count > BARS:
        (most, large), (least, small) = next(iter(labels.items())), next(reversed(labels.items()))
        text = _line(f"{count:,}")
        for word, name, facts in (("most", most, large), ("least", least, small)):
            text.append(f"; {word} {facts['rows']:,} ({facts['share']:.1%}) ")
            text.append(_clean(name, 32), "bold")
        return text
    text = _line("")
    width = min(24, max(len(_clean(name)) for name in labels))
    largest = max(facts["rows"] for facts in labels.values())
    for number, (name, facts) in enumerate(labels.items()):
        bar = "█" * max(1, round(16 * facts["rows"] / largest))
        text.append(("\n" if number else "") + _clean(name, 24).ljust(width), "bold")
        text.append(f" {bar:<16} ", "cyan")
        text.append(f"{facts['rows']:,} ({facts['share']:.1%})")
    return text


def _lengths(lengths: dict[str, Any]) -> Text:
    text = _line(f"median {lengths['median']:,}, 95% up to {lengths['p95']:,}, longest {lengths['max']:,}  ")
    rows = [step["rows"] for step in lengths["histogram"]]
    bars = "".join(_LEVELS[min(7, 7 * n // max(rows) + (0 < n < max(rows) / 7))] if n else " " for n in rows)
    return text.append(bars, "cyan")


def _languages(languages: dict[str, int]) -> str:
    total = sum(languages.values())
    shown = [f"{NAMES.get(code, code)} {count / total:.1%}" for code, count in list(languages.items())[:3]]
    return ", ".join(shown) + ("" if len(languages) <= 3 else ", …")


def _places(summary: CodeSummary) -> str:
    """``train.csv 4, 9, 12, …``, or nothing where the finding is about the data as a whole."""
    first = [finding for finding in summary.first if finding.line]
    if not first:
        return ""
    source = first[0].source
    lines = [str(finding.line) for finding in first if finding.source == source]
    more = ", …" if summary.count > len(lines) else ""
    return f"{_clean(source.rsplit('/', 1)[-1], 32)} {', '.join(lines)}{more}"


def _group(summary: CodeSummary) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding

    mark, style = MARKS[summary.severity]
    head = _line(f"  {mark} ", style)
    head.append(summary.code, "bold")
    head.append(f"  {summary.count:,} times" if summary.count > 1 else "", style)
    places = _places(summary)
    head.append(f"  {places}" if places else "", "dim")
    head.no_wrap, head.overflow = True, "ellipsis"
    first = summary.first[0]
    shown = _line(_clean(first.message, TEXT))
    if summary.count > 1:
        shown = _line("e.g. ", "dim").append(shown)
        shown.stylize("default not dim", 5)
    remedy = _line(f"→ {_clean(first.remedy, TEXT)}", "green")
    indent = (0, 2, 0, 4)
    return Group(head, Padding(shown, indent, expand=False), Padding(remedy, indent, expand=False))


def _sample(report: CheckReport) -> RenderableType:
    from rich.padding import Padding

    sample, grid = report.sample or {}, _grid()
    if isinstance(sample["target"], dict):
        if "rendered" in sample:
            from rich.text import Text

            shown = Text.from_markup(preview_text(Stretch(*part) for part in sample["rendered"]))
            counts = f"\n({sample['num_tokens']} tokens; the {sample['num_learned']} in green are learned)"
            grid.add_row("rendered", shown.append(counts, "dim"))
            return Padding(grid, (0, 0, 0, 2), expand=False)
        for name, text in _language(sample["target"]):
            grid.add_row(name, text)
        return Padding(grid, (0, 0, 0, 2), expand=False)
    grid.add_row("text", _clean(sample["text"], TEXT))
    if sample["text_pair"] is not None:
        grid.add_row("text_pair", _clean(sample["text_pair"], TEXT))
    if "tokens" in sample:
        more = "" if len(sample["tokens"]) <= TOKENS else " …"
        cut = ", cut" if sample["cut"] else ""
        grid.add_row("tokens", _tokens(sample).append(f"{more}  ({sample['num_tokens']}{cut})", "dim"))
        ids = " ".join(map(str, sample["ids"][: TOKENS // 2]))
        grid.add_row("ids", _line(ids + (" …" if len(sample["ids"]) > TOKENS // 2 else ""), "dim"))
    grid.add_row("target", _target(report, sample))
    return Padding(grid, (0, 0, 0, 2), expand=False)


def _language(target: dict[str, Any]) -> list[tuple[str, Text]]:
    """Turns, or prompt and completion; what is learned stands out."""
    if "messages" not in target:
        styles = {"completion": LEARNED}
        return [(name, _line(_clean(text, TEXT), styles.get(name, ""))) for name, text in target.items() if text]
    found = []
    for turn in target["messages"]:
        functions = (call["function"] for call in turn.get("tool_calls", ()))
        calls = "".join(f" {function['name']}({function['arguments']})" for function in functions)
        style = LEARNED if turn["role"] == "assistant" and turn["weight"] else ""
        found.append((turn["role"], _line(_clean(turn["content"] + calls, TEXT), style)))
    return found


def _tokens(sample: dict[str, Any]) -> Text:
    """Tokens apart by a space, those inside a span marked with their tag."""
    text = _line("")
    tags = sample.get("tags", [])
    for number, token in enumerate(sample["tokens"][:TOKENS]):
        tag = tags[number] if number < len(tags) else "O"
        text.append(" " if number else "")
        text.append(_clean(token), "bold magenta" if tag != "O" else "")
        text.append({"O": "", "I": "/I"}.get(tag[:1], f"/{_clean(tag)}"), "magenta")
    return text


def _target(report: CheckReport, sample: dict[str, Any]) -> Text:
    target = sample["target"]
    if report.task == "regress":
        values = ", ".join(f"{value:g}" for value in target)
        output = ", ".join(f"{value:g}" for value in sample["output"])
        return _line(values, "bold").append(f"  (standardised {output})", "not bold dim")
    if report.task == "extract":
        text = _line("" if target else "no span")
        for number, span in enumerate(target):
            text.append("; " if number else "")
            text.append(_clean(span["text"], 40), "bold")
            text.append(f" {_clean(span['label'], 24)} {span['start']} to {span['end']}", "dim")
        return text
    names = target if isinstance(target, list) else [target]
    outputs = sample["output"] if isinstance(sample["output"], list) else [sample["output"]]
    numbers = ", ".join(map(str, outputs)) or "none"
    text = _line(", ".join(_clean(name, 40) for name in names) or "no label", "bold")
    return text.append(f"  (output {numbers} of {report.stats['num_labels']})", "not bold dim")
