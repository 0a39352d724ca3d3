"""Every page in both themes and at any width: nothing serious for axe, no sideways scroll, usable by keys alone."""

from __future__ import annotations

import time
from typing import Any

import pytest
from browsing import NARROW, WIDE, Visit
from site_in_thread import Site

from luthier.jobs.ids import new_id
from luthier.jobs.records import Job, NewEvent

PATHS = (
    "/", "/data", "/runs", "/compare", "/autos", "/searches", "/decisions", "/try", "/models", "/settings", "/new",
    "/login",
)  # fmt: skip
LARGE = {"width": 3840, "height": 2160}
SERIOUS = ("serious", "critical")


def report() -> dict[str, Any]:
    """A report as a classifier gives it."""
    cell = {"value": 0.9, "low": 0.8, "high": 0.95}
    return {
        "task": "classify",
        "verdict": "Accuracy 90 % on 10 test rows.",
        "primary_metric": "accuracy",
        "metrics": {"accuracy": cell, "macro_f1": cell},
        "baselines": {"majority": {"accuracy": cell}},
        "warnings": ["Few rows."],
        "comparisons": [
            {
                "name": "majority",
                "metric": "accuracy",
                "ours": 0.9,
                "theirs": 0.5,
                "verdict": "better",
                "sentence": "better by 40 points",
                "p_value": 0.01,
                "test": "mcnemar",
                "difference": cell,
            }
        ],
        "per_class": {"a": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 3}},
        "rows": 10,
        "evaluated_on": "test",
        "confusion": {"pairs": [{"expected": "a", "predicted": "b", "count": 2}]},
        "cost": {"seconds": 3.0},
        "worst_errors": [{"text": "It never came", "expected": "a", "predicted": "b", "score": 0.9, "line": 3}],
    }


def step(number: int) -> dict[str, Any]:
    """What is measured at a step; every tenth is also validated."""
    data: dict[str, Any] = {"step": number, "total_steps": 40, "train_loss": 2 / number, "learning_rate": 1e-4 / number}
    if number % 10 == 0:
        data |= {"valid_loss": 2.2 / number, "valid_metric": 1 - 1 / number, "valid_metric_name": "accuracy"}
    return data


@pytest.fixture(scope="module")
def filled(site: Site) -> Site:
    """A server with something in every list."""
    steps = [NewEvent(f"step:{i}", f"Step {i}", type="metrics", data=step(i)) for i in range(1, 41)]
    site.job(status="running", step=40, total_steps=100, metadata={"name": "under way"}, events=steps)
    wrong = {"code": "invalid_training_file", "message": "Line 3 has no label."}
    site.job(status="failed", error=wrong, metadata={"name": "broken"})
    done = site.reported(report(), metadata={"name": "finished"}, events=steps)
    site.state.extras["done"] = done.id
    site.state.extras["auto"] = automatic(site).id
    return site


def automatic(site: Site) -> Job:
    """An automatic run under way: candidates in every state, one with a long error."""
    told = [
        ("linear head", "complete", 1, 1, 0.812, ""), ("pairs, full", "complete", 6, 6, 0.874, ""),
        ("full", "paused", 3, 9, 0.861, ""), ("lora, rank 16, rate x 0.667", "running", 2, 9, 0.842, ""),
        ("full, 3 of 6 layers frozen", "failed", 0, 9, None, "training diverged: the loss of step 12 is not a number."),
    ]  # fmt: skip
    events = [
        NewEvent(f"part:{n}:{state}", f"{name} {state}", data={"part": str(n), "about": {
            "number": n, "name": name, "state": state, "epoch": epoch, "epochs": epochs, "value": value,
            "seconds": 10.0 * n, "error": error, "metric": "accuracy", "best": 1, "published": 1,
            "elapsed": 8.0 + 20 * n, "higher_is_better": True,
        }})
        for n, (name, state, epoch, epochs, value, error) in enumerate(told)
    ]  # fmt: skip
    recipe = {"task": "classify", "data": {"train": "file-x"}, "auto": {"budget": 600.0}}
    return site.job(
        id=new_id("auto-"), kind="auto", status="running", recipe=recipe, step=4, total_steps=5, events=events,
        metadata={"name": "Support mails"}, estimated_finish=int(time.time()) + 420,
    )  # fmt: skip


def auto_path(site: Site) -> str:
    return f"/autos/{site.state.extras['auto']}"


def run_path(site: Site) -> str:
    return f"/runs/{site.state.extras['done']}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(filled: Site, open_page: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    visit: Visit = open_page(filled.base_url, filled.secret, scheme=scheme)
    visit.expected = ("404",)
    for path in (*PATHS, run_path(filled), auto_path(filled)):
        visit.go(path).settled()
        if path == run_path(filled):
            visit.page.wait_for_selector("#report .verdict")
            visit.page.wait_for_selector("[data-drawn]")
        if path == auto_path(filled):
            visit.page.wait_for_selector("#candidates table")
        found = axe.run(visit.page, options={"resultTypes": ["violations"]}).response["violations"]
        told = [
            f"{path} {scheme} {one['id']}: {one['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
            for one in found
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]
        assert not told, "\n".join(told)
        visit.shot(f"{path.strip('/').replace('/', '-')[:12] or 'home'}-{scheme}")
    visit.clean()


@pytest.mark.parametrize("viewport", [NARROW, WIDE, LARGE], ids=["360", "1360", "4k"])
def test_no_page_scrolls_sideways(filled: Site, open_page: Any, viewport: dict[str, int]) -> None:
    visit: Visit = open_page(filled.base_url, filled.secret, viewport=viewport)
    visit.expected = ("404",)
    for path in (*PATHS, run_path(filled), auto_path(filled)):
        visit.go(path).settled()
        over = visit.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        assert over <= 0, f"{path} is {over} px too wide at {viewport['width']}"
        if viewport is NARROW:
            visit.shot(f"{path.strip('/').replace('/', '-')[:12] or 'home'}-narrow")
    visit.clean()


def test_a_chosen_theme_stays(filled: Site, open_page: Any) -> None:
    visit: Visit = open_page(filled.base_url, filled.secret, scheme="light")
    visit.go("/settings").settled()
    before = visit.page.evaluate("() => getComputedStyle(document.body).color")
    visit.page.select_option("#theme", "dark")
    visit.go("/runs").settled()
    assert visit.page.evaluate("() => getComputedStyle(document.body).color") != before
    visit.clean()


def test_the_menu_opens_by_keys_on_narrow_screens(filled: Site, open_page: Any) -> None:
    visit: Visit = open_page(filled.base_url, filled.secret, viewport=NARROW)
    visit.go("/").settled()
    assert not visit.page.is_visible("#navigation")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("() => document.activeElement.className") == "skip"
    visit.page.focus(".menu-button")
    visit.page.keyboard.press("Enter")
    assert visit.page.is_visible("#navigation")
    visit.page.keyboard.press("Escape")
    assert not visit.page.is_visible("#navigation")
    visit.clean()


def test_a_run_is_found_and_read_by_keys_alone(filled: Site, visit: Visit) -> None:
    visit.expected = ("404",)
    visit.go("/").settled()
    press = visit.page.keyboard.press

    def tab_to(words: str) -> None:
        for _ in range(80):
            press("Tab")
            if visit.page.evaluate("() => document.activeElement?.textContent.trim()") == words:
                outline = visit.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"nobody sees that {words!r} has the focus"
                return
        raise AssertionError(f"Tab never came to {words!r}")

    tab_to("Runs")
    press("Enter")
    visit.page.wait_for_url("**/runs")
    visit.settled()
    tab_to("finished")
    press("Enter")
    visit.page.wait_for_url("**/runs/ftjob-*")
    visit.settled()
    tab_to("Numbers")
    press("ArrowRight")
    assert visit.page.evaluate("() => document.activeElement.textContent") == "Labels"
    assert visit.page.is_visible("role=tabpanel >> text=What it mixes up >> nth=0")
    visit.clean()
