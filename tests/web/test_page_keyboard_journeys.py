"""From a key to an endpoint without a mouse: every step by keys alone, and the place of the focus seen at each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Visit
from live import Live
from test_page_journeys import WORDS, csv_file

MOST_TABS = 140
AT = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const label = one.labels?.[0]?.innerText ?? "";
  const name = (one.getAttribute("aria-label") || label || one.innerText || one.value || "").trim();
  const ringed = [one, one.closest(".choice")].filter(Boolean).some((each) => {
    const style = getComputedStyle(each);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  });
  const box = (one.closest(".choice") ?? one).getBoundingClientRect();
  const above = document.elementFromPoint(box.left + Math.min(box.width, innerWidth - box.left) / 2,
                                          box.top + Math.min(box.height, innerHeight - box.top) / 2);
  const seen = above !== null && (one.contains(above) || (one.closest(".choice") ?? above).contains(above));
  return {name: name.split("\\n")[0], ringed, seen, positive: one.tabIndex > 0, html: one.outerHTML.slice(0, 160)};
}"""


@pytest.fixture(scope="module")
def served(toy_home: Path) -> Iterator[Live]:
    server = Live(toy_home).start()
    yield server
    server.stop()


class Keys:
    """A person who has a keyboard alone. Where the focus goes unseen, or does not move on, the step fails."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def type(self, words: str) -> None:
        self.page.keyboard.type(words)

    def at(self) -> str:
        """The name of what has the focus; it must be seen to have it."""
        found = self.page.evaluate(AT)
        if found is None:
            return ""
        assert found["ringed"], f"nobody sees that this has the focus: {found['html']}"
        assert found["seen"], f"this has the focus, and is out of sight: {found['html']}"
        assert not found["positive"], f"this jumps the queue: {found['html']}"
        return str(found["name"])

    def to(self, name: str, *, key: str = "Tab") -> None:
        """Go on until what begins with these words has the focus."""
        passed = []
        for _ in range(MOST_TABS):
            if self.at().startswith(name):
                return
            self.press(key)
            passed.append(self.page.evaluate("() => document.activeElement.outerHTML.slice(0, 80)"))
            assert len(passed) < 3 or len(set(passed[-3:])) > 1, f"the focus is caught at {passed[-1]}"
        raise AssertionError(f"never came to {name!r}, but to {passed}")

    def content(self) -> None:
        """From the top of a new page past its menu."""
        self.to("Skip to the content")
        self.press("Enter")
        self.page.wait_for_function("() => document.activeElement.id === 'content'")
        self.press("Tab")


def test_from_a_key_to_an_endpoint_by_keys_alone(served: Live, open_page: Any, tmp_path: Path) -> None:
    visit: Visit = open_page(served.base_url, None)
    page, keys = visit.page, Keys(visit.page)
    page.emulate_media(reduced_motion="reduce")  # scrolled at once: what has the focus is looked for right after a key
    page.on("filechooser", lambda _: None)  # Playwright catches choosers from here on, and not a moment too late
    visit.go("/")  # the address, which is typed as well
    page.wait_for_url("**/login*")
    page.wait_for_function("() => document.activeElement.id === 'key'")
    keys.at()
    keys.type("lu-wrong")
    keys.press("Enter")
    page.wait_for_selector("#key-wrong:not(:empty)")
    page.wait_for_function("() => document.activeElement.id === 'key'")  # selected: typing goes on from there
    keys.type(served.key)
    keys.press("Enter")
    page.wait_for_url("**/")
    visit.settled()

    keys.to("Data")
    keys.press("Enter")
    page.wait_for_url("**/data")
    visit.settled()
    keys.content()
    keys.to("Choose a file")
    with page.expect_file_chooser() as chooser:
        keys.press("Enter")
    chooser.value.set_files(csv_file(tmp_path))  # the system's own dialog
    page.wait_for_url("**/data/ds_*")
    page.wait_for_selector("text=the parcel was good and good number 0")
    keys.content()
    keys.to("Rows")
    keys.press("ArrowRight")
    assert keys.at().startswith("Findings")
    page.wait_for_selector("role=tabpanel >> summary >> text=/repeat|duplicate/i >> nth=0")
    page.wait_for_selector("role=tab[name=/Findings \\(/]")
    keys.press("Tab")
    keys.press("Tab")
    while page.evaluate("() => document.activeElement.tagName") != "SUMMARY":
        keys.at()
        keys.press("Tab")
    keys.at()
    was = page.evaluate("() => document.activeElement.parentElement.open")
    keys.press("Enter")
    assert page.evaluate("() => document.activeElement.parentElement.open") is not was
    keys.to("Train on it", key="Shift+Tab")
    keys.press("Enter")

    page.wait_for_url("**/new?*")
    page.wait_for_selector("text=fits your data")
    page.wait_for_selector("input[name=model][value=toy]")
    keys.content()
    keys.to("The usual one")
    while page.evaluate("() => document.activeElement.value") != "toy":
        keys.press("ArrowDown")
        keys.at()
    page.wait_for_selector("pre >> text=model: toy")
    assert page.evaluate("() => document.activeElement.value") == "toy"  # what was drawn anew has kept the focus
    keys.to("Name of the run")
    keys.type("by keys")
    page.wait_for_selector("#start:not([disabled])")
    keys.to("Start training")
    keys.press("Enter")
    page.wait_for_url("**/runs/ftjob-*")
    address = page.url
    page.wait_for_selector("#report .verdict")

    keys.to("Runs")
    keys.press("Enter")
    page.wait_for_url("**/runs")
    visit.settled()
    keys.content()
    keys.to("by keys")
    keys.press("Enter")
    page.wait_for_url(address)
    page.wait_for_selector("#report .verdict")
    keys.content()
    keys.to("Try it")
    keys.press("Enter")
    page.wait_for_url("**/try?*")
    page.wait_for_selector(".model-column select")
    keys.to("What to ask")
    keys.type("the parcel was broken and late")
    keys.press("Enter")
    page.wait_for_selector(".answer-label")
    assert page.inner_text(".answer-label") in WORDS

    keys.to("Models")
    keys.press("Enter")
    page.wait_for_url("**/models")
    visit.settled()
    keys.content()
    keys.to("Deploy a model")
    keys.press("Enter")
    page.wait_for_selector("dialog")
    keys.to("Name")
    keys.type("by-keys")
    keys.to("Deploy")
    keys.press("Enter")
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector("#endpoints >> text=Running")
    visit.shot("keyboard-endpoint")
    assert keys.at() != "", "the focus is back in the page"

    keys.to("Log out")
    keys.press("Enter")
    page.wait_for_url("**/login")
    visit.go("/runs")
    page.wait_for_url("**/login?*")
    visit.expected = ("401",)
    visit.clean()
