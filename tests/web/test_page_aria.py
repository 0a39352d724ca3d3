"""What a screen reader is given: every control by its name, headings in order, tables with heads, news aloud."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from browsing import Visit
from site_in_thread import Site
from test_page_hostile import arm, part_events, trial
from test_page_layout import PATHS, automatic, report, step

from luthier.jobs.ids import new_id
from luthier.jobs.records import Endpoint, NewEvent

NAMED = (
    "button|link|textbox|searchbox|spinbutton|combobox|checkbox|radio|slider|tab|tabpanel|tablist|table|img|progressbar|"
    "dialog|form|navigation"
)
NAMELESS = re.compile(rf'^\s*- (?:{NAMED})(?! ")\b.*$', re.MULTILINE)
HEADING = re.compile(r'- heading (?:".*?(?<!\\)"|/.*/)? ?\[level=(\d)\]')
QUOTED = re.compile(r"^( *- )'(.*)'(?=:|$)")
"""A node whose name holds a colon is quoted as a whole."""
TABLE = re.compile(r'^( *)- table "(.*?)"(.*)$', re.MULTILINE)
WITH_PARTS = ("run", "data", "search", "decision", "auto")
NEWS = {
    "/login": "#key-wrong[role=alert]", "/new": "#forecast[aria-live], #problem[role=alert]",
    "run": "#live[role=status]",
    "data": "[role=tabpanel] [aria-live=polite], [role=tabpanel] [role=status]",
}  # fmt: skip


@pytest.fixture(scope="module")
def places(site: Site) -> dict[str, str]:
    """The address of one page of each kind that shows one thing, on a server with something in every list."""
    steps = [NewEvent(f"step:{i}", f"Step {i}", type="metrics", data=step(i)) for i in range(1, 41)]
    run = site.reported(report(), metadata={"name": "finished"}, events=steps, fine_tuned_model="ft:minilm:local::a")
    site.job(status="running", step=40, total_steps=100, metadata={"name": "under way"}, events=steps)
    now = run.created_at
    site.store.endpoints.create(Endpoint(new_id("ep_"), site.project, "mail", "minilm", "running", 600, now))
    site.store.keys.create(site.project, "laptop", "read")
    rows = "".join(json.dumps({"text": f"parcel {i // 2}", "label": "ab"[i % 2]}) + "\n" for i in range(60))
    file = site.client().files.create(file=("rows.jsonl", rows.encode()), purpose="fine-tune")
    data = site.http_post("/luthier/v1/datasets", {"file_id": file.id, "name": "parcels"}).json()
    space = {"learning_rate_multiplier": {"search": {"low": 0.1, "high": 30.0}}}
    searched = {"task": "classify", "data": {"train": "file-x"}, "search": {"trials": 5}, "train": space}
    decided = {"task": "classify", "data": {"train": "file-x"}, "decide": {"budget": 10}}
    trials, arms = [trial("diverged", i) for i in range(6)], [arm(name) for name in ("majority", "tfidf")]
    parts = [
        (f"/{kind}es" if kind == "search" else f"/{kind}s",
         site.job(id=new_id(f"{kind}-"), kind=kind, recipe=recipe, status="running", events=part_events(events)))
        for kind, recipe, events in (("search", searched, trials), ("decision", decided, arms))
    ]  # fmt: skip
    one = {job.kind: f"{folder}/{job.id}" for folder, job in parts}
    return {"run": f"/runs/{run.id}", "data": f"/data/{data['id']}", "auto": f"/autos/{automatic(site).id}", **one}


def heard(tree: str) -> str:
    """The tree without what lies in a named picture: it is told by that name alone."""
    kept: list[str] = []
    picture: int | None = None
    for written in tree.splitlines():
        line = QUOTED.sub(r"\1\2", written)
        depth = len(line) - len(line.lstrip())
        if picture is not None and depth > picture:
            continue
        picture = depth if line.lstrip().startswith('- img "') else None
        kept.append(line)
    return "\n".join(kept)


def faults(tree: str) -> list[str]:
    """What of a page's tree a person who hears it could not use."""
    tree = heard(tree)
    found = [f"it has no name: {one.strip()}" for one in NAMELESS.findall(tree)]
    levels = [int(level) for level in HEADING.findall(tree)]
    if levels.count(1) != 1 or levels[0] != 1:
        found.append(f"one first heading is wanted: {levels}")
    found += [
        f"a heading of level {after} after one of {before}"
        for before, after in itertools.pairwise(levels)
        if after > before + 1
    ]
    lines = tree.splitlines()
    for number, line in enumerate(lines):
        if (table := TABLE.match(line)) is None:
            continue
        inside = []
        for each in lines[number + 1 :]:
            if len(each) - len(each.lstrip()) <= len(table[1]):
                break
            inside.append(each)
        if not any("- columnheader" in each or "- rowheader" in each for each in inside):
            found.append(f"a table without heads: {table[2]}")
    return found


def ready(visit: Visit, places: dict[str, str], name: str) -> Visit:
    """Open a page and wait for what it shows."""
    visit.expected = ("404",)  # the stored run has a report alone
    visit.go(places.get(name, name)).settled()
    if name in WITH_PARTS:
        shown = {"run": "#report .verdict", "data": "[role=tabpanel] table", "search": "#trials table",
                 "decision": "#arms table", "auto": "#candidates table"}  # fmt: skip
        visit.page.wait_for_selector(shown[name])
    return visit


@pytest.mark.parametrize("name", [*PATHS, *WITH_PARTS])
def test_a_page_can_be_heard(places: dict[str, str], visit: Visit, name: str) -> None:
    page = ready(visit, places, name).page
    assert not (told := faults(page.locator("body").aria_snapshot())), "\n".join(told)
    for number in range(page.locator("main [role=tab]").count()):  # what the other tabs hold
        page.locator("main [role=tab]").nth(number).click()
        visit.settled()
        assert not (told := faults(page.locator("body").aria_snapshot())), f"tab {number}:\n" + "\n".join(told)
    assert page.locator("#toasts[role=status]").count() == 1
    for news in NEWS.get(name, "").split(", ") if name in NEWS else ():
        assert page.locator(news).count() >= 1, f"nobody is told of {news}"
    visit.clean()


@pytest.mark.parametrize(
    ("path", "button"),
    [("/models", "Deploy a model"), ("/models", "Details of mail"), ("/settings", "Make a key"),
     ("run", "Train longer"), ("data", "Open row 1"), ("data", "Rename")],
)  # fmt: skip
def test_a_dialog_can_be_heard(places: dict[str, str], visit: Visit, path: str, button: str) -> None:
    page = ready(visit, places, path).page
    page.get_by_role("button", name=button, exact=True).first.click()
    page.wait_for_selector("dialog")
    visit.settled()
    tree = page.get_by_role("dialog").aria_snapshot()
    assert re.match(r'- dialog ".+"', tree), tree
    assert not NAMELESS.findall(heard(tree)), tree
    visit.clean()


def test_what_is_wrong_with_a_tree_is_found() -> None:
    tree = '- heading "A" [level=1]\n- button\n- heading "B" [level=3]\n- table "T":\n  - rowgroup:\n    - cell "1"\n'
    assert len(faults(tree)) == 3, faults(tree)
    assert len(faults(tree + "- 'img \"Loss: 1\"':\n  - img\n- img\n")) == 4
    assert not faults('- heading "A" [level=1]\n- button "B"\n- table "T":\n  - rowgroup:\n    - columnheader "1"\n')
