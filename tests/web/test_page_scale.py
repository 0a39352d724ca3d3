"""10,000 runs and long lists: what is in the document and what is asked for does not grow with them."""

from __future__ import annotations

import pytest
from browsing import Visit
from site_in_thread import Site

from luthier.jobs.ids import new_id

RUNS = 10_000
MILLION = 1_000_000
MOST_ELEMENTS = 2_500
MOST_MS = 4_000


@pytest.fixture(scope="module")
def crowded(site: Site) -> Site:
    """A project with 10,000 runs, written past the queue's limits."""
    first = site.job(status="failed", error={"code": "x", "message": "No."}, metadata={"name": "the first"})
    from sqlalchemy import insert, select

    from luthier.jobs.tables import jobs

    with site.store.database.write() as connection:
        row = dict(connection.execute(select(jobs).where(jobs.c.id == first.id)).mappings().one())
        row.pop("number", None)
        connection.execute(insert(jobs), [{**row, "id": new_id("ftjob-")} for _ in range(RUNS)])
    return site


def test_lists_of_ten_thousand_runs_stay_fast(crowded: Site, visit: Visit) -> None:
    for path, most in (("/", 8), ("/runs", 3), ("/compare", 3), ("/try", 4)):
        visit.requests.clear()
        visit.go(path).settled()
        asked = [one for one in visit.requests if "/v1/" in one]
        assert len(asked) <= most, (path, asked)
        assert visit.page.evaluate("() => document.querySelectorAll('*').length") < MOST_ELEMENTS
        ready = visit.page.evaluate("() => performance.now()")
        assert ready < MOST_MS, (path, ready)
    visit.clean()


def test_pages_of_runs_are_turned(crowded: Site, visit: Visit) -> None:
    visit.go("/runs").settled()
    first = visit.page.inner_text("table tbody tr >> nth=0")
    assert visit.page.locator("table tbody tr").count() == 25
    for page in (2, 3):
        visit.page.click("text=Next")
        visit.page.wait_for_selector(f"text=Page {page}")
    visit.page.click("text=Back")
    visit.page.click("text=Back")
    visit.page.wait_for_selector("text=Page 1")
    assert visit.page.locator("table tbody tr").count() == 25
    assert visit.page.inner_text("table tbody tr >> nth=0") == first
    visit.clean()


def test_a_page_is_painted_at_once(crowded: Site, visit: Visit) -> None:
    visit.go("/runs").settled()
    painted = []
    for _ in range(3):
        visit.go("/").settled()
        painted.append(visit.page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    assert min(painted) < 300, painted


@pytest.mark.slow
def test_a_million_rows_are_paged_and_searched(site: Site, visit: Visit) -> None:
    lines = (f'{{"text": "row number {i} of many", "label": "{"ab"[i % 2]}"}}\n' for i in range(1, MILLION + 1))
    file = site.client().files.create(file=("many.jsonl", "".join(lines).encode()), purpose="fine-tune")
    answer = site.http_post("/luthier/v1/datasets", {"file_id": file.id})
    assert answer.status_code == 200, answer.text
    visit.go(f"/data/{answer.json()['id']}")
    visit.page.wait_for_selector("text=Rows 1 to 25 of 1,000,000")
    began = visit.page.evaluate("() => performance.now()")
    visit.page.fill(".go", str(MILLION - 3))
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("text=Rows 999,997 to 1,000,000 of 1,000,000")
    assert visit.page.evaluate("() => performance.now()") - began < MOST_MS
    visit.page.fill("input[type=search]", "number 777777 ")
    visit.page.wait_for_selector("text=row number 777777 of many")
    assert visit.page.evaluate("() => document.querySelectorAll('*').length") < MOST_ELEMENTS
    visit.clean()
