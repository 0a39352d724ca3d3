"""Plain text and folders of source code, for the task complete."""

import itertools

import pytest

from luthier.core.conversation import Completion
from luthier.core.errors import DataError
from luthier.core.recipe import DataSpec
from luthier.data.dataset import Dataset
from luthier.data.duplicates import BATCH, BATCH_CHARACTERS, in_batches
from luthier.data.formats.code import code_files
from luthier.data.formats.prose import PIECE
from luthier.data.prepare import prepare
from luthier.data.samples import Finding, Sample
from luthier.data.shingles import jaccard, shingles


def make(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(root)


def read(root):
    files, _ = code_files(root)
    return [path[len(root) + 1 :] for path in files]


def test_a_folder_of_code(tmp_path):
    root = make(
        tmp_path,
        {
            "app.py": "print(1)\r\n",
            "lib/util.go": "package util\n",
            "Makefile": "all:\n",
            ".hidden/secret.py": "x = 1\n",
            ".env.py": "x = 1\n",
            "node_modules/m/index.js": "x\n",
            "README.md": "# Hello\n",
            "photo.png": b"\x89PNG\0",
            "data.csv": "text,label\na,b\n",
        },
    )
    dataset = Dataset.open(root, task="complete")
    assert dataset.is_code
    samples = list(dataset.samples())
    assert [sample.target for sample in samples] == [
        Completion("", "all:\n"),
        Completion("", "print(1)\n"),
        Completion("", "package util\n"),
    ]
    assert [sample.group for sample in samples] == [sample.source for sample in samples]
    assert samples[1].text == "print(1)\n"
    assert samples[2].source.endswith("lib/util.go")


def test_gitignore_as_git_reads_it(tmp_path):
    root = make(
        tmp_path,
        {
            ".gitignore": "*.gen.py\n/top.py\nout/\n!keep.gen.py\n",
            "top.py": "1\n",
            "a.gen.py": "1\n",
            "keep.gen.py": "1\n",
            "sub/top.py": "1\n",
            "sub/.gitignore": "local.py\n!b.gen.py\n",
            "sub/local.py": "1\n",
            "sub/b.gen.py": "1\n",
            "sub/deep/local.py": "1\n",
            "other/local.py": "1\n",
            "out/x.py": "1\n",
            "sub/out/x.py": "1\n",
        },
    )
    assert read(root) == ["keep.gen.py", "other/local.py", "sub/b.gen.py", "sub/top.py"]


def test_a_link_is_not_followed(tmp_path):
    root = make(tmp_path / "a", {"x.py": "1\n"})
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    assert read(root) == ["x.py"]


def test_what_is_no_source_is_passed_over_with_a_note(tmp_path):
    root = make(
        tmp_path,
        {
            "a_good.py": "x = 1\n",
            "b_binary.py": b"\0\1\2",
            "c_latin.py": b"# caf\xe9\n",
            "d_minified.js": "a" * 6000,
            "e_large.sql": "select 1;\n" * 120_000,
            "f_empty.py": "",
        },
    )
    items = list(Dataset.open(root, task="complete").items())
    notes = [item for item in items if isinstance(item, Finding)]
    assert [(note.code, note.severity) for note in notes] == [("skipped_file", "info")] * 4
    assert ["binary" in notes[0].message, "UTF-8" in notes[1].message, "minified" in notes[2].message] == [True] * 3
    assert "larger" in notes[3].message
    assert len(list(Dataset.open(root, task="complete").samples())) == 1  # a note stops nobody


def test_code_is_recognised_where_there_is_nothing_else(tmp_path):
    root = make(tmp_path / "code", {"a.py": "1\n", "b.rs": "fn main() {}\n", "package.yaml": "a: 1\n"})
    assert Dataset.open(root).task == "complete"
    root = make(tmp_path / "mixed", {"a.py": "1\n", "b.py": "1\n", "d.csv": "text,label\na,x\nb,y\n"})
    assert Dataset.open(root).task == "classify"
    root = make(tmp_path / "data", {"convert.py": "1\n", "d.jsonl": '{"prompt": "a", "completion": "b"}\n'})
    assert [sample.target for sample in Dataset.open(root, task="complete").samples()] == [Completion("a", "b")]


def test_a_code_base_splits_by_file(tmp_path):
    words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"]
    root = make(tmp_path, {f"{one}_{two}.py": f"def {one}():\n    return {two!r} * {k}\n"
                           for k, (one, two) in enumerate(itertools.permutations(words, 2))})  # fmt: skip
    found = prepare(DataSpec(train=root, validation=0.2), "complete", 0)
    assert 8 <= len(found.validation) <= 14
    assert len(found.train) + len(found.validation) == 56


@pytest.mark.parametrize("ending", [".txt", ".md"])
def test_a_text_file_is_one_sample(tmp_path, ending):
    path = tmp_path / f"story{ending}"
    path.write_text("\nOnce upon a time,\n\nthere was {a: b}.\n\n")
    (sample,) = Dataset.open(str(path), task="complete").samples()
    assert sample.target == Completion("", "Once upon a time,\n\nthere was {a: b}.")
    assert (sample.text, sample.line) == ("Once upon a time,\n\nthere was {a: b}.", 2)


def test_a_book_is_several_samples_cut_between_paragraphs(tmp_path):
    paragraphs = [f"Paragraph {k}. " + "word " * 200 for k in range(300)]
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(paragraphs))
    samples = list(Dataset.open(str(path), task="complete").samples())
    assert len(samples) >= 4
    assert all(sample.text.startswith("Paragraph ") for sample in samples)
    assert all(len(sample.text) < PIECE + 2000 for sample in samples)
    assert "\n\n".join(sample.text for sample in samples).split() == path.read_text().split()
    lines = path.read_text().split("\n")
    assert [lines[sample.line - 1] for sample in samples] == [sample.text.split("\n")[0] for sample in samples]


def test_long_texts_are_hashed_a_few_at_a_time():
    long = Sample("x" * (BATCH_CHARACTERS // 3))
    short = Sample("y")
    assert [len(batch) for batch in in_batches([long] * 7)] == [4, 3]
    assert [len(batch) for batch in in_batches([short] * (BATCH + 1))] == [BATCH, 1]


def test_a_folder_of_texts(tmp_path):
    root = make(tmp_path, {"b.md": "two", "a.txt": "one", "sub/c.rst": "three", "empty.txt": " \n"})
    items = list(Dataset.open(root, task="complete").items())
    assert [item.text for item in items if not isinstance(item, Finding)] == ["one", "two", "three"]
    assert [item.code for item in items if isinstance(item, Finding)] == ["empty_text"]
    with pytest.raises(DataError):
        Dataset.open(root)  # not plain without the task


def test_long_texts_resemble_as_short_ones_do():
    one, other = "".join(f"{k} apples, " for k in range(800)), "".join(f"{k} apples, " for k in range(200, 1000))
    first, second = shingles(one), shingles(other)
    assert jaccard(one, other) == pytest.approx(len(first & second) / len(first | second))
