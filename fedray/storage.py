"""Files that are there whole or not at all: in a folder of this machine, or at any URI that fsspec knows.

In a folder a file is written beside its place, flushed to the disk and renamed. An object store puts an object whole by
itself. Whoever needs several files to belong together writes the one that names the others last.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

PARTIAL = ".partial"


class Storage(Protocol):
    """A folder, wherever it is. Names may lie in a folder of it: `phones/a`."""

    place: str

    def write(self, name: str, *parts: bytes | memoryview, lasting: bool = True) -> None:
        """Write a file, replacing an older one of that name.

        Args:
            name: Of the file.
            parts: Its content, one after another.
            lasting: Wait until it would survive a loss of power; if not, only the death of this process.

        Raises:
            Exception: An OSError from a folder; from a URI, whatever its library raises.
        """

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: If it isn't there.
        """

    def heads(self, names: Sequence[str], count: int) -> list[bytes]:
        """The first bytes of several files."""

    def names(self, folder: str = "") -> list[str]:
        """The names of the files in it, or in a folder of it, in order; none if the folder isn't there."""

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""

    def tidy(self, folder: str = "") -> None:
        """Delete what writers that died have left behind."""


def storage(place: str | Path) -> Storage:
    """What is at a path or a URI; nothing is made yet.

    Raises:
        ValueError, ImportError: If nobody knows URIs of this kind, or the package for them is missing.
    """
    text = str(place)
    if "://" not in text or text.startswith("file://"):
        return LocalStorage(Path(text.removeprefix("file://")))
    return RemoteStorage(text)


class LocalStorage:
    """A folder of this machine, or one that several machines mount."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.place = str(self.folder)

    def write(self, name: str, *parts: bytes | memoryview, lasting: bool = True) -> None:
        """Write beside, flush, rename, flush the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
        try:
            with partial.open("wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                if lasting:
                    os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        if lasting:
            _flush_folder(path.parent)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return (self.folder / name).read_bytes()

    def heads(self, names: Sequence[str], count: int) -> list[bytes]:
        """The first bytes of several files."""
        found = []
        for name in names:
            with (self.folder / name).open("rb") as file:
                found.append(file.read(count))
        return found

    def names(self, folder: str = "") -> list[str]:
        """The files that are whole."""
        return sorted(entry.name for entry in self._entries(folder) if not entry.name.endswith(PARTIAL))

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        (self.folder / name).unlink(missing_ok=True)

    def tidy(self, folder: str = "") -> None:
        """Delete the partial files of writers that died."""
        for entry in self._entries(folder):
            if entry.name.endswith(PARTIAL):
                Path(entry.path).unlink(missing_ok=True)

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder / folder) as entries:
            yield from (entry for entry in entries if entry.is_file())


class RemoteStorage:
    """A place that fsspec reaches. Its own packages are asked for when the URI is: s3fs for `s3://`, gcsfs for `gs://`."""

    def __init__(self, uri: str) -> None:
        import fsspec.core

        self.place = uri
        self._files: Any
        self._files, self._root = fsspec.core.url_to_fs(uri)

    def write(self, name: str, *parts: bytes | memoryview, lasting: bool = True) -> None:
        """Put it in one go; a file that is opened for writing may be put half when the writer fails."""
        path, content = self._path(name), b"".join(parts)
        try:
            self._files.pipe_file(path, content)
        except FileNotFoundError:  # where folders are real, they must be there first
            self._files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._files.pipe_file(path, content)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return bytes(self._files.cat_file(self._path(name)))

    def heads(self, names: Sequence[str], count: int) -> list[bytes]:
        """The first bytes of several files, asked for side by side where the store can."""
        return [bytes(head) for head in self._files.cat_ranges([self._path(name) for name in names], 0, count)]

    def names(self, folder: str = "") -> list[str]:
        """The files that are there now, whatever was there when it was last asked."""
        self._files.invalidate_cache()
        with contextlib.suppress(FileNotFoundError):
            found = self._files.ls(self._path(folder), detail=True)
            return sorted(entry["name"].rsplit("/", 1)[1] for entry in found if entry["type"] == "file")
        return []

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def tidy(self, folder: str = "") -> None:
        """Nothing is left behind where objects are put whole."""

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")


def _flush_folder(folder: Path) -> None:
    """A rename survives a loss of power once its folder has been written too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
