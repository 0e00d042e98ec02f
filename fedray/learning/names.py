"""From what an experiment names to the thing itself: a built-in name, an import path `package.module:Name`, or an
object that was passed from Python."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from fedray.errors import Problem, UserMistake


def find(named: Any, known: Mapping[str, Any], place: str) -> Any:
    """The thing that `named` names.

    Args:
        named: A key of `known`, an import path `package.module:Name`, or an object, which is returned as it is.
        known: The built-in ones by name.
        place: The knob, for the error.

    Raises:
        UserMistake: If nothing has that name or path; names the nearest built-in one.
    """
    if not isinstance(named, str):
        return named
    if named in known:
        return known[named]
    if ":" in named:
        return _imported(named, place)
    built_in = f"one of {', '.join(known)}, or " if known else ""
    nearest = difflib.get_close_matches(named, known, n=1)
    raise UserMistake(
        Problem(
            place=place,
            value=repr(named),
            allowed=f"must be {built_in}an import path `package.module:Name`",
            mend=f"did you mean {nearest[0]}?" if nearest else "",
        )
    )


def _imported(path: str, place: str) -> Any:
    module_name, _, name = path.partition(":")
    try:
        thing: Any = importlib.import_module(module_name)
        for part in name.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserMistake(
            Problem(
                place=place,
                value=repr(path),
                allowed="must be an import path `package.module:Name` that Python can import",
                mend=f"{error}; is the module installed, or in a folder on PYTHONPATH?",
            )
        ) from error
    return thing
