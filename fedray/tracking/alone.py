"""One driver a run: a lock in the run's folder, which the system takes back when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from fedray.errors import Problem, UserMistake


class Alone:
    """The right to drive a run, held until `release`.

    Args:
        folder: Of the run.

    Raises:
        UserMistake: If a driver that is alive holds it. Where the file system has no locks, that can't be known.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = (folder / "driver.lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            rule = f"is being run by {holder}"
            raise UserMistake(Problem("run", folder.name, rule, "wait until it has ended, or end it first")) from None
        except OSError:
            return
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()

    def release(self) -> None:
        """Let others drive it."""
        self._file.close()
