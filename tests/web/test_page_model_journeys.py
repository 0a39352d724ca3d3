"""What a person does with a trained model, by the pages alone: it is trained by the curl that New run shows, trained
longer, its checkpoints and itself are asked, corrected, exported, deployed and stopped; programs and keys follow."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml
from browsing import Visit
from live import Live

WORDS = {"praise": "wonderful thank service", "complaint": "torn late broke"}
PANEL = "[role=tabpanel]:not([hidden])"


def rows(folder: Path) -> Path:
    """90 rows with words that the tiny base knows."""
    found = []
    for label, text in WORDS.items():
        words = text.split()
        found += [f"the parcel {words[i % 3]} my account {words[i // 3 % 3]} case {i},{label}" for i in range(45)]
    path = folder / "letters.csv"
    path.write_text("text,label\n" + "\n".join(found) + "\n")
    return path


def chats(folder: Path) -> Path:
    """Conversations for the tiny writer."""
    path = folder / "talk.jsonl"
    turns = [("user", "Where is my parcel {}?"), ("assistant", "Wonderful service {}.")]
    lines = [{"messages": [{"role": role, "content": text.format(i)} for role, text in turns]} for i in range(24)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def served(toy_home: Path) -> Iterator[Live]:
    """A server with two tiny bases: toy reads, writer writes."""
    from tiny_causal import tiny_causal

    tiny_causal(toy_home / "models" / "writer")
    server = Live(toy_home).start()
    yield server
    server.stop()


def set_up(tab: Visit, file: Path, model: str, epochs: int, name: str) -> None:
    """A new run on a file's data set."""
    page = tab.page
    tab.go("/data").settled()
    with page.expect_file_chooser() as chooser:
        page.click("text=Choose a file")
    chooser.value.set_files(file)
    page.wait_for_url("**/data/ds_*")
    page.click("text=Train on it")
    page.wait_for_selector("text=fits your data")
    page.check(f"input[name=model][value={model}]")
    page.fill("#epochs", str(epochs))
    page.fill("#name", name)
    page.wait_for_selector(f"pre >> text=epochs: {epochs}")


def texts(tab: Visit, place: str) -> dict[str, str]:
    """What stands under each tab of programs."""
    found = {}
    for head in tab.page.locator(f"{place} [role=tab]").all():
        head.click()
        found[head.inner_text()] = tab.page.inner_text(f"{place} {PANEL} pre")
    return found


def ran(served: Live, command: list[str]) -> str:
    """What a program says that has the key in its environment."""
    environment = os.environ | {"OPENAI_API_KEY": served.key}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def panel(tab: Visit, name: str) -> None:
    """Choose a tab of the dialog."""
    tab.page.get_by_role("dialog").get_by_role("tab", name=name).click()


def test_one_model_from_the_shown_programs_to_an_endpoint(served: Live, tab: Visit, tmp_path: Path) -> None:
    set_up(tab, rows(tmp_path), "toy", 2, "letters")
    data = the_shown_programs_are_the_run_that_starts(served, tab)
    the_run_goes_on_for_longer(tab)
    a_checkpoint_is_asked_and_corrected(tab)
    what_used_the_data_is_told(tab, data)
    an_export_opens(tab, tmp_path)
    an_endpoint_answers_until_it_is_stopped(served, tab)
    tab.clean()


def the_shown_programs_are_the_run_that_starts(served: Live, tab: Visit) -> str:
    from luthier.cli.main import parse
    from luthier.cli.recipes import recipe_of

    page = tab.page
    told = texts(tab, "#texts")
    recipe = yaml.safe_load(told["Recipe"])
    assert recipe["model"] == "toy"
    assert recipe["train"] == {"epochs": 2}
    [call] = [one for one in ast.walk(ast.parse(told["Python"])) if isinstance(one, ast.Call) and one.keywords]
    assert {str(one.arg): ast.literal_eval(one.value) for one in call.keywords} == recipe
    words = shlex.split(told["Command"].replace("\\\n", " "))
    assert recipe_of(parse(words[1:])).model_dump(exclude_unset=True) == recipe
    job = json.loads(ran(served, ["sh", "-c", told["curl"]]))

    page.wait_for_selector("#start:not([disabled])")
    with page.expect_request("**/luthier/v1/jobs") as sent:
        page.click("#start")
    page.wait_for_url("**/runs/ftjob-*")
    shown = re.search(r"-d '(.*)'\s*$", told["curl"], re.DOTALL)
    assert shown is not None
    assert json.loads(shown[1]) == sent.value.post_data_json
    assert page.url.endswith(job["id"])  # the very same request within a minute is the same job
    page.wait_for_selector("#report .verdict")
    page.wait_for_selector("#events >> text=The job has successfully completed")
    return str(job["metadata"]["dataset"])


def the_run_goes_on_for_longer(tab: Visit) -> None:
    page = tab.page
    first = page.url
    page.click("text=Train longer")
    page.fill("dialog input", "1")
    page.click("dialog >> text=Start")
    page.wait_for_url(lambda address: "/runs/ftjob-" in address and address != first)
    page.wait_for_selector("#report .verdict")
    page.click("text=a run of 2 epochs")
    page.wait_for_url(first)
    page.wait_for_selector("#checkpoints li >> nth=1")


def a_checkpoint_is_asked_and_corrected(tab: Visit) -> None:
    page = tab.page
    page.click("#checkpoints a >> nth=0")
    page.wait_for_url("**/try?model=*ckpt-step-*")
    page.wait_for_selector(".model-column select")
    page.fill("#text", "the parcel torn my account broke")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-label")
    assert page.inner_text(".answer-label") in WORDS
    tab.shot("journey-checkpoint")
    page.click("text=Add to a data set")
    page.fill("dialog input", "question")
    assert page.inner_text("dialog option") == "letters"
    page.click("dialog button:text-is('Add')")
    page.click(".toast a >> text=letters, version 2")
    page.wait_for_url("**/data/ds_*")
    page.wait_for_selector("text=Rows 76 to 91 of 91")
    added = page.locator(f"{PANEL} tbody tr").last.inner_text()
    assert added.split("\t")[1:] == ["the parcel torn my account broke", "question"]


def what_used_the_data_is_told(tab: Visit, data: str) -> None:
    page = tab.page
    assert data in page.url
    page.click("role=tab[name=Versions]")
    newest, first = page.locator(f"{PANEL} tbody tr").all()
    assert "nothing yet" in newest.inner_text()
    assert "1\u00a0row added" in newest.inner_text()
    assert first.inner_text().count("Succeeded") == 2, first.inner_text()
    first.locator("td a").first.click()
    page.wait_for_selector("#report .verdict")


def exported(tab: Visit, form: str, folder: Path) -> Path:
    """Choose a form in the dialog of a model, wait until it was made and compared, and unpack what is downloaded."""
    page = tab.page
    page.select_option("dialog select", form)
    page.click("dialog form button")
    link = page.locator(f"dialog a[download*={form}]")
    link.wait_for()
    with page.expect_download() as got:
        link.click()
    archive = folder / got.value.suggested_filename
    got.value.save_as(archive)
    target = folder / form
    with tarfile.open(archive) as packed:
        packed.extractall(target, filter="data")
    return target


def export_of(tab: Visit, model: str) -> None:
    """Open the part of a model's dialog where exports are made."""
    tab.go("/models").settled()
    tab.page.get_by_role("button", name=re.compile(f"^Details of {model}")).first.click()
    tab.page.wait_for_selector("dialog .lineage >> text=/, version 1/")
    panel(tab, "Export")


def an_export_opens(tab: Visit, folder: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from transformers import AutoModelForSequenceClassification

    export_of(tab, "ft:toy")
    [graph] = exported(tab, "onnx", folder).rglob("model.onnx")
    assert onnxruntime.InferenceSession(graph).get_inputs()
    [weights] = exported(tab, "merged", folder).rglob("model.safetensors")
    model = AutoModelForSequenceClassification.from_pretrained(weights.parent)
    assert set(model.config.label2id) == set(WORDS)
    tab.shot("journey-export")
    tab.page.keyboard.press("Escape")


def a_writers_exports_open(tab: Visit, base: Path, folder: Path) -> None:
    gguf = pytest.importorskip("gguf")
    from peft import PeftModel
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    export_of(tab, "ft:writer")
    [file] = exported(tab, "gguf", folder).rglob("*.gguf")
    reader = gguf.GGUFReader(file)
    assert reader.get_field("general.architecture").contents() == "llama"
    assert {"token_embd.weight", "blk.0.attn_q.weight"} <= {tensor.name for tensor in reader.tensors}
    [weights] = exported(tab, "adapter", folder).rglob("adapter_model.safetensors")
    with safe_open(weights, "pt") as opened:
        added = list(opened.keys())
    assert added
    assert all("lora_" in name for name in added)
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), weights.parent)
    moved = [one for name, one in tuned.named_parameters() if "lora_B" in name]
    assert any(one.abs().sum() > 0 for one in moved), "what was trained is in it"
    tab.shot("journey-export-writer")
    tab.page.keyboard.press("Escape")


def an_endpoint_answers_until_it_is_stopped(served: Live, tab: Visit) -> None:
    page = tab.page
    page.click("#deploy")
    page.fill("dialog input", "mail")
    page.click("dialog >> text=Deploy >> nth=-1")
    page.wait_for_selector("#endpoints >> text=Running")
    page.click("role=button[name='Details of mail']")
    for program, command in (("curl", ["sh", "-c"]), ("Python", [sys.executable, "-c"])):
        panel(tab, program)
        told = page.inner_text(f"dialog {PANEL} pre")
        assert any(label in ran(served, [*command, told]) for label in WORDS)
    page.wait_for_selector("dialog .figures div:has-text('Requests') >> text=/^2$/")  # without being opened again
    assert re.search(r"95 % within\s+\d+\.\d+ s", page.inner_text("dialog .figures"))
    page.wait_for_selector("dialog [data-drawn] >> nth=1")
    tab.shot("journey-traffic")
    page.keyboard.press("Escape")
    page.click("role=button[name='Stop mail']")
    page.wait_for_selector("#endpoints >> text=Stopped")
    answer = httpx.post(
        f"{served.base_url}/luthier/v1/predict", json={"model": "mail", "texts": ["late"]},
        headers={"authorization": f"Bearer {served.key}"},
    )  # fmt: skip
    assert answer.status_code >= 400
    page.click("role=button[name='Start mail']")
    page.wait_for_selector("#endpoints >> text=Running")


# PEFT 0.21 reads a property that transformers 5.23 renamed
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_conversation_is_learned_asked_corrected_and_exported(served: Live, tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    set_up(tab, chats(tmp_path), "writer", 1, "talk")
    page.check("input[name=method][value=lora]")
    page.wait_for_selector("pre >> text=kind: lora")
    page.click("summary >> text=More settings")
    page.fill("#length", "48")
    page.wait_for_selector("pre >> text=max_length: 48")
    page.wait_for_selector("#start:not([disabled])")
    page.click("#start")
    page.wait_for_url("**/runs/ftjob-*")
    page.wait_for_selector("#report .verdict")
    page.wait_for_selector("#samples >> text=Before")
    page.wait_for_selector("#samples >> text=Wanted")
    page.click("text=Try it")
    page.wait_for_selector(".model-column >> nth=1")  # beside its base
    page.click("summary >> text=How models write")
    page.fill("#max-tokens", "12")
    page.fill("#text", "Where is my parcel 3?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn-foot >> nth=1")
    assert page.locator(".turn .notice.wrong").count() == 0
    tab.shot("journey-chat")
    page.click(".turn-foot >> nth=0 >> text=Add to a data set")
    page.fill("dialog textarea", "It waits at the door.")
    page.click("dialog button:text-is('Add')")
    page.click(".toast a >> text=talk, version 2")
    page.wait_for_url("**/data/ds_*")
    page.wait_for_selector("text=It waits at the door.")
    a_writers_exports_open(tab, served.home / "models" / "writer", tmp_path)
    tab.clean()


def test_a_key_is_made_used_and_revoked(served: Live, tab: Visit, open_page: Any) -> None:
    page = tab.page
    tab.go("/settings").settled()
    for words in ("Runs that may wait", "Requests a second", "Largest file"):
        assert re.search(rf"{words}\s+\S", page.inner_text("#storage"))
    page.click("#new-key")
    page.fill("dialog input", "laptop")
    page.select_option("dialog select >> nth=0", "read")
    page.click("dialog >> text=Make it")
    secret = page.inner_text("#fresh code")
    other: Visit = open_page(served.base_url, None)
    other.log_in(secret).settled()
    assert "laptop" not in other.go("/settings").settled().page.inner_text("#keys")
    assert "may read" in other.page.inner_text("#keys")
    page.click("role=button[name='Revoke laptop']")
    page.click("dialog >> text=Revoke it")
    page.wait_for_selector("#keys tr:has-text('laptop') >> text=revoked")
    assert secret not in page.content()
    other.go("/runs")
    other.page.wait_for_url("**/login?*")
    other.page.fill("#key", secret)
    other.page.keyboard.press("Enter")
    other.page.wait_for_selector("#key-wrong:not(:empty)")
    tab.clean()
