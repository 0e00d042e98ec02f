"""`fedray run` or `fedray resume` on a host: its lines as they come, and the object that it prints in the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.hosts.network import Host, wait_until


class Driver:
    """A driver's process, from `with` to the end of it.

    Args:
        host: Where it runs.
        environment: Its environment variables.
        words: After `fedray`: the command and its arguments; `--json` is added.
        folder: Where it runs.

    Attributes:
        lines: What it has said on standard error.
    """

    def __init__(self, host: Host, environment: Mapping[str, str], words: list[str], folder: Path) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            host.command(sys.executable, "-m", "fedray.cli", *words, "--json"),
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

    def __enter__(self) -> Driver:
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
            self.lines.append(line.rstrip("\n"))

    def _collect(self) -> None:
        assert self.process.stdout is not None
        self._said = self.process.stdout.read()

    def said(self, pattern: str) -> list[str]:
        """Lines in which a pattern is found."""
        return [line for line in list(self.lines) if re.search(pattern, line)]

    def wait_for(self, pattern: str, seconds: float = 90) -> str:
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

    def finish(self, seconds: float = 180) -> dict[str, Any]:
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
