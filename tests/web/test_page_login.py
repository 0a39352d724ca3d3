"""Logging in and out, and what a page may do with the session."""

from __future__ import annotations

from typing import Any

from browsing import Visit
from site_in_thread import Site


def test_a_key_opens_the_page_that_was_asked_for(site: Site, open_page: Any) -> None:
    visit: Visit = open_page(site.base_url, None)
    visit.expected = ("401",)
    visit.go("/runs?x=1")
    assert visit.page.url.endswith("/login?next=%2Fruns%3Fx%3D1")
    visit.page.fill("#key", "lu-" + "x" * 43)
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#key-wrong:not(:empty)")
    assert visit.page.get_attribute("#key", "aria-invalid") == "true"
    visit.page.fill("#key", site.secret)
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url("**/runs?x=1")
    (cookie,) = visit.page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert site.secret not in visit.page.content()
    visit.settled().clean()


def test_logging_out_ends_the_session(site: Site, visit: Visit) -> None:
    visit.go("/settings").settled()
    visit.page.click("#logout")
    visit.page.wait_for_url("**/login")
    visit.go("/settings")
    assert "/login?next=%2Fsettings" in visit.page.url


def test_a_session_that_ended_leads_to_the_login(site: Site, open_page: Any) -> None:
    key, secret = site.store.keys.create(site.project, "short", "write")
    visit: Visit = open_page(site.base_url, secret)
    visit.expected = ("401",)
    visit.go("/runs").settled()
    site.store.keys.revoke(site.project, key.id)
    visit.page.reload()
    visit.page.wait_for_url("**/login?next=%2Fruns")


def test_a_reading_key_is_shown_nothing_it_may_not_do(site: Site, open_page: Any) -> None:
    secret = site.key("read")
    job = site.job(status="running", metadata={"name": "watched"})
    visit: Visit = open_page(site.base_url, secret)
    visit.go(f"/runs/{job.id}").settled()
    assert visit.page.get_by_role("button", name="Cancel").count() == 0
    visit.go("/settings").settled()
    assert not visit.page.is_visible("#new-key")
    visit.go("/models").settled()
    assert not visit.page.is_visible("#deploy")
    visit.go("/data").settled()
    assert visit.page.get_by_role("button", name="Choose a file").count() == 0
    visit.clean()
