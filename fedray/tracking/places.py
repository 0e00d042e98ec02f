"""Somewhere else to keep files: a folder, or a URI of object storage, read and written whole files at a time."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path, PurePosixPath
from typing import Any, Self

from fedray.errors import Problem, UserMistake
from fedray.storage import PIECE, opened, without_password


class Place:
    """A folder at a path or URI.

    Args:
        filesystem: As fsspec has them.
        root: The folder in it.
        uri: For messages, without a password.
    """

    def __init__(self, filesystem: Any, root: str, uri: str) -> None:
        self._files, self._root, self.uri = filesystem, root.rstrip("/"), uri

    @classmethod
    def at(cls, uri: str, place: str) -> Self:
        """The folder at a path or URI: `/mnt/runs`, `s3://bucket/runs`, `gs://bucket/runs`, whatever fsspec knows.

        Args:
            uri: The path or URI; credentials come from the environment, as for other tools of that storage.
            place: Where the URI was given, for the error.

        Raises:
            UserMistake: If nothing here can read such a URI.
        """
        try:
            filesystem, root = opened(uri)
        except Exception as error:  # each storage raises its own
            raise no_place(uri, place, error) from error
        return cls(filesystem, root, without_password(uri))

    def check(self, place: str) -> None:
        """Write a small file and read it.

        Args:
            place: Where the URI was given, for the error.

        Raises:
            UserMistake: If that fails.
        """
        try:
            self.write("written-by-fedray", b"fedray keeps copies of runs here\n")
            self.read("written-by-fedray")
        except Exception as error:  # each storage raises its own
            raise no_place(self.uri, place, error) from error

    def folders(self) -> list[str]:
        """Names of the folders directly in it; none if it isn't there."""
        self._files.invalidate_cache()
        try:
            found = self._files.ls(self._root, detail=True)
        except FileNotFoundError:
            return []
        return sorted(PurePosixPath(one["name"]).name for one in found if one["type"] == "directory")

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: If it isn't there.
        """
        with self._files.open(f"{self._root}/{path}", "rb") as file:
            content: bytes = file.read()
        return content

    def download(self, path: str, target: Path) -> str:
        """Copy a file to this machine.

        Returns:
            The SHA-256 of what arrived.

        Raises:
            FileNotFoundError: If it isn't there.
        """
        digest = hashlib.sha256()
        with self._files.open(f"{self._root}/{path}", "rb") as source, target.open("wb") as file:
            while piece := source.read(PIECE):
                digest.update(piece)
                file.write(piece)
        return digest.hexdigest()

    def write(self, path: str, content: bytes | Path) -> None:
        """Write a file, whole or not at all."""
        target = f"{self._root}/{path}"
        self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        if self._is_local:  # object storage shows an object when all of it is there; a disk would show half a file
            draft = f"{target}.{uuid.uuid4().hex}"
            self._put(draft, content)
            Path(draft).replace(target)
        else:
            self._put(target, content)

    def _put(self, target: str, content: bytes | Path) -> None:
        with self._files.open(target, "wb") as file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    while piece := source.read(PIECE):
                        file.write(piece)
            else:
                file.write(content)
            if self._is_local:
                file.flush()
                os.fsync(file.fileno())

    @property
    def _is_local(self) -> bool:
        return "file" in self._files.protocol


def no_place(uri: str, place: str, error: Exception) -> UserMistake:
    """What is said of a place that can't be used."""
    why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    allowed = "must be a folder, or a URI of storage that can be read and written from here"
    return UserMistake(Problem(place, without_password(uri), allowed, f"for example s3://BUCKET/runs ({why})"))
