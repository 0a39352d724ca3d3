"""What charts and scrolled parts look like where the data are awkward: seen first in Firefox, held here."""

from __future__ import annotations

from typing import Any

import pytest
from browsing import NARROW, WIDE, Visit
from site_in_thread import Site
from test_page_hostile import arm, part_events, trial

from luthier.jobs.ids import new_id

DATA = {"task": "classify", "data": {"train": "file-x"}}
OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll('.plot .textpoint text, .plot .scatterlayer text')]
    .filter((one) => one.textContent).map((one) => [one.textContent.trim(), one.getBoundingClientRect()]);
  const hit = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  return {names: boxes.map(([name]) => name), pairs: boxes.flatMap(([name, a], i) =>
    boxes.slice(i + 1).filter(([, b]) => hit(a, b)).map(([other]) => `${name} on ${other}`))};
}"""


def chart(visit: Visit, path: str) -> Any:
    """Open a page and wait for its first chart."""
    page = visit.go(path).settled().page
    page.wait_for_selector(".plot")
    page.locator(".plot").first.scroll_into_view_if_needed()
    page.wait_for_selector("[data-drawn] .main-svg")
    return page


def test_no_axis_of_shares_goes_far_beyond_all_of_them(site: Site, visit: Visit) -> None:
    trials = [{**trial("", i), "metric": "accuracy", "value": 0.5, "state": "complete", "error": ""} for i in range(4)]
    space = {"learning_rate_multiplier": {"search": {"low": 0.1, "high": 30.0}}}
    recipe = {**DATA, "search": {"trials": 4}, "train": space}
    job = site.job(
        id=new_id("search-"), kind="search", status="running", recipe=recipe, events=part_events(trials)
    )  # fmt: skip
    page = chart(visit, f"/searches/{job.id}")
    low, high = page.evaluate("() => document.querySelector('.plot')._fullLayout.yaxis.range")
    assert low == 0
    assert 0.5 < high < 1.05
    visit.clean()


@pytest.mark.parametrize("viewport", [NARROW, WIDE], ids=["narrow", "wide"])
def test_names_in_a_picture_do_not_stand_on_each_other(site: Site, open_page: Any, viewport: dict[str, int]) -> None:
    placed = [
        ("majority", 0.5, 0.00001), ("frozen", 0.57, 0.00002), ("full fine-tuning", 0.57, 0.00003),
        ("tuned with nearest rows", 1.0, 0.00002), ("nearest rows", 1.0, 0.00001), ("zero-shot prompt", 0.47, 0.0013),
        ("few-shot prompt", 0.56, 0.0025),
    ]  # fmt: skip
    arms = [
        {**arm(name), "metrics": {"accuracy": {"value": value, "low": value - 0.1, "high": min(1.0, value + 0.1)}},
         "cost": {**arm(name)["cost"], "per_1000": cost}}
        for name, value, cost in placed
    ]  # fmt: skip
    recipe = {**DATA, "decide": {"budget": 10}}
    job = site.job(
        id=new_id("decision-"), kind="decision", status="running", recipe=recipe, events=part_events(arms)
    )  # fmt: skip
    visit: Visit = open_page(site.base_url, site.secret, viewport=viewport)
    page = chart(visit, f"/decisions/{job.id}")
    page.wait_for_function("() => document.querySelectorAll('.plot .scatterlayer text').length > 0")
    found = page.evaluate(OVERLAPS)
    assert not found["pairs"], found
    assert {"tuned with nearest rows", "frozen"} <= set(found["names"])
    assert ("few-shot prompt" in found["names"]) is (viewport is WIDE)
    named = page.evaluate("() => document.querySelector('.plot').data.flatMap((one) => one.hovertext)")
    assert sorted(named) == sorted(name for name, _, _ in placed), "where there is no room, pointing at it tells"
    visit.clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_scroll_bars_have_the_colours_of_the_page(site: Site, open_page: Any, scheme: str) -> None:
    visit: Visit = open_page(site.base_url, site.secret, scheme=scheme)
    page = visit.go("/settings").settled().page
    told = page.evaluate(
        "() => [getComputedStyle(document.querySelector('pre')).scrollbarColor,"
        " getComputedStyle(document.querySelector('.button:not(.primary)')).borderTopColor]"
    )
    assert told[0] == f"{told[1]} rgba(0, 0, 0, 0)"
    visit.clean()
