"""A real Ray head with its dashboard, on ports and in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from small_fleets import wait_until

ROOT = Path(__file__).parents[2]
PORTS = (
    "port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port",
    "runtime-env-agent-port", "ray-client-server-port", "node-manager-port", "object-manager-port",
)  # fmt: skip


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all held at once, so that none comes twice."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def environment(**more: str) -> dict[str, str]:
    """Of a machine that has fedray: its `python` and `ray` are those of the tests."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    python = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return {**kept, "PATH": path, "PYTHONPATH": python, **more}


class Head:
    """One machine with Ray and its dashboard.

    Attributes:
        address: Of its dashboard.
        gcs: Of the cluster.
        home: The home directory of those who run jobs there.
    """

    def __init__(self, cpus: int = 2, scaling: dict[str, Any] | None = None, **more: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fr-", dir="/tmp"))  # sockets below it need a short path
        self.home = self.folder / "home"
        self.home.mkdir()
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.gcs, self.address = f"127.0.0.1:{ports['port']}", f"http://127.0.0.1:{ports['dashboard-port']}"
        line = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
        line += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={self.folder / 'ray'}"]
        line += [f"--num-cpus={cpus}", f"--object-store-memory={100 * 2**20}"]
        if scaling:
            scaling["provider"]["gcs_address"] = self.gcs
            (file := self.folder / "scaling.json").write_text(json.dumps(scaling))
            line.append(f"--autoscaling-config={file}")
        line += [f"--{name}={port}" for name, port in ports.items()]
        self.log = (self.folder / "head.log").open("wb")
        own = {"HOME": str(self.home), "RAY_enable_worker_prestart": "0", **more}
        self.process = subprocess.Popen(
            line, env=environment(**own), stdout=self.log, stderr=self.log, start_new_session=True
        )
        try:
            wait_until(self.answers, 120, lambda: f"the head's start: {self.said()}")
        except BaseException:
            self.end()
            raise

    def said(self) -> str:
        """What `ray start` printed."""
        return (self.folder / "head.log").read_text()

    def answers(self) -> bool:
        """Whether the dashboard does, if only to say that it wants a token."""
        assert self.process.poll() is None, self.said()
        try:
            urllib.request.urlopen(f"{self.address}/api/version", timeout=2).close()
        except urllib.error.HTTPError:
            return True
        except (urllib.error.URLError, OSError):
            return False
        return True

    def end(self) -> None:
        """End all that it started, and leave nothing."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        _, alive = psutil.wait_procs(list(self._processes()), timeout=30)
        for process in alive:
            process.kill()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _processes(self) -> Iterator[psutil.Process]:
        """All that name its folder: machines that the autoscaler started are nobody's children."""
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in word for word in process.info["cmdline"] or ()):
                yield process


@contextmanager
def tunnel(address: str) -> Iterator[str]:
    """Another address for a server of this machine, as `ray dashboard` opens one; cut at the end, as tunnels are."""
    port = int(address.rpartition(":")[2])
    ends: list[socket.socket] = []

    class Through(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            there = socket.create_connection(("127.0.0.1", port))
            ends.extend((self.request, there))
            back = threading.Thread(target=_copy, args=(there, self.request), daemon=True)
            back.start()
            _copy(self.request, there)
            back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Through) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(2**16):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
