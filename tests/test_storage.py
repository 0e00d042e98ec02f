"""A folder, fsspec's stores and pyarrow's own keep the same promises: whole files, missing ones told from others."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.arrow import ArrowFSWrapper
from hypothesis import given
from hypothesis import strategies as some
from pyarrow.fs import LocalFileSystem

from fedray import storage as ground
from fedray.storage import RemoteStorage, Storage, opened, storage, within, without_password

PORT = re.compile(r"\d{1,5}([/?#]|$)")
"""What begins like this stands where a port may stand."""


@pytest.fixture(params=["folder", "file", "memory", "fsspec", "arrow"])
def there(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """`arrow`: what `s3://` and `gs://` get without s3fs and gcsfs, on a disk."""
    if request.param == "arrow":
        monkeypatch.setattr(ground, "opened", lambda _: (ArrowFSWrapper(LocalFileSystem()), f"{tmp_path}/there"))
        return RemoteStorage("s3://bucket/there")
    places = {
        "folder": "{}/there",
        "file": "file://{}/there",
        "memory": "memory://{}/there",
        "fsspec": "local://{}/there",
    }
    return storage(places[request.param].format(tmp_path))


def test_files_go_there_and_come_back(there: Storage, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 5000)
    there.write("short", b"one ", b"two")
    there.put("inner/long", source)
    assert there.read("short") == b"one two"
    assert (there.size("short"), there.size("inner/long"), there.size("none")) == (7, 1_280_000, None)
    there.fetch("inner/long", target)
    assert target.read_bytes() == source.read_bytes()
    assert (there.names(), there.names("inner"), there.names("none")) == (["short"], ["long"], [])
    assert there.folders() == ["inner"]
    assert there.heads(["short", "inner/long"], 3) == [b"one", bytes(range(3))]
    there.put("short", source)
    assert there.size("short") == 1_280_000
    there.remove("short")
    there.remove("short")
    assert there.names() == []


def test_what_is_not_there_is_told_from_what_cannot_be_read(there: Storage, tmp_path: Path) -> None:
    assert there.folders() == []
    with pytest.raises(FileNotFoundError):
        there.read("none")
    with pytest.raises(FileNotFoundError):
        there.fetch("none", tmp_path / "target")
    there.write("some", b"thing")
    with pytest.raises(FileNotFoundError):
        there.fetch("none", tmp_path / "target")
    with pytest.raises(FileNotFoundError):
        there.put("none", tmp_path / "no such file")
    assert there.names() == ["some"]


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is taken where it is")
def test_s3_needs_no_further_package() -> None:
    files, root = opened("s3://bucket/shards?region=eu-west-1")
    assert (type(files), root) == (ArrowFSWrapper, "bucket/shards")


@pytest.mark.parametrize(
    ("place", "inner"),
    [
        ("/mnt/a", "/mnt/a/x"),
        ("/mnt/what?/", "/mnt/what?/x"),
        ("s3://bucket/", "s3://bucket/x"),
        ("s3://bucket/a?region=eu-west-1", "s3://bucket/a/x?region=eu-west-1"),
    ],
)
def test_a_folder_within(place: str, inner: str) -> None:
    assert within(place, "x") == inner


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("s3://key:secret@bucket/a", "s3://key:***@bucket/a"),
        ("s3://key:se/cr+et@bucket/a", "s3://key:***@bucket/a"),
        ("ftp://me:se@cret@host/a", "ftp://me:***@host/a"),
        ("ftp://me@work.org:secret@host/a", "ftp://me@work.org:***@host/a"),
        ("redis://:secret@host", "redis://:***@host"),
        ("no route to ftp://me:secret@host/a at all", "no route to ftp://me:***@host/a at all"),
        ("s3://b/a?secret_key=sec/ret%2B&region=eu", "s3://b/a?secret_key=***&region=eu"),
        ("s3://b/a?region=eu&access_key=secret", "s3://b/a?region=eu&access_key=***"),
        ("https://host/a?X-Amz-Signature=secret&X-Amz-Date=1", "https://host/a?X-Amz-Signature=***&X-Amz-Date=1"),
        ("abfs://c@account/a?sp=r&sig=secret&token=secret", "abfs://c@account/a?sp=r&sig=***&token=***"),
        ("postgresql://host:5432/db?user=me&password=secret", "postgresql://host:5432/db?user=me&password=***"),
    ],
)
def test_what_a_uri_should_keep_to_itself_is_masked(text: str, masked: str) -> None:
    assert without_password(text) == masked
    assert without_password(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a?region=eu-west-1&scheme=https",
        "abfss://container@account.dfs.core.windows.net/a",
        "hdfs://host:8020/user/me@work",
        "http://127.0.0.1:5000",
        "sqlite:////home/me@work/a:b.db",
        "/mnt/a:b@c",
        "s3://bucket/a:b@c?monkey=1",
    ],
)
def test_what_holds_no_password_stays_as_it_is(text: str) -> None:
    assert without_password(text) == text


@given(
    password=some.text("abXY019/@:+=.%!?#&;~-_", min_size=1, max_size=24).filter(lambda text: not PORT.match(text)),
    before=some.sampled_from(["", "could not reach "]),
)
def test_no_password_gets_through(password: str, before: str) -> None:
    said = without_password(f"{before}s3://key:{password}@bucket/runs")
    assert said == f"{before}s3://key:***@bucket/runs"


@given(
    secret=some.text("abXY019/@:+=.%!?#;~-_", min_size=1, max_size=24),
    name=some.sampled_from(["secret_key", "access_key", "session_token", "token", "password", "sig", "AccountKey"]),
    host=some.sampled_from(["bucket", "host:9000", "key:pass@bucket"]),
)
def test_no_secret_that_a_uri_asks_with_gets_through(secret: str, name: str, host: str) -> None:
    said = without_password(f"s3://{host}/runs?{name}={secret}&region=eu")
    assert said == f"s3://{host.replace('pass', '***')}/runs?{name}=***&region=eu"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError("no space left")

    there = storage(tmp_path)
    there.write("file", b"whole")
    with pytest.raises(OSError, match="no space"):
        there.write("file", *broken())
    assert there.read("file") == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
