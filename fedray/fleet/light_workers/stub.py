"""What Ray starts in place of a worker: asks the node's zygote to fork one, hands over what it was given, and ends.

Runs as `python -I -S stub.py default_worker.py --arguments`, and imports so little that it starts in a fiftieth of a
second. Whatever goes wrong, it becomes the plain worker that Ray wanted.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys

ATTEMPTS = 3
PATIENCE = 120.0
"""Seconds: the first stub on a busy node waits until its zygote has imported everything."""
WAITING = 1024
"""Stubs that may queue for the zygote."""
STANDARD_STREAMS = (0, 1, 2)
ZYGOTE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "zygote.py")  # noqa: PTH100, PTH118, PTH120
"""By os.path: pathlib would double the time to start."""
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Libraries that start threads when they are imported start none: a thread does not live through a fork."""


def main(command: list[str]) -> None:
    """Have a worker forked, or else become one.

    Args:
        command: Path of Ray's `default_worker.py`, and what it is given.
    """
    command = [word for word in command if word != "-u"]
    name = zygote_name(command)
    if name is not None:
        for _ in range(ATTEMPTS):
            if forked(name, command):
                return
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 - the command is Ray's own


def zygote_name(command: list[str]) -> str | None:
    """Where the zygote of this node and job listens; None for what is no worker of a job.

    It is a name in Linux' abstract namespace: no file is left behind, whatever ends first.
    """
    job, node = os.environ.get("RAY_JOB_ID", ""), option(command, "node-id")
    if not os.environ.get("RAY_RAYLET_PID") or not job.strip("f") or node is None:
        return None
    if option(command, "worker-type") not in (None, "WORKER"):
        return None
    return f"\0fedray-{node}-{job}"


def option(command: list[str], name: str) -> str | None:
    """The value of `--name=value`."""
    prefix = f"--{name}="
    return next((word.removeprefix(prefix) for word in command if word.startswith(prefix)), None)


def forked(name: str, command: list[str]) -> bool:
    """Whether the zygote forked a worker, which has all that this process was given."""
    request = json.dumps({"command": command, "environment": dict(os.environ), "folder": os.getcwd()}).encode()  # noqa: PTH109
    try:
        with connected(name, command) as zygote:
            zygote.settimeout(PATIENCE)
            # Anybody on the machine may listen under a name; only its own user's zygote gets the environment.
            if not same_user(zygote):
                return False
            socket.send_fds(zygote, [struct.pack("!I", len(request))], STANDARD_STREAMS)
            zygote.sendall(request)
            return zygote.recv(1) == b"+"
    except OSError:
        return False


def connected(name: str, command: list[str]) -> socket.socket:
    """A connection to the zygote, which is started if there is none."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(name)
    except ConnectionRefusedError:
        start_zygote(name, command)
        connection.connect(name)
    return connection


def start_zygote(name: str, command: list[str]) -> None:
    """Listen under the name, and leave the socket to a new zygote; who comes second finds the name taken, and waits."""
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(name)
        except OSError:
            return
        listener.listen(WAITING)
        if os.fork() == 0:
            try:
                become_zygote(listener, command)
            finally:
                os._exit(1)


def become_zygote(listener: socket.socket, command: list[str]) -> None:
    """In a forked child: a session of its own, its words in the log of Ray's session, and the zygote's program."""
    os.setsid()
    folder = os.path.join(option(command, "temp-dir") or "", option(command, "session-name") or "", "logs")  # noqa: PTH118
    try:
        log = os.open(os.path.join(folder, f"fedray-zygote-{os.getpid()}.log"), os.O_WRONLY | os.O_CREAT, 0o600)  # noqa: PTH118
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream, standing in zip(STANDARD_STREAMS, (nothing, log, log), strict=True):
        os.dup2(standing, stream)
    listener.set_inheritable(True)
    # The last two are for those who look at processes: whose it is.
    whose = [os.environ["RAY_RAYLET_PID"], option(command, "session-name") or ""]
    arguments = [sys.executable, ZYGOTE, str(listener.fileno()), *whose]
    os.execve(sys.executable, arguments, {**os.environ, **ONE_THREAD})  # noqa: S606 - as above


def same_user(connection: socket.socket) -> bool:
    """Whether a process of this user is at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", credentials)[1] == os.geteuid())


if __name__ == "__main__":
    main(sys.argv[1:])
