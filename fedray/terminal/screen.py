"""Where words go: results to standard output, progress and errors to standard error, one JSON object for programs.

Without a terminal nothing is coloured, cut or wrapped, so that what is piped or logged is plain lines.
"""

from __future__ import annotations

import io
import json
import math
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = re.compile(r"\x1b\[[\d;]*m")
KNOWN_WELL = "worker processes have been started on node"
"""Ray warns so of every fleet with many actors a CPU, which is what a phone a process is."""
UNCUT = 1000  # columns, where there is no terminal whose width counts


def results() -> Console:
    """The console for what a command was asked for."""
    return _console(stderr=False)


def messages() -> Console:
    """The console for how it goes and what goes wrong."""
    return _console(stderr=True)


def print_json(found: Any) -> None:
    """Print one JSON object on standard output; numbers that are not finite become null, which JSON has instead."""
    sys.stdout.write(json.dumps(_finite(found), indent=1, allow_nan=False, ensure_ascii=False) + "\n")


@contextmanager
def kept_for_results() -> Iterator[None]:
    """What is printed on standard output inside goes to standard error: Ray's warnings, words of a user's own model."""
    aside = Aside()
    try:
        with redirect_stdout(aside):
            yield
    finally:
        aside.flush()


class Aside(io.TextIOBase):
    """A standard output whose lines, without colours, go to whatever standard error is at that moment.

    It is no terminal, since some remember the standard output that they find, beyond the time it stands there: on one
    that is, Ray's colorama resets the colours when the process ends, after the last line that a user should read.
    """

    def __init__(self) -> None:
        self._begun = ""
        self._writing = threading.Lock()  # Ray prints from a thread of its own

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Pass on the lines that are whole now."""
        with self._writing:
            *lines, self._begun = (self._begun + text).split("\n")
            for line in lines:
                if KNOWN_WELL not in line:
                    sys.stderr.write(COLOURS.sub("", line) + "\n")
        return len(text)

    def flush(self) -> None:
        """Pass on a line that has begun."""
        with self._writing:
            sys.stderr.write(COLOURS.sub("", self._begun))
            sys.stderr.flush()
            self._begun = ""


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    return Console(
        stderr=stderr,
        force_terminal=terminal,  # whatever FORCE_COLOR says: a log file wants no control codes
        width=None if terminal else UNCUT,
        highlight=False,
        markup=False,  # names and paths may hold brackets
        emoji=False,
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
