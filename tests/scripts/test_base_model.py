"""What luthier-nano is trained on: cleaning, what is kept out, the mixture, and the blank model."""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

REPO = Path(__file__).resolve().parents[2]
DATA = REPO.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> object:
    """Imports a module of scripts/base_model, which is not installed."""
    monkeypatch.syspath_prepend(str(REPO))

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"scripts.base_model.{name}")

    yield load
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]


def test_plain_sentences_are_kept_and_menus_code_and_other_languages_are_not(script) -> None:
    plain = script("clean").is_plain
    assert plain("The server reads the file when it starts, and again whenever it is told to do so.")
    assert not plain("File Edit View Insert Format Tools Window Help Options Preferences.")
    assert not plain("for (i = 0; i < n; i++) { total += values[i]; printf('%d', total); }")
    assert not plain("Der Server liest die Datei beim Start und danach immer dann, wenn man es verlangt.")
    assert not plain("You can write it like this, and the program will then read all of the lines:")
    assert not plain("You can find it in /usr/share/doc/manual and in the folder that the program has made.")
    assert not plain("This dialog allows you to set the margins of the page, and it is explained in detail in.")
    assert not plain("When the fileName is not given, the program asks for it and then it goes on to read.")
    assert not plain("It is short.")


def test_text_with_many_rare_words_is_not_common(script) -> None:
    common = script("clean").CommonWords(["the cat sat on the mat", "the cat ran", "a quokka ran"], 4)
    assert common.cover("The cat ran.")
    assert not common.cover("The quokka sat.")
    assert common.cover("The cat ran and the cat ran to the quokka.", 0.6)


def test_entities_of_manuals_become_words(script) -> None:
    pytest.importorskip("selectolax")
    clean = script("clean")
    assert list(clean.html_paragraphs("<para>Click the &LMB; in &kmail; &amp; wait.</para>")) == [
        "Click the left mouse button in KMail & wait."
    ]
    assert clean.entity("no.such") == ""


def test_quotes_and_dashes_become_plain(script) -> None:
    assert (
        script("clean").tidy("\u201cIt\u2019s\u00a0here\u201d \u2014 now\u2026\n  ok .") == '"It\'s here" - now... ok.'
    )


def test_the_same_paragraph_with_another_number_is_a_repetition(script) -> None:
    seen = script("clean").Duplicates()
    text = (
        "This notice is printed in every one of the manuals that we have, and it always has the same words in it, {}."
    )
    assert seen.add(text.format("1998"))
    assert not seen.add(text.format("2003"))
    assert seen.add("Another paragraph with other words, which nobody has seen before in any of the manuals.")


def test_html_gives_paragraphs_without_listings_and_menus(script) -> None:
    pytest.importorskip("selectolax")
    page = (
        "<html><nav><p>Home and other pages</p></nav><h1>1.2. Files\u00b6</h1><p>A <b>file</b> is a\nset of bytes.</p>"
        "<pre>rm -rf</pre><ul><li>One item</li><li><p>Inner text</p></li></ul><div class='para'>A part.</div></html>"
    )
    found = list(script("clean").html_paragraphs(page))
    assert found == ["A file is a set of bytes.", "One item", "Inner text", "A part."]


def test_paragraphs_are_joined_and_a_short_rest_is_left_out(script) -> None:
    documents = script("clean").documents
    assert list(documents(["a" * 60, "b" * 60, "c" * 90, "d" * 10], longest=130, shortest=20)) == [
        "a" * 60 + "\n\n" + "b" * 60,
        "c" * 90 + "\n\n" + "d" * 10,
    ]
    assert list(documents(["a" * 60])) == []


def test_dictionary_entries_become_sentences(script, tmp_path: Path) -> None:
    glosses = script("glosses")
    entry = '00001740 03 v 01 abandon 0 000 | give up completely; "they abandoned the old car"  \n'
    slur = "00001741 03 n 01 badword 0 000 | (offensive) a word that is an insult  \n"
    (tmp_path / "data.verb").write_text("  1 licence\n" + entry + slur)
    (tmp_path / "cntlist.rev").write_text("abandon%2:40:01:: 1 9\nabdicate%2:41:00:: 1 1\n")
    entries = list(glosses.wordnet_entries(tmp_path))
    assert [glosses.wordnet_sentence(*item) for item in entries] == [
        "Abandon means to give up completely. For example: They abandoned the old car."
    ]
    assert glosses.used_words(tmp_path) == {"abandon"}


def test_titles_of_help_pages_become_questions(script, tmp_path: Path) -> None:
    pytest.importorskip("selectolax")
    chat_help = script("chat_help")
    page = tmp_path / "debian" / "eog" / "usr" / "share" / "help" / "C" / "eog" / "print.page"
    page.parent.mkdir(parents=True)
    page.write_text(
        "<page><info><desc>No</desc></info><title>Print a picture</title>"
        "<p>Choose Print in the menu, and then choose the printer that you want to use.</p></page>"
    )
    ((key, question, answer),) = chat_help.help_questions(tmp_path, random.Random(0))
    assert key == "help:Print a picture"
    assert "print a picture" in question
    assert answer == "Choose Print in the menu, and then choose the printer that you want to use."


@pytest.mark.slow
@needs_data
def test_no_test_row_and_no_reserved_subject_is_learned(script) -> None:
    pytest.importorskip("selectolax")
    rows, corpus = script("rows"), script("corpus")
    texts = corpus.row_texts()
    lines = {line.split(": ", 1)[-1].lower() for found in texts.values() for text in found for line in text.split("\n")}
    assert not lines & rows.test_texts()
    reserved = [item for item in _medquad() if rows.reserved(item["focus"])]
    assert 0.15 < len(reserved) / 16_407 < 0.25
    learned = {text.split("\n")[0] for text in texts["medquad"]}
    assert not {f"Question: {rows.tidy(item['question'])}" for item in reserved} & learned
    assert {item.focus for item in rows.medical() if rows.reserved(item.focus)} == set()
    held = {item.question for item in rows.medical() if rows.is_validation(item.focus)}
    assert held
    assert not {f"Question: {question}" for question in held} & learned


def _medquad() -> list[dict[str, str]]:
    import gzip

    with gzip.open(DATA / "medquad" / "medquad.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    """A toy working folder with every part of the corpus."""
    (tmp_path / "corpus").mkdir()
    for part in ("prose", "dictionary", "code", "rows"):
        rows = [
            {"text": f"Text {i} of {part} says that {i * 7} birds sat on the wall.", "source": part} for i in range(400)
        ]
        (tmp_path / "corpus" / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_the_blank_folder_is_a_base_that_transformers_load(
    script, corpus_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = script("tokenizer")
    monkeypatch.setattr(made, "VOCABULARY", 400)
    blank = corpus_folder / "blank"
    made.train_tokenizer(corpus_folder / "corpus", blank)
    tokenizer = AutoTokenizer.from_pretrained(blank)
    text = 'I paid 120.\n<tool_call>\n{"a": 1}\n</tool_call><|im_end|>'
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert [token for token in tokens if token.isdigit()] == ["1", "2", "0", "1"]
    assert {"<tool_call>", "</tool_call>", "<|im_end|>"} <= set(tokens)
    assert "<tool_call>" in tokenizer.decode(ids, skip_special_tokens=True)
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("<|endoftext|>", "<|pad|>", None)
    turn = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert turn == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"

    made.blank_model(blank)
    model = AutoModelForCausalLM.from_pretrained(blank)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert set(model.generation_config.eos_token_id) == set(
        tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    )
    layer = model.model.layers[0]
    assert layer.mlp.up_proj.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(0.02 / 12**0.5, rel=0.02)
    first = layer.self_attn.q_proj.weight.clone()
    made.blank_model(blank)
    assert (AutoModelForCausalLM.from_pretrained(blank).model.layers[0].self_attn.q_proj.weight == first).all()


def test_the_mixture_keeps_sides_apart_and_repeats_what_is_scarce(
    script, corpus_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, mix = script("tokenizer"), script("pretrain")
    monkeypatch.setattr(made, "VOCABULARY", 400)
    monkeypatch.setattr(mix, "VALIDATION", 0.05)
    monkeypatch.setattr(mix, "TIMES", {"code": 2, "rows": 1, "dictionary": 1})
    monkeypatch.setattr(mix, "MOST", {"rows": 500})
    made.train_tokenizer(corpus_folder / "corpus", corpus_folder / "blank")
    report = mix.build_pretrain(corpus_folder)
    files = {
        name: (corpus_folder / "pretrain" / f"{name}.jsonl").read_text().splitlines()
        for name in ("train", "validation")
    }
    assert files["validation"]
    assert not set(files["train"]) & set(files["validation"])
    times = Counter(Counter(files["train"]).values())
    assert set(times) == {1, 2, mix.HELP_TIMES}
    assert 450 < report["parts"]["rows"] <= 500
    assert report["train"] == len(files["train"])
    mix.build_pretrain(corpus_folder)
    assert (corpus_folder / "pretrain" / "train.jsonl").read_text().splitlines() == files["train"]


def test_recipes_are_valid(script) -> None:
    from luthier.core.recipe import Recipe

    pretrain = Recipe.from_yaml(REPO / "scripts" / "base_model" / "pretrain.yaml")
    chat = Recipe.from_yaml(REPO / "scripts" / "base_model" / "chat.yaml")
    assert (pretrain.task, chat.task) == ("complete", "chat")
    assert pretrain.method.kind == chat.method.kind == "full"


def test_small_talk_has_no_empty_and_no_repeated_line() -> None:
    lines = (REPO / "scripts" / "base_model" / "small_talk.txt").read_text().splitlines()[1:]
    pairs = [line.split(" | ") for line in lines]
    assert len(pairs) >= 150
    assert all(len(pair) == 2 and all(pair) for pair in pairs)
    assert len({question for question, _ in pairs}) == len(pairs)


def test_an_unfinished_build_says_what_is_missing(script, tmp_path: Path) -> None:
    pytest.importorskip("selectolax")
    build = script("build")
    with pytest.raises(SystemExit, match="--stage pretrain first"):
        build.trained(tmp_path, "pretrain")
    (tmp_path / "sources.json").write_text("{}")
    build.run_stage("corpus", tmp_path)  # done already: must not fetch anything
    assert [path.name for path in tmp_path.iterdir()] == ["sources.json"]
