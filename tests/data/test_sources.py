"""Files, folders, globs, URLs: what is found, and what is said when it is not."""

import gzip
import hashlib

import fsspec
import pytest

from luthier.core.errors import DataError
from luthier.data.dataset import Dataset
from luthier.data.sources import expand, open_bytes, sha256, size

CSV = "text,label\ngood film,yes\nbad film,no\n"


@pytest.fixture
def folder(tmp_path):
    for name in ("b.csv", "a.csv", "sub/c.jsonl.gz", ".hidden/d.csv", "_SUCCESS", "README.md", "LICENSE.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b'{"text": "t", "label": "yes"}\n') if name.endswith(".gz") else CSV.encode())
    return tmp_path


def test_folder_gives_sorted_data_files_and_nothing_else(folder):
    assert expand(str(folder)) == [str(folder / name) for name in ("a.csv", "b.csv", "sub/c.jsonl.gz")]


def test_glob_and_list_keep_their_order(folder):
    assert expand(str(folder / "*.csv")) == [str(folder / "a.csv"), str(folder / "b.csv")]
    assert expand([str(folder / "b.csv"), str(folder / "a.csv")]) == [
        str(folder / "b.csv"),
        str(folder / "a.csv"),
    ]


def test_a_name_with_glob_characters_that_exists_is_itself(tmp_path):
    path = tmp_path / "data[1].csv"
    path.write_text(CSV)
    assert expand(str(path)) == [str(path)]
    assert expand(f"file://{path}") == [str(path)]


def test_missing_file_names_the_nearest_ones_in_its_folder(folder):
    (folder / "train.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"'train\.csv'") as caught:
        expand(str(folder / "trian.csv"))
    assert caught.value.code == "not_found"
    assert str(folder) in caught.value.remedy


@pytest.mark.parametrize("pattern", ["*.parquet", "nothing*"])
def test_empty_glob_and_empty_folder_are_errors(folder, pattern):
    with pytest.raises(DataError) as caught:
        expand(str(folder / pattern))
    assert caught.value.code == "no_files"
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"\.jsonl"):
        expand(str(folder / "empty"))


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("s3://b/x.csv", "s3"),
        ("gs://b/x.csv", "gcs"),
        ("az://b/x.csv", "azure"),
        ("https://example.invalid/x.csv", "http"),
    ],
)
def test_a_missing_driver_names_the_extra(url, extra, monkeypatch):
    def without_driver(path):
        raise ImportError("no driver")

    monkeypatch.setattr(fsspec.core, "url_to_fs", without_driver)
    with pytest.raises(DataError) as caught:
        expand(url)
    assert caught.value.code == "missing_driver"
    assert f"luthier[{extra}]" in caught.value.remedy


@pytest.mark.parametrize("url", ["ssh://host/x.csv", "simplecache::s3://b/x.csv", "github://org:repo@/x.csv"])
def test_other_schemes_are_refused(url):
    with pytest.raises(DataError) as caught:
        expand(url)
    assert caught.value.code == "unknown_scheme"


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.pipe("/luthier/train.csv", CSV.encode())
    system.pipe("/luthier/more.csv.gz", gzip.compress(CSV.encode()))
    yield "memory://luthier"
    system.rm("/luthier", recursive=True)


def test_a_url_is_read_like_a_file(memory):
    assert expand(f"{memory}/train.csv") == [f"{memory}/train.csv"]
    assert [path.rsplit("/", 1)[1] for path in expand(memory)] == ["more.csv.gz", "train.csv"]
    assert [path.rsplit("/", 1)[1] for path in expand(f"{memory}/*.gz")] == ["more.csv.gz"]
    samples = list(Dataset.open(memory).samples())
    assert [sample.target for sample in samples] == ["yes", "no", "yes", "no"]
    assert size(f"{memory}/train.csv") == len(CSV)
    assert sha256(f"{memory}/train.csv") == hashlib.sha256(CSV.encode()).hexdigest()


def test_a_missing_url_is_said(memory):
    with pytest.raises(DataError) as caught:
        expand(f"{memory}/none.csv")
    assert caught.value.code == "not_found"


def test_sdk_errors_of_a_driver_become_one_of_ours(monkeypatch):
    class Refusing:
        def isfile(self, path):
            raise RuntimeError("NoCredentials")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda path: (Refusing(), path))
    with pytest.raises(DataError, match="NoCredentials") as caught:
        expand("s3://bucket/x.csv")
    assert caught.value.code == "unreachable"


def test_gzip_is_known_by_its_bytes(tmp_path):
    path = tmp_path / "plain-name.csv"
    path.write_bytes(gzip.compress(CSV.encode()))
    with open_bytes(str(path)) as stream:
        assert stream.read() == CSV.encode()
    assert size(str(path)) == path.stat().st_size
    assert sha256(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(list(Dataset.open(str(path)).samples())) == 2
