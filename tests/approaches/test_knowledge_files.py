"""Knowledge in files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.approaches.documents import passages_of, read_documents
from luthier.core.errors import DataError


def test_text_is_read_and_the_rest_is_named(tmp_path):
    (tmp_path / "a.md").write_text("# Title\n\nText.\n")
    (tmp_path / "b.html").write_text("<html><script>alert(1)</script><p>Fish &amp; chips</p></html>")
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "d.txt").write_bytes(b"\0\1\2")
    (tmp_path / "e.txt").write_bytes(b"\xff\xfe latin")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "f.txt").write_text("﻿deep")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "g.txt").write_text("hidden")
    (tmp_path / "empty.txt").write_text("  \n")
    found, notes = read_documents([tmp_path])
    assert [name for name, _ in found] == ["a.md", "b.html", "deep/f.txt"]
    assert found[1][1].split() == ["Fish", "&", "chips"]
    assert found[2][1] == "deep"
    assert sorted(note.split(":")[0] for note in notes) == ["c.pdf", "d.txt", "e.txt"]


def test_a_folder_of_binary_files_and_a_missing_one_are_told(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\0")
    with pytest.raises(DataError, match=r"files of the kind \.bin are not read") as caught:
        read_documents([tmp_path])
    assert caught.value.code == "no_knowledge"
    with pytest.raises(DataError) as caught:
        read_documents([tmp_path / "nowhere"])
    assert caught.value.code == "knowledge_missing"


def test_passages_end_at_paragraphs_then_at_sentences():
    text = "One. Two.\n\nThree is a longer sentence. Four.\n\nFive."
    assert [passage.text for passage in passages_of([("n", text)], 30)] == [
        "One. Two.", "Three is a longer sentence.", "Four.\nFive."
    ]  # fmt: skip
    assert passages_of([("n", text)], 1000)[0].place == "n#1"


def test_a_table_of_questions_gives_its_answers_and_text_its_sentences():
    faq = "question,answer\nWhen?,At nine.\nWhere?,\nWho?,Ada\n"
    found = passages_of([("faq.csv", faq), ("b.jsonl", '{"prompt": "p", "completion": "c"}\n')], 400)
    assert [(passage.key, passage.text, passage.place) for passage in found] == [
        ("When?", "At nine.", "faq.csv#1"), ("Who?", "Ada", "faq.csv#2"), ("p", "c", "b.jsonl#1")
    ]  # fmt: skip
    broken = passages_of([("b.jsonl", '{"prompt": ')], 400)
    assert [passage.text for passage in broken] == ['{"prompt":']
    assert [passage.text for passage in passages_of([("n", "One. Two!\n\nThree\nfour.")], 0)] == [
        "One.", "Two!", "Three four."
    ]  # fmt: skip


@given(st.text(max_size=400), st.integers(5, 60))
def test_no_passage_is_too_long_and_no_word_is_lost(text, longest):
    found = passages_of([("n", text)], longest)
    assert all(len(passage.text) <= longest for passage in found)
    assert "".join("".join(passage.text for passage in found).split()) == "".join(text.split())
