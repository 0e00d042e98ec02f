"""Having Ray start the stub in place of its workers: on a cluster that is started here, or on one that was joined.

On a cluster of our own, Ray is shown a launcher as its Python while it starts, and calls the stub directly. A cluster
that was joined has its command for workers already. There the actors' runtime environment names the stub as their
Python (`py_executable`, Ray's documented seam); each start then goes through a process of Ray's that imports ray first
and takes a second of CPU, which the nodes of a cluster share.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LAUNCHER, STUB, ZYGOTE = HERE / "launcher.sh", HERE / "stub.py", HERE / "zygote.py"

SYSTEM_CONFIG: dict[str, Any] = {
    # A worker that is started before a job is known could not be forked from that job's zygote.
    "enable_worker_prestart": False,
    "prestart_worker_first_driver": False,
    # How many start at once is decided here, in waves; Ray would warn at four times the CPUs, and again at each double.
    "worker_maximum_startup_concurrency": 256,
    # Three quarters of what an idle worker does is Ray's look for a signal, a hundred times a second, which no setting
    # slows down; without its statistics each look costs a tenth less.
    "event_stats": False,
    # The first worker waits until its zygote has imported everything.
    "worker_register_timeout_seconds": 120,
}
"""Of a local cluster with light workers."""


def impossible() -> str:
    """Why this machine can't fork workers at all; empty if it may."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return "they need Linux 5.3 or later"
    return ""


def launchable() -> bool:
    """The launcher may be run here: it came with its mode, onto a disk that holds programs."""
    return not impossible() and os.access(LAUNCHER, os.X_OK)


@contextmanager
def as_rays_python() -> Iterator[None]:
    """Within it, what Ray starts is started by the launcher.

    `FEDRAY_PYTHON` stays in this process' environment: a raylet hands it on to workers that it starts much later.
    """
    python = sys.executable
    os.environ["FEDRAY_PYTHON"] = python
    sys.executable = str(LAUNCHER)
    try:
        yield
    finally:
        sys.executable = python


def by_runtime_env() -> dict[str, Any]:
    """Options of an actor on a cluster that was joined."""
    return {"runtime_env": {"py_executable": f"{sys.executable} -I -S {STUB}"}}
