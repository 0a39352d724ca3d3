"""Row 67: whatever stands in a name, a label, a text, an error or metadata is shown as text, and nothing of it runs."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from browsing import Visit
from hostile_texts import CORPUS, SHORT
from site_in_thread import Site
from sqlalchemy import insert

from luthier.jobs import tables
from luthier.jobs.ids import new_id
from luthier.jobs.records import Endpoint, NewEvent


def report(texts: tuple[str, ...]) -> dict[str, Any]:
    """A report all of whose texts are hostile."""
    cell = {"value": 0.9, "low": 0.8, "high": 0.95}
    return {
        "task": "classify",
        "verdict": texts[0],
        "primary_metric": texts[1],
        "metrics": dict.fromkeys(texts[1:4], cell),
        "baselines": {texts[4]: {texts[1]: cell}},
        "warnings": list(texts[:4]),
        "rows": 10,
        "evaluated_on": "test",
        "comparisons": [
            {
                "name": texts[5],
                "metric": texts[1],
                "ours": 0.9,
                "theirs": 0.5,
                "verdict": "better",
                "sentence": texts[6],
                "p_value": 0.01,
                "test": "mcnemar",
                "difference": cell,
            }
        ],
        "per_class": {text: {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 3} for text in texts},
        "confusion": {"pairs": [{"expected": a, "predicted": b, "count": 2} for a, b in itertools.pairwise(texts)]},
        "worst_errors": [
            {"text": text, "expected": text, "predicted": text, "score": 0.9, "line": 3} for text in texts
        ],
        "overfitting": {"sentence": texts[7]},
        "cost": {"seconds": 3.0, "tokens": 5},
        "environment": {"processor": texts[2]},
        "data": {"rows": {texts[3]: 4}},
    }


@pytest.fixture(scope="module")
def hostile(site: Site) -> Site:
    """A store where every text that a client can put in is hostile."""
    texts = CORPUS
    events = [NewEvent(f"m:{i}", text, level=("info", "warn", "error")[i % 3]) for i, text in enumerate(texts)]
    events.append(
        NewEvent(
            "samples:0",
            "Samples",
            data={
                "step": 0,
                "samples": [
                    {"prompt": text, "reference": text, "output": text, "finish_reason": "stop"} for text in texts
                ],
            },
        )
    )
    for i, text in enumerate(SHORT):
        site.job(
            status="failed",
            suffix="x",
            metadata={"name": text, "dataset": text, "dataset_name": text},
            error={"code": "x", "message": text},
            model=text,
            task=("classify", text)[i % 2],
            chosen={"epochs": text, "learning_rate": text},
            events=events if i == 0 else (),
        )
    first = site.reported(
        report(texts), metadata={"name": texts[0]}, fine_tuned_model=f"ft:minilm:local:{SHORT[1]}:abc"
    )
    site.state.extras["hostile"] = first.id
    now = first.created_at
    models: list[dict[str, Any]] = []
    for i, text in enumerate(SHORT):
        name = f"ft:minilm:local:{text}:{i}"
        models.append(
            {
                "name": name,
                "project_id": site.project,
                "job_id": first.id,
                "base_model": "minilm",
                "task": "classify",
                "method": "full",
                "artefact": f"models/{i}",
                "created_at": now,
            }
        )
        site.store.endpoints.create(Endpoint(new_id("ep_"), site.project, f"endpoint-{i}", text, "running", 600, now))
        site.store.keys.create(site.project, text.replace("\u2028", "").replace("\u2029", "")[:60], "read")
    with site.store.database.write() as connection:
        connection.execute(insert(tables.models), models)
    rows = "".join(json.dumps({"text": text, "label": text[:60]}) + "\n" for text in texts for _ in range(2))
    names = ",".join(f'"{text[:40]}"'.replace('"', "'") for text in SHORT[:3])
    broken = "".join(text + "\n" for text in texts)
    for name, content in ((SHORT[1], rows), ("broken.jsonl", broken), ("head.csv", f"{names}\na,b,c\n")):
        file = (name if "." in name else f"{name}.jsonl", content.encode())
        made = site.client().files.create(file=file, purpose="fine-tune")
        answer = site.http_post("/luthier/v1/datasets", {"file_id": made.id, "name": name.strip() or "x"})
        assert answer.status_code in (200, 400), answer.text
    return site


FOREIGN = "() => document.querySelectorAll('iframe, script:not([src]), base, style:not([id^=plotly])').length"
ADDRESSES = """() => [...document.querySelectorAll('[href], [src], [action]')]
    .map(e => e.getAttribute('href') ?? e.getAttribute('src') ?? e.getAttribute('action'))
    .filter(address => /^\\s*javascript:/i.test(address)).length"""


def nothing_ran(visit: Visit) -> None:
    """No script of the corpus ran, no element of it was made, and nothing else went wrong."""
    assert visit.page.evaluate("() => window.pwned") is None
    assert visit.page.evaluate(FOREIGN) == 0
    assert visit.page.evaluate(ADDRESSES) == 0
    visit.clean()


@pytest.mark.parametrize(
    "path",
    ["/", "/runs", "/data", "/models", "/settings", "/try", "/new", "/compare", "/autos", "/searches", "/decisions"],
)
def test_lists_show_texts_as_texts(hostile: Site, visit: Visit, path: str) -> None:
    visit.go(path).settled()
    visit.page.wait_for_timeout(300)
    nothing_ran(visit)


def test_a_run_shows_texts_as_texts(hostile: Site, visit: Visit) -> None:
    visit.expected = ("404",)  # no answers are kept for this job
    visit.go(f"/runs/{hostile.state.extras['hostile']}").settled()
    visit.page.wait_for_selector("#report .verdict")
    assert CORPUS[0] in visit.page.inner_text("#report")
    for tab in visit.page.get_by_role("tab").all():
        tab.click()
    visit.page.wait_for_timeout(300)
    nothing_ran(visit)
    page = hostile.store.jobs.list(hostile.project, None, 50)
    named = [job for job in page.items if job.metadata.get("name") == SHORT[0]]
    failed = next(job for job in named if job.status == "failed")
    visit.go(f"/runs/{failed.id}").settled()
    visit.page.wait_for_selector(f"text={CORPUS[5]}")
    visit.page.wait_for_selector("#events li >> nth=10")
    assert CORPUS[1] in visit.page.inner_text("#events")
    nothing_ran(visit)


def trial(text: str, number: int) -> dict[str, Any]:
    """A trial of a search whose texts are hostile."""
    params = {"train.learning_rate_multiplier": 1.0 + number, "train.schedule": text}
    state = ("complete", "failed", "pruned")[number % 3]
    return {
        "number": number, "state": state, "params": params, "epochs": 3, "epoch": 1, "value": 0.5 + number / 100,
        "seconds": 1.0, "error": text, "is_best": number == 1, "metric": text,
    }  # fmt: skip


def arm(text: str) -> dict[str, Any]:
    """An arm of a decision whose texts are hostile."""
    cell = {"value": 0.5, "low": 0.4, "high": 0.6}
    cost = {"build_seconds": 1.0, "build": 0.1, "per_1000": 0.2, "prompt_tokens": 1, "completion_tokens": 1}
    return {
        "name": text, "family": "prompt", "detail": text, "state": "measured", "why": text, "rows": 3,
        "metrics": {"accuracy": cell}, "metric": "accuracy", "cost": cost, "latency_ms": 3.0, "changes": None,
    }  # fmt: skip


def candidate(text: str, number: int) -> dict[str, Any]:
    """A candidate of an automatic run whose texts are hostile."""
    state = ("complete", "failed", "paused", "running")[number % 4]
    return {
        "number": number, "name": text, "state": state, "epochs": 3, "epoch": 1, "value": 0.5 + number / 100,
        "seconds": 1.0, "error": text, "metric": text, "best": 1, "published": 1, "elapsed": 1.0 + number,
        "higher_is_better": True,
    }  # fmt: skip


def part_events(parts: list[dict[str, Any]]) -> list[NewEvent]:
    """The events by which a worker tells of parts."""
    return [
        NewEvent(f"part:{i}:done", CORPUS[i], data={"part": str(i), "about": part}) for i, part in enumerate(parts)
    ]  # fmt: skip


def test_jobs_of_many_parts_show_texts_as_texts(site: Site, visit: Visit) -> None:
    searched = {
        "task": "classify", "data": {"train": "file-x"}, "search": {"trials": 5},
        "train": {"learning_rate_multiplier": {"search": {"low": 0.1, "high": 30.0}},
                  "schedule": {"search": ["cosine", "linear"]}},
    }  # fmt: skip
    told = {"metadata": {"name": CORPUS[0]}, "result": {"verdict": CORPUS[1], "warnings": list(CORPUS)}}
    trials = part_events([trial(text, i) for i, text in enumerate(CORPUS)])
    search = site.job(id=new_id("search-"), kind="search", recipe=searched, status="running", events=trials, **told)
    decided = {"task": "classify", "data": {"train": "file-x"}, "decide": {"budget": 10}}
    arms = part_events([arm(text) for text in SHORT])
    decision = site.job(id=new_id("decision-"), kind="decision", recipe=decided, status="running", events=arms, **told)
    chosen = {"task": "classify", "data": {"train": "file-x"}, "auto": {"budget": 60.0}}
    candidates = part_events([candidate(text, i) for i, text in enumerate(CORPUS)])
    auto = site.job(id=new_id("auto-"), kind="auto", recipe=chosen, status="running", events=candidates, **told)
    for path, shown in (
        (f"/searches/{search.id}", "#trials"), (f"/decisions/{decision.id}", "#arms"),
        (f"/autos/{auto.id}", "#candidates"),
    ):  # fmt: skip
        visit.go(path).settled()
        visit.page.wait_for_selector(f"{shown} table")
        visit.page.locator(".plot").first.scroll_into_view_if_needed()
        visit.page.wait_for_selector("[data-drawn]")
        assert CORPUS[0] in visit.page.inner_text(shown)
        nothing_ran(visit)


def test_a_models_details_show_texts_as_texts(hostile: Site, visit: Visit) -> None:
    visit.expected = ("404", "400", "409")
    visit.go("/models").settled()
    for button in visit.page.get_by_role("button", name="Details").all()[:6]:
        button.click()
        visit.page.wait_for_timeout(150)
        for tab in visit.page.locator("dialog").get_by_role("tab").all():
            tab.click()
        visit.page.keyboard.press("Escape")
        nothing_ran(visit)


def test_a_data_set_shows_texts_as_texts(hostile: Site, visit: Visit) -> None:
    project = hostile.store.datasets.list(hostile.project, None, 10)
    assert project.items
    for dataset, _ in project.items:
        visit.go(f"/data/{dataset.id}").settled()
        for tab in visit.page.get_by_role("tab").all():
            tab.click()
        visit.page.wait_for_timeout(200)
        nothing_ran(visit)


@pytest.mark.parametrize("text", SHORT[:8])
def test_addresses_are_read_as_texts(hostile: Site, visit: Visit, text: str) -> None:
    visit.expected = ("404", "400")
    query = "/try?model=" + "".join(f"%{byte:02x}" for byte in text.encode())
    visit.go(query).settled()
    nothing_ran(visit)


def test_the_login_leads_nowhere_else(site: Site, open_page: Any) -> None:
    for target in ("//evil.example/", "/\\evil.example", "https://evil.example", "javascript:alert(1)"):
        visit = open_page(site.base_url, None)
        visit.go(f"/login?next={target}")
        visit.page.fill("#key", site.secret)
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_url(site.base_url + "/")
        nothing_ran(visit)
