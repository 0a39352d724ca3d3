"""Where a run is mirrored: a link to the operator's server, and only to an address of the web."""

from __future__ import annotations

from browsing import Visit
from site_in_thread import Site

from luthier.jobs.records import NewEvent


def mirrored(place: str, kind: str) -> NewEvent:
    return NewEvent(f"message:{kind}", f"Mirrored to {kind}", data={"tracking": {"kind": kind, "place": place}})


def test_a_mirror_is_linked_from_the_page_of_its_run(site: Site, visit: Visit) -> None:
    good = "http://mlflow.example:5000/#/experiments/1/runs/abc"
    job = site.job(status="running", step=1, total_steps=9, events=[
        mirrored(good, "MLflow"), mirrored("javascript:alert(1)", "Weights & Biases"),
    ])  # fmt: skip
    visit.page.goto(f"{site.base_url}/runs/{job.id}")
    link = visit.page.get_by_role("link", name=good)
    link.wait_for()
    assert link.get_attribute("href") == good
    assert "noopener" in (link.get_attribute("rel") or "")
    visit.page.get_by_text("javascript:alert(1)").wait_for()
    assert visit.page.locator('a[href^="javascript"]').count() == 0
