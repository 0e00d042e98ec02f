"""Memory of processes. It is PSS: a page that several processes share counts in parts, so a sum counts it once. macOS
has no PSS; there it is USS, which leaves shared pages out."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil


def memory_bytes(process: psutil.Process) -> int:
    """Of one process; 0 if it has just ended."""
    try:
        found = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return int(getattr(found, "pss", found.uss))


def is_phone_actor(process: psutil.Process) -> bool:
    """Ray names a worker's process after the actor in it."""
    try:
        return "".join(process.cmdline()[:1]).startswith("ray::PhoneActor")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started, light workers among them; empty once it has ended."""
    try:
        head = psutil.Process(pid)
        found = [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    for zygote in zygotes({process.pid for process in found}):
        with suppress(psutil.NoSuchProcess):
            found += [zygote, *zygote.children(recursive=True)]
    return found


def zygotes(raylets: set[int]) -> list[psutil.Process]:
    """The processes that light workers are forked from: nobody's children, but each names its raylet."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if len(words) > 3 and words[1].endswith("light_workers/zygote.py") and int(words[3]) in raylets:
            found.append(process)
    return found


class MemoryWatch(threading.Thread):
    """Looks at a process and all that it has started, again and again, from outside of them.

    Attributes:
        stage: Said by whoever knows; each sample is of a stage.
        samples: `seconds` since the start, `stage`, and bytes: `driver`, `actors`, `others` (Ray), and `shared`, by
            which /dev/shm, where Ray's object store lies, has grown. What processes have mapped of it is in their PSS
            as well, so a sum of all four counts too much rather than too little.
    """

    def __init__(self, pid: int, every: float = 0.5) -> None:
        super().__init__(daemon=True)
        self.pid, self.every, self.stage = pid, every, ""
        self.samples: list[dict[str, Any]] = []
        self._over = threading.Event()
        self._shared, self._began = _shared_bytes(), time.perf_counter()

    def run(self) -> None:
        """Sample until `finish`."""
        while not self._over.wait(self.every):
            kinds = {"driver": 0, "actors": 0, "others": 0}
            for process in family(self.pid):
                kind = "driver" if process.pid == self.pid else "actors" if is_phone_actor(process) else "others"
                kinds[kind] += memory_bytes(process)
            sample = {"seconds": round(time.perf_counter() - self._began, 2), "stage": self.stage, **kinds}
            self.samples.append(sample | {"shared": max(0, _shared_bytes() - self._shared)})

    def finish(self) -> list[dict[str, Any]]:
        """Stop looking; all samples."""
        self._over.set()
        self.join()
        return self.samples


def total(sample: dict[str, Any]) -> int:
    """All bytes of a sample."""
    return sum(int(sample[kind]) for kind in ("driver", "actors", "others", "shared"))


def _shared_bytes() -> int:
    store = Path("/dev/shm")
    return psutil.disk_usage(str(store)).used if store.is_dir() else 0
