"""Somebody who asks a server for searches, decisions and automatic runs, and tells of their parts as workers do."""

from __future__ import annotations

import json
from typing import Any

from wire import Wire, chat_rows, class_rows

from luthier.jobs.records import Claim, NewEvent

SEARCHED = {"train": {"learning_rate": {"search": {"low": 1e-4, "high": 1e-2, "log": True}}, "epochs": 3},
            "method": {"kind": "lora", "rank": {"search": [4, 8]}}}  # fmt: skip


class Asking:
    """A server, its files, and somebody who asks."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.headers = {"authorization": f"Bearer {wire.key('write')}"}
        files = wire.client().files
        self.rows = files.create(file=("films.csv", class_rows()), purpose="fine-tune").id
        self.chats = files.create(file=("chats.jsonl", chat_rows()), purpose="fine-tune").id
        self.guide = files.create(file=("guide.md", b"# Guide\nHelp."), purpose="user_data").id

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return self.wire.http.request(method, f"/luthier/v1/{path}", json=body, headers=headers or self.headers)

    def search(self, **recipe: Any) -> Any:
        return self.ask("POST", "searches", {"recipe": {"data": {"train": self.rows}, **SEARCHED, **recipe}})

    def decide(self, **body: Any) -> Any:
        return self.ask("POST", "decisions", {"data": {"train": self.rows}, **body})

    def claim(self, job_id: str) -> Claim:
        self.wire.store.jobs.validated(job_id, {}, [])
        claim = self.wire.queue.claim()
        assert claim is not None
        assert claim.job.id == job_id
        return claim

    def tell(self, claim: Claim, part: str, change: str, about: dict[str, Any], done: int) -> None:
        event = NewEvent(f"part:{part}:{change}", "Part", data={"part": part, "about": about})
        self.wire.queue.record(claim, [event], step=done, total_steps=4)

    def finish(self, claim: Claim, **files: Any) -> None:
        folder = self.wire.settings.home / "made" / claim.job.id
        folder.mkdir(parents=True)
        for name, value in files.items():
            name = name.replace("_", ".")
            (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
        self.wire.artefacts.put_folder(f"found/{claim.job.id}", folder)
        result = {"folder": f"found/{claim.job.id}", "verdict": "Good.", "metrics": {"accuracy": 0.8}}
        self.wire.queue.finish(claim, "succeeded", events=[], result=result)

    def auto(self, **body: Any) -> Any:
        return self.ask("POST", "autos", {"data": {"train": self.rows}, **body})
