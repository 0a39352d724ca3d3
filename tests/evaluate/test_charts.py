"""Charts: the picture, the table and the figure hold the same numbers, and nothing from outside becomes markup."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from luthier.evaluate import charts
from luthier.evaluate.chart_data import DARK, LIGHT, MUTED, free_sides
from luthier.evaluate.chart_scale import scale_of, tick_name, ticks
from luthier.evaluate.charts import Chart, Series, chart_css, page_script

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'<b>%{x}"
CHARTS = {
    "line": Chart("Loss", "step", "loss", [Series("train", [1, 2, 3], [3.0, 1.5, None])], vertical_line=(2, "kept")),
    "band": Chart(
        "Accuracy by rows", "training rows", "accuracy",
        [Series("full", [100, 1000, 4000], [0.5, 0.7345, 0.9], [0.4, 0.7, 0.85], [0.6, 0.8, 0.95]),
         Series("head", [100, 1000, 4000], [0.4, 0.5, 0.6])],
        log_x=True, percent_y=True, note="bands are 95 % intervals", vertical_line=500.0,
    ),
    "points": Chart(
        "Cost and quality", "dollars", "accuracy",
        [Series("arms", [0.1, 10, 100], [0.5, 0.9, 0.91], [0.4, 0.8, 0.9], [0.6, 0.95, 0.93], "points",
                ["a", "b", "c"])],
        log_x=True, log_y=True,
    ),
    "bars": Chart(
        "F1", "model", "F1",
        [Series("ours", ["this model"], [0.912], [0.9], [0.93], "bars"),
         Series("others", ["TF-IDF", "a very long name of a baseline that nobody could draw"], [-0.25, 0.5],
                kind="bars", muted=True)],
    ),
    "grouped": Chart("G", "", "", [Series(n, ["x", "y"], [1, 2], kind="bars") for n in "abc"]),
    "upright": Chart("U", "bin", "n", [Series(n, [1, 2, 3], [1, 2, 30], kind="bars") for n in "ab"]),
    "named line": Chart("N", "month", "n", [Series("a", ["Jan", "Feb", "Mar"], [1, 2, 20_000])]),
    "empty": Chart("E", "x", "y", [Series("none", [], [])]),
    "one": Chart("O", "x", "y", [Series("one", [4], [4])]),
    "hostile": Chart(HOSTILE, HOSTILE, HOSTILE, [
        Series(HOSTILE, [HOSTILE, "b"], [1, 2], kind="bars"),
        Series(HOSTILE, [HOSTILE], [3], kind="points", text=[HOSTILE]),
    ], note=HOSTILE, vertical_line=None),
    "hostile points": Chart("t", "x", "y", [Series(HOSTILE, [1], [2], kind="points", text=[HOSTILE])],
                            vertical_line=(1, HOSTILE)),
}  # fmt: skip


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.cells, self.data = [], [], [], [], []
        self.last = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.last = tag
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data):
        (self.data if self.last == "script" else self.words).append(data)
        if self.last == "td":
            self.cells[-1] += data


@pytest.mark.parametrize("name", CHARTS)
def test_the_picture_is_well_formed_and_says_what_it_shows(name):
    chart = CHARTS[name]
    root = ElementTree.fromstring(chart.svg())
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert root.find(f"{space}title").text == chart.title
    assert root.find(f"{space}desc").text == chart.description()
    assert "nan" not in chart.svg()
    assert set(re.findall(r"#[0-9a-f]{6}", re.sub(r"var\(--[a-z0-9-]+,#[0-9a-f]{6}\)", "", chart.svg()))) == set()


@pytest.mark.parametrize("name", CHARTS)
def test_nothing_from_outside_becomes_markup(name):
    parsed = Tags(CHARTS[name].html("identity"))
    assert not {"img", "b"} & set(parsed.tags)
    assert not [key for key, _ in parsed.attributes if key.startswith("on") or key in ("src", "href")]
    assert parsed.tags.count("script") == (name != "empty")
    figure = json.loads("".join(parsed.data) or json.dumps(CHARTS[name].figure()))
    assert figure == json.loads(json.dumps(CHARTS[name].figure()))
    assert "<b>" not in json.dumps(figure)  # Plotly would read it as bold
    if name.startswith("hostile"):
        assert HOSTILE in "".join(parsed.words)


def test_the_numbers_are_in_the_table_the_figure_and_the_words():
    chart = CHARTS["band"]
    parsed = Tags(chart.html("x"))
    assert parsed.cells[4:8] == ["1000", "73.45 %", "70.00 %", "80.00 %"]
    band, line, other = chart.figure()["data"]
    assert (line["x"], line["y"]) == ([100, 1000, 4000], [0.5, 0.7345, 0.9])
    assert band["y"] == [0.6, 0.8, 0.95, 0.85, 0.7, 0.4]
    assert other["name"] == "head"
    assert "1000 73.5 % (70.0 % to 80.0 %)" in chart.description()
    assert chart.figure()["layout"]["xaxis"]["type"] == "log"
    bars = CHARTS["bars"].figure()["data"]
    assert bars[0]["error_x"]["array"] == pytest.approx([0.018])
    assert bars[0]["error_x"]["arrayminus"] == pytest.approx([0.012])
    assert (bars[1]["x"], bars[1]["y"][0]) == ([-0.25, 0.5], "TF-IDF")


def test_a_point_lies_where_its_value_is():
    chart = Chart("t", "x", "y", [Series("a", [1, 10, 100], [0, 5, 10])], log_x=True)
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart.svg())]
    (x1, y1), (x2, y2), (x3, y3) = dots
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
    assert x1 < x2 < x3
    assert y1 > y2 > y3


def test_a_value_that_no_axis_has_is_in_the_table_only():
    series = [Series("a", [1, 2, 0], [5, -1, 7]), Series("b", [1], [float("nan")])]
    chart = Chart("t", "x", "y", series, log_x=True, log_y=True)
    assert chart.figure()["data"][0]["x"] == [1]
    assert chart.svg().count("<circle") == 1
    assert Tags(chart.html("x")).cells == ["1", "5", "2", "-1", "0", "7", "1", "–"]


def test_words_beside_points_do_not_meet():
    spots = [(100, 100), (130, 100), (300, 50), (131, 101)]
    sides = free_sides(spots, ["a word", "another", "at the right end", "there is room below for this"], 0, 320)
    assert sides == ["middle left", "middle right", "middle left", "bottom center"]
    assert free_sides([(5, 5)], [""], 0, 10) == [None]


def test_series_that_do_not_fit_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="x has 2 values, y has 1"):
        Series("a", [1, 2], [1])
    with pytest.raises(ValueError, match="belong together"):
        Series("a", [1], [1], low=[0])


def test_plotly_takes_the_figures():
    objects = pytest.importorskip("plotly.graph_objects")
    for chart in CHARTS.values():
        assert len(objects.Figure(chart.figure()).data) == len(chart.figure()["data"])


def test_the_script_is_plotly_s_own_and_small_enough():
    pytest.importorskip("plotly")
    parsed = Tags(page_script())
    assert parsed.tags == ["script", "script"]
    packed = parsed.data[0]
    assert b"plotly.js v" in gzip.decompress(base64.b64decode(packed))[:200]
    assert 1_000_000 < len(page_script()) < 2_500_000
    assert f'"--series-0": "{LIGHT[0]}"' in page_script()
    assert page_script() == page_script()


def test_without_plotly_there_is_no_script(monkeypatch):
    charts._plotly.cache_clear()
    monkeypatch.setattr(charts, "find_spec", lambda name: None)
    try:
        assert page_script() == ""
        assert "<svg" in CHARTS["band"].html("x")
    finally:
        charts._plotly.cache_clear()


def test_the_style_has_every_colour_in_light_and_dark():
    css = chart_css()
    for colour in (*LIGHT, *DARK, *MUTED):
        assert colour in css
    assert "url(" not in css


MACHADO = {  # severity 1.0, Machado, Oliveira and Fernandes 2009, for linear RGB
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour):
    part = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a, b):
    low, high = sorted(float(linear(one) @ [0.2126, 0.7152, 0.0722]) for one in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("palette", "page"), [(LIGHT, "#ffffff"), (DARK, "#13171c")])
@pytest.mark.parametrize("sight", MACHADO)
def test_colours_can_be_told_apart_and_seen(palette, page, sight):
    seen = [lab(np.asarray(MACHADO[sight]) @ linear(colour)) for colour in palette]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 22
    assert min(contrast(colour, page) for colour in palette) >= 3
    assert contrast(MUTED[palette is DARK], page) >= 3


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.93, 0.95), (-3, 4), (5, 5), (0, 0), (1e-6, 3e-6), (120, 98000)])
def test_ticks_are_round_and_cover_the_range(low, high):
    found = ticks(low, high)
    assert found[0] <= low + 1e-12
    assert found[-1] >= high - 1e-12
    assert 2 <= len(found) <= 9
    steps = np.diff(found)
    assert steps == pytest.approx(steps[0])


@pytest.mark.parametrize("values", [[1e-9, 1e9], [3], [1, 2], [20, 90], [0.5, 0.51]])
def test_a_logarithmic_scale_has_ticks_and_holds_its_values(values):
    scale = scale_of(values, 0, 100, is_log=True)
    assert len(scale.ticks) <= 10
    assert all(0 <= scale.at(value) <= 100 for value in values)


def test_ticks_have_short_names():
    assert [tick_name(x) for x in (0, 0.25, 5000, 20_000, 1.5e6, 2e9)] == ["0", "0.25", "5000", "20 k", "1.5 M", "2 G"]
    assert tick_name(0.125, percent=True) == "12.5 %"
