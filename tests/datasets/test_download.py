"""Downloads without a network: recorded on first sight, verified later, never half-written."""

import http.client
import io
import json
import urllib.error

import pytest

from crystal_core.datasets.download import SOURCES, DownloadFailed, count_rows, download
from crystal_core.errors import RequestError


def server(text):
    return lambda url: io.BytesIO(f"{text} {url.rsplit('/', 1)[1]}".encode())


def test_hashes_are_recorded_first_and_verified_then(tmp_path):
    first = download("perov_5", tmp_path, open_url=server("a"))
    assert [f.path.name for f in first] == ["train.csv", "val.csv", "test.csv"] and not any(
        f.verified for f in first
    )
    again = download("perov_5", tmp_path, open_url=server("a"))
    assert all(f.verified for f in again) and [f.sha256 for f in again] == [f.sha256 for f in first]


def test_a_changed_file_is_refused_and_the_old_one_kept(tmp_path):
    download("mp_20", tmp_path, open_url=server("a"))
    with pytest.raises(DownloadFailed, match="not the file fetched before"):
        download("mp_20", tmp_path, open_url=server("b"))
    assert (tmp_path / "mp_20" / "train.csv").read_text() == "a train.csv"
    assert not list(tmp_path.rglob("*.part"))
    assert len(json.loads((tmp_path / "mp_20" / "checksums.json").read_text())) == 3


def test_without_a_connection_one_sentence_and_exit_code_three(tmp_path):
    def refuse(url):
        raise urllib.error.URLError("Name or service not known")

    with pytest.raises(DownloadFailed, match="needs an internet connection") as caught:
        download("carbon_24", tmp_path, open_url=refuse)
    assert caught.value.exit_code == 3


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(RequestError, match="mp_20"):
        download("mp20", tmp_path)
    assert all(url.startswith("https://") for url in SOURCES.values())


def test_an_interrupted_download_goes_on_with_the_files_that_are_missing(tmp_path):
    asked = []

    def interrupted(url):
        asked.append(url.rsplit("/", 1)[1])
        if len(asked) == 2:
            raise KeyboardInterrupt
        return server("a")(url)

    with pytest.raises(KeyboardInterrupt):
        download("perov_5", tmp_path, open_url=interrupted)
    files = download("perov_5", tmp_path, open_url=interrupted)
    assert asked == ["train.csv", "val.csv", "val.csv", "test.csv"]
    assert not any(f.verified for f in files) and len({f.sha256 for f in files}) == 3
    (tmp_path / "perov_5" / "checksums.json").write_text(json.dumps({"train.csv": files[0].sha256}))
    (tmp_path / "perov_5" / "train.csv").write_text("damaged")
    download("perov_5", tmp_path, open_url=interrupted)
    assert (tmp_path / "perov_5" / "train.csv").read_text() == "a train.csv"


def test_a_download_that_ends_early_is_no_file(tmp_path):
    class Headed(io.BytesIO):
        headers = {"Content-Length": "20"}

    with pytest.raises(DownloadFailed, match="10 of 20 bytes"):
        download("perov_5", tmp_path, open_url=lambda url: Headed(b"half of it"))
    assert not list((tmp_path / "perov_5").iterdir())


def test_a_connection_that_breaks_is_one_sentence(tmp_path):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise http.client.IncompleteRead(b"")

    with pytest.raises(DownloadFailed, match="could not be fetched"):
        download("perov_5", tmp_path, open_url=lambda url: Broken())


def test_rows_with_line_breaks_inside_are_counted_once(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text('id,cif\na,"line\nline"\nb,"line\nline\nline"\n')
    assert count_rows(path) == 2
