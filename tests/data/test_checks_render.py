"""What `luthier check` prints on a terminal."""

import io
import json

import pytest
from rich.console import Console
from test_checks import clean_rows, csv
from test_checks_text import WordEncoder

from luthier.data.checks import check
from luthier.data.checks.render import render


def shown(report, width=80):
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
    for part in render(report):
        console.print(part)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_fits_the_width(tmp_path, width):
    rows = clean_rows(90)
    rows[3] = rows[4] = (
        "the same [bold]text[/bold] " * 20,
        "a_label_with_a_very_long_name_that_goes_on_and_on_and_on",
    )
    rows[5] = ("", "praise")
    text = shown(check(csv(tmp_path / "d.csv", rows), encoder=WordEncoder(), max_length=8), width)
    assert max(map(len, text.splitlines())) <= width
    assert "Not ready to train" in text
    assert "empty_text" in text
    assert "would_be_cut" in text


def test_clean_data_are_ready(tmp_path):
    text = shown(check(csv(tmp_path / "d.csv", clean_rows(90)), encoder=WordEncoder()))
    assert text.startswith("✓ Ready to train  classify, 90 rows")
    assert "praise" in text
    assert "w3" in text
    assert "(output 1 of 3)" in text


def test_every_code_stands_there_once_with_its_count_and_places(tmp_path):
    rows = clean_rows(90)
    for k in range(40):
        rows[k] = ("", "praise")
    rows[50] = rows[51]
    text = shown(check(csv(tmp_path / "d.csv", rows)))
    assert "empty_text  40 times  d.csv 2, 3, 4, …" in text
    assert text.count("empty_text") == 1
    assert "duplicate  d.csv 53" in text


def test_the_rest_is_named(tmp_path):
    rows = clean_rows(200)
    rows[40:] = [("", "praise")] * 160
    text = shown(check(csv(tmp_path / "d.csv", rows), findings_file=tmp_path / "r.jsonl"), 200)
    assert f"more findings: in {tmp_path / 'r.jsonl'}" in text


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    path = tmp_path / "d.jsonl"
    rows = [{"text": f"\x1b[31m{text}\x07\u202e", "label": f"\x1b]0;{label}"} for text, label in clean_rows(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = shown(check(str(path)))
    assert not set(text) & {"\x1b", "\x07", "\u202e"}


def test_extract_and_regress(tmp_path):
    spans = tmp_path / "s.jsonl"
    row = {"text": "Maria is here", "spans": [{"start": 0, "end": 5, "label": "PERSON"}]}
    spans.write_text("".join(json.dumps(row | {"text": f"Maria met {text}"}) + "\n" for text, _ in clean_rows(40)))
    text = shown(check(str(spans), encoder=WordEncoder()))
    assert "w5/B-PERSON" in text
    assert "Maria PERSON 0 to 5" in text
    scores = csv(
        tmp_path / "r.csv",
        [(a, a, str(k % 6)) for k, (a, _) in enumerate(clean_rows(40))],
        "text,text_pair,score",
    )
    text = shown(check(scores))
    assert "0 to 5, median 2" in text
    assert "text_pair" in text
    assert "standardised" in text
