"""A folder, fsspec's stores and pyarrow's own keep the same promises: whole files, missing ones told from others."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import LocalFileSystem

from fedray import storage as ground
from fedray.storage import RemoteStorage, Storage, opened, storage, within


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
