"""A node's zygote: has imported what a phone actor needs, and forks Ray's workers from that.

What was imported before is shared with all of them, so a worker has 30 MiB of its own instead of 200. A program, not a
module: the stub starts it with a listening socket. It ends with the node's raylet, or when it has had no worker for a
while. It starts no thread and trains nothing: neither would live through a fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
IDLE = 5.0
"""Seconds without a worker after which it ends: the job is over, or its actors live on other nodes."""
PRELOADED = (
    "ray._private.workers.default_worker",
    "ray._common.pydantic_compat",
    "ray._common.usage.usage_lib",
    "ray._private.arrow_serialization",
    "numpy.ctypeslib",
    "numpy.ma",
    "pyarrow.json",
    "pydantic.v1",
    "starlette.datastructures",
    "fedray.fleet.phones",
    "fedray.fleet.starting",
)
"""What an actor has imported after three rounds, as far as one name doesn't bring the next. Who lacks one goes without.

Not `fedray.fleet.actor`: making an actor's class draws an id, and then all workers would draw the same ones."""
FIRST_KILLED = "1000"
"""As Ray sets it for workers: the kernel ends a worker before Ray's own processes where memory runs out."""


def main() -> None:
    """Import, serve, and in a forked child become the worker."""
    sys.path[0] = str(HERE.parents[3])  # where this fedray is, and not this folder
    raylet = os.pidfd_open(int(os.environ["RAY_RAYLET_PID"]))
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        preload()
        refuse_unfit()
        request = serve(listener, raylet)
    os.close(raylet)
    if request is not None:
        become_worker(request)


def preload() -> None:
    """Import what workers import, and keep the collector from writing to it, which would copy it into each of them."""
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            note(f"without {name}: {error}")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    gc.collect()
    gc.freeze()


def refuse_unfit() -> None:
    """End if workers forked from this process would not be whole, or would not be different ones."""
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are enough
    if threads > 1:
        sys.exit(f"{threads - 1} threads run here, and would in no worker: nothing is forked")
    if drawn_in_a_child() == drawn_in_a_child():
        sys.exit("Ray's generator of ids has been used here, and all workers would draw the same: nothing is forked")


def drawn_in_a_child() -> bytes:
    """An id as Ray draws it, in a forked process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, sys.modules["ray._raylet"].ObjectID.from_random().binary())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        drawn = answer.read()
    os.waitpid(child, 0)
    return drawn


def serve(listener: socket.socket, raylet: int) -> dict[str, Any] | None:
    """Fork a worker for each stub that asks; returns its request in a worker, and None in the zygote at its end."""
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    waiting = select.poll()
    for file in (listener.fileno(), raylet, woken):
        waiting.register(file, select.POLLIN)
    workers: set[int] = set()
    while True:
        ready = {file for file, _ in waiting.poll(None if workers else IDLE * 1000)}
        if woken in ready:
            os.read(woken, 4096)
        workers -= ended()
        if raylet in ready or (not ready and not workers):
            return None
        if listener.fileno() in ready:
            request = asked(listener, workers)
            if request is not None:
                os.close(woken)
                os.close(wake)
                return request


def ended() -> set[int]:
    """Workers that have ended, reaped."""
    found: set[int] = set()
    while True:
        try:
            worker, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if worker == 0:
            return found
        found.add(worker)


def asked(listener: socket.socket, workers: set[int]) -> dict[str, Any] | None:
    """Fork for the next stub in the queue; what it asked for is returned in the forked worker only."""
    stub, _ = listener.accept()
    with stub:
        try:
            request, streams = received(stub)
        except (OSError, ValueError) as error:
            note(f"a stub went away: {error}")
            return None
        try:
            worker = os.fork()
        except OSError as error:  # the stub hears nothing, and starts a plain one
            note(f"no worker could be forked: {error}")
            worker = -1
        if worker == 0:
            settle_or_end(request, streams, stub)
            return request
        for stream in streams:
            os.close(stream)
        if worker > 0:
            workers.add(worker)
    return None


def settle_or_end(request: dict[str, Any], streams: list[int], stub: socket.socket) -> None:
    """In the forked worker: settle, and tell the stub, which starts a plain worker if it hears nothing."""
    try:
        settle(request, streams)
        stub.sendall(b"+")
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def note(line: str) -> None:
    """Into the zygote's log."""
    sys.stderr.write(f"{line}\n")


def received(stub: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A stub's request and its standard streams.

    Raises:
        OSError: For another user's process, and one that goes away or says nothing for long.
        ValueError: If it is cut off, or none.
    """
    stub.settimeout(10.0)
    credentials = stub.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    if struct.unpack("3i", credentials)[1] != os.geteuid():
        raise PermissionError("it belongs to another user")
    head, streams, _, _ = socket.recv_fds(stub, 4, 3)
    try:
        length = struct.unpack("!I", head)[0] if len(head) == 4 else 0
        body = b""
        while len(body) < length and (part := stub.recv(length - len(body))):
            body += part
        if len(body) < length or len(streams) < 3:
            raise ValueError("its request was cut off")
        return json.loads(body), list(streams)
    except BaseException:
        for stream in streams:
            os.close(stream)
        raise


def settle(request: dict[str, Any], streams: list[int]) -> None:
    """In the forked worker: what belongs to a process becomes what Ray gave to the stub."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    Path("/proc/self/oom_score_adj").write_text(FIRST_KILLED)
    for stream, given in enumerate(streams):
        os.dup2(given, stream)
        os.close(given)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    command = request["command"]
    sys.argv[:] = command
    sys.path[0] = str(Path(command[0]).parent)
    for folder in reversed(os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        if folder and folder not in sys.path:
            sys.path.insert(1, folder)
    # Ray read its settings (RAY_...) when it was imported, with another job's or process' environment.
    sys.modules["ray._raylet"].Config.initialize("")
    draw_anew()


def draw_anew() -> None:
    """Seed the global generators; Python's own does so by itself. Phones draw from none of them."""
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def become_worker(request: dict[str, Any]) -> None:
    """Run Ray's worker, which ends the process when it ends."""
    runpy.run_path(request["command"][0], run_name="__main__")


if __name__ == "__main__":
    main()
