"""What a person does with data, by the pages alone: brings a file, reads what is wrong, mends it, looks at a chat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Visit
from live import Live

WORDS = {"praise": "good great fine love happy", "complaint": "bad poor broken angry late"}
SHOWN = "role=tabpanel"
"""The panel of the chosen tab: the others are hidden, and have no role then."""
DROP = """([name, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name));
  const place = document.querySelector('.drop');
  for (const kind of ['dragenter', 'dragover', 'drop'])
    place.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


def reviews() -> str:
    """60 rows under names of columns of their own; the last ones repeat, hold an address, or nothing."""
    rows = []
    for label, text in WORDS.items():
        words = text.split()
        rows += [f"the parcel was {words[i % 5]} and {words[i // 5 % 5]} in case {i},{label}" for i in range(28)]
    rows += [rows[0], rows[1], "write to jane.doe@example.com about the blue parcel,praise", ",praise"]
    return "review,sentiment\n" + "\n".join(rows) + "\n"


def chats() -> str:
    """Conversations of which the assistant's turns are learned."""
    turns = [("system", "You help."), ("user", "Where is parcel {}?"), ("assistant", "Parcel {} is here.")]
    return "".join(
        json.dumps({"messages": [{"role": role, "content": text.format(i)} for role, text in turns]}) + "\n"
        for i in range(30)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the server's machine that may be read."""
    found = tmp_path_factory.mktemp("shelf")
    (found / "chats.jsonl").write_text(chats())
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Live]:
    """A server that reads paths below `folder`."""
    server = Live(tmp_path_factory.mktemp("data") / "home", "--data-folder", str(folder)).start()
    yield server
    server.stop()


def version(tab: Visit, number: int, rows: int) -> None:
    """The page shows this version."""
    tab.page.wait_for_selector(f"#subtitle >> text=/^Version {number} · {rows}.rows/")


def test_a_dropped_file_is_checked_and_mended_version_by_version(tab: Visit) -> None:
    page = tab.page
    tab.go("/data").settled()
    page.wait_for_selector(".drop")
    page.evaluate(DROP, ["reviews.csv", reviews()])
    page.wait_for_url("**/data/ds_*")
    version(tab, 1, 60)

    page.click("role=tab[name=/Findings \\(\\d+\\)/]")
    page.click("summary:has-text('personal email')")
    line = page.get_by_role("button", name="Open the row of line 60", exact=True).first  # below one line of names
    line.click()
    page.wait_for_selector("dialog >> text=write to jane.doe@example.com")
    assert page.inner_text("dialog h2") == "Row 59"
    assert "Line 60 of the file" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    assert page.inner_text(SHOWN).count("Line") >= 1

    page.click("role=button[name='Apply Leave out duplicates']")
    version(tab, 2, 58)
    page.click("role=button[name='Apply Leave out rows with empty text']")
    version(tab, 3, 57)
    page.click("summary >> text=Name the columns")
    page.select_option("label:text-is('text') + select", "review")
    page.select_option("label:text-is('label') + select", "sentiment")
    page.click("role=button[name=Rename] >> nth=-1")
    version(tab, 4, 57)
    page.wait_for_selector("summary >> text=Leave out rows by number")
    page.click("summary >> text=Leave out rows by number")
    page.get_by_role("textbox", name="Rows").fill("57, 1-2")
    page.click("role=button[name='Leave out']")
    version(tab, 5, 54)
    page.wait_for_selector("role=tabpanel >> text=/Nothing wrong was found|near duplicate/")

    page.click("role=tab[name=Rows]")
    assert page.inner_text("thead >> nth=0").split() == ["Row", "text", "label"]
    page.fill("input[type=search]", "IN CASE 27")
    page.wait_for_selector("text=Rows 26 to 54 of 54")
    page.click("role=button[name='Open row 54']")
    page.click("dialog >> text=Correct it")
    page.fill("dialog textarea >> nth=1", "praise")
    page.click("dialog >> text=Keep as a new version")
    version(tab, 6, 54)

    page.click("role=tab[name=Versions]")
    told = page.inner_text(SHOWN)
    for words in ("from an uploaded file", "columns renamed", "3\u00a0rows left out", "1\u00a0row corrected"):
        assert words in told, told
    assert told.count("nothing yet") == 6
    tab.shot("data-versions")
    page.click("role=link[name='Version 1']")
    version(tab, 1, 60)
    page.wait_for_selector("text=the parcel was good and good in case 0")
    page.click("text=Train on the newest")
    page.wait_for_selector("#data-facts >> text=text, label")
    tab.clean()


def test_a_chat_of_the_servers_folder_shows_what_is_learned(tab: Visit, folder: Path) -> None:
    page = tab.page
    tab.go("/data").settled()
    page.get_by_label("A path on the server").fill(str(folder / "nothing.csv"))
    page.click("text=Take it")
    page.wait_for_selector(".toast >> text=There is no such file")
    page.get_by_label("A path on the server").fill(str(folder / "chats.jsonl"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/data/ds_*")
    version(tab, 1, 30)
    page.click("role=button[name='Open row 7']")
    page.wait_for_selector("dialog .bubble >> nth=2")
    assert page.locator("dialog .bubble").all_inner_texts() == [
        "system\nYou help.", "user\nWhere is parcel 6?", "assistant\nParcel 6 is here.",
    ]  # fmt: skip
    page.wait_for_selector("dialog .token.learned")
    learned = "".join(page.locator("dialog .token.learned").all_text_contents())
    assert learned.startswith("Parcel 6 is here.")
    others = "".join(page.locator("dialog .token:not(.learned)").all_text_contents())
    assert "Where is parcel 6?" in others
    assert "is here" not in others
    colours = [
        page.locator(f"dialog .token{which}").first.evaluate("one => getComputedStyle(one).backgroundColor")
        for which in (".learned", ":not(.learned)")
    ]
    assert colours[0] != colours[1]
    tab.shot("data-chat-row")
    page.click("dialog >> text=Leave it out")
    version(tab, 2, 29)
    tab.expected = ("400", "404")
    tab.clean()
