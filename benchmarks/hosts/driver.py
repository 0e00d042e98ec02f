"""A driver on a host, such as `fedray run`: its lines as they come, and the object that it prints in the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks.hosts.network import Host, wait_until


class Driver:
    """A driver's process, from `with` to the end of it.

    Args:
        host: Where it runs.
        environment: Its environment variables.
        words: After `python -m`: a module and its arguments; what it prints in the end must be one JSON object.
        folder: Where it runs.

    Attributes:
        lines: What it has said on standard error.
        times: When each line came, by the clock of `time.monotonic`.
    """

    def __init__(self, host: Host, environment: Mapping[str, str], words: Sequence[str], folder: Path) -> None:
        self.lines: list[str] = []
        self.times: list[float] = []
        self.process = subprocess.Popen(
            host.command(sys.executable, "-m", *words),
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._said = ""
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._listen, self._collect)]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for reader in self._readers:
            reader.join(10)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.times.append(time.monotonic())
            self.lines.append(line.rstrip("\n"))

    def _collect(self) -> None:
        assert self.process.stdout is not None
        self._said = self.process.stdout.read()

    def said(self, pattern: str) -> list[str]:
        """Lines in which a pattern is found."""
        return [line for line in list(self.lines) if re.search(pattern, line)]

    def wait_for(self, pattern: str, seconds: float = 180) -> str:
        """The first line with a pattern, once there is one.

        Raises:
            TimeoutError, RuntimeError: If none comes, with all that was said; at once if the driver has ended.
        """

        def there() -> bool:
            if not self.said(pattern) and self.process.poll() is not None:
                self._readers[0].join(10)
                if not self.said(pattern):
                    raise RuntimeError(f"the driver ended without saying {pattern!r}: {self.told()}")
            return bool(self.said(pattern))

        wait_until(there, seconds, lambda: f"{pattern!r} from the driver, which said: {self.told()}")
        return self.said(pattern)[0]

    def finish(self, seconds: float = 300) -> dict[str, Any]:
        """What it printed in the end; empty if it failed.

        Raises:
            TimeoutError: If it doesn't end.
        """
        wait_until(
            lambda: self.process.poll() is not None, seconds, lambda: f"the driver's end; it said: {self.told()}"
        )
        for reader in self._readers:
            reader.join(10)
        return dict(json.loads(self._said)) if self.process.returncode == 0 else {}

    def told(self) -> str:
        """All lines, for a message."""
        return "\n".join(self.lines[-60:])
