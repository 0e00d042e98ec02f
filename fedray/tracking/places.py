"""Where copies of runs are kept: a folder, or a URI of object storage, tried before it is needed."""

from __future__ import annotations

from fedray.errors import Problem, UserMistake, first_line, without_password
from fedray.storage import Storage, storage, within

MARK = "written-by-fedray"


def place_at(uri: str, knob: str) -> Storage:
    """The folder at a path or URI: `/mnt/runs`, `s3://bucket/runs`, `gs://bucket/runs`, whatever fsspec knows.

    Args:
        uri: The path or URI; credentials come from the environment, as for other tools of that storage.
        knob: Where the URI was given, for the error.

    Raises:
        UserMistake: If nothing here can read such a URI.
    """
    try:
        return storage(uri)
    except Exception as error:  # each storage raises its own
        raise no_place(uri, knob, error) from error


def check(place: Storage, knob: str) -> None:
    """Write a small file and read it.

    Args:
        place: To be used.
        knob: Where its URI was given, for the error.

    Raises:
        UserMistake: If that fails.
    """
    try:
        place.write(MARK, b"fedray keeps copies of runs here\n")
        place.read(MARK)
    except Exception as error:  # each storage raises its own
        raise no_place(place.place, knob, error) from error


def shown(place: Storage, name: str = "") -> str:
    """A place, or a file in it, for messages: without a password."""
    return without_password(within(place.place, name) if name else place.place)


def no_place(uri: str, knob: str, error: Exception) -> UserMistake:
    """What is said of a place that can't be used."""
    allowed = "must be a folder, or a URI of storage that can be read and written from here"
    mend = f"for example s3://BUCKET/runs ({first_line(error)})"
    return UserMistake(Problem(knob, without_password(uri), allowed, mend))
