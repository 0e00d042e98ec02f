"""Machines of a small network, all on this one: Linux network namespaces joined by a bridge.

Each host has an address of its own and one link to the switch, which can be cut, slowed or made to flap. The bridge
stands in a namespace as well, so nothing of this machine's own network is touched. Needs root and iproute2's `ip` and
`tc`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

SUBNET = "10.77.0"
"""Addresses are this and the host's number; they exist inside of the namespaces only."""

# Each packet late and some lost; where the kernel can't do that, a thin pipe with a queue: late and lost under load.
LATE_AND_LOSSY = "netem delay 100ms 20ms loss 2%"
THIN = "tbf rate 256kbit burst 4kb latency 400ms"


class NoNetwork(Exception):
    """This machine lets us make no namespaces; says why."""


def wait_until(true: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    """Wait for something to become true, up to a deadline.

    Raises:
        TimeoutError: With what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what()}: not within {seconds:g} s")
        time.sleep(0.05)


def run(*command: str) -> str:
    """A command's standard output.

    Raises:
        RuntimeError: If it fails, with what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def status(pid: int) -> str:
    """The kernel's letter for what a process does: R, S, T (stopped), Z (a zombie); empty once it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return ""


@dataclass(frozen=True)
class Link:
    """A host's cable to the switch.

    Attributes:
        switch: The namespace of the bridge.
        port: The cable's end there.
    """

    switch: str
    port: str

    def cut(self) -> None:
        """Nothing gets through any more, in either direction, and no end is told."""
        run("ip", "-n", self.switch, "link", "set", self.port, "nomaster")

    def mend(self) -> None:
        """Whole and fast again."""
        run("ip", "-n", self.switch, "link", "set", self.port, "master", "bridge")
        with suppress(RuntimeError):  # it wasn't slow
            run("tc", "-n", self.switch, "qdisc", "del", "dev", self.port, "root")

    def slow(self) -> str:
        """Slow towards the host; returns how, in tc's words."""
        for how in (LATE_AND_LOSSY, THIN):
            with suppress(RuntimeError):  # this kernel has no netem
                run("tc", "-n", self.switch, "qdisc", "replace", "dev", self.port, "root", *how.split())
                return how
        raise NoNetwork("this kernel can slow no link: it has neither netem nor tbf")

    @contextmanager
    def being_cut(self) -> Iterator[None]:
        """Cut for as long as the body runs."""
        self.cut()
        try:
            yield
        finally:
            self.mend()

    def flap(self, times: int, seconds: float) -> None:
        """Cut and mend again and again, each for so many seconds."""
        for _ in range(times):
            with self.being_cut():
                time.sleep(seconds)
            time.sleep(seconds)


@dataclass(frozen=True)
class Host:
    """One machine.

    Attributes:
        name: For people.
        namespace: Its network namespace.
        address: Its own.
        link: To all others.
    """

    name: str
    namespace: str
    address: str
    link: Link

    def command(self, *words: str) -> list[str]:
        """A command that runs on this host."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def pids(self) -> set[int]:
        """All processes of this host."""
        return {int(pid) for pid in run("ip", "netns", "pids", self.namespace).split()}

    def kill(self, spared: Iterable[int] = ()) -> None:
        """SIGKILL to all its processes but those spared, until none is left: a machine that lost its power."""

        def all_gone() -> bool:
            left = {pid for pid in self.pids() - set(spared) if status(pid) not in ("", "Z")}
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        wait_until(all_gone, 30, lambda: f"the end of all processes of {self.name}")


@dataclass
class Network:
    """A switch and its hosts, from `with` to the end of it.

    Attributes:
        names: Of the hosts; the first has the address that ends in 1.
        hosts: By name.
    """

    names: Sequence[str]
    hosts: dict[str, Host] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._switch = f"fedray-{os.getpid()}-switch"

    def __enter__(self) -> Self:
        refuse_the_impossible()
        sweep()
        try:
            run("ip", "netns", "add", self._switch)
            run("ip", "-n", self._switch, "link", "add", "bridge", "type", "bridge")
            run("ip", "-n", self._switch, "link", "set", "bridge", "up")
            for number, name in enumerate(self.names, 1):
                self.hosts[name] = self._host(name, f"{SUBNET}.{number}")
        except RuntimeError as error:
            self.close()
            raise NoNetwork(f"this machine lets us make no network of its own: {error}") from error
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _host(self, name: str, address: str) -> Host:
        namespace, port = f"fedray-{os.getpid()}-{name}", f"to-{name}"
        run("ip", "netns", "add", namespace)
        run("ip", "-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._switch)
        run("ip", "-n", self._switch, "link", "set", port, "master", "bridge", "up")
        run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", namespace, "link", "set", device, "up")
        # Leads nowhere; programs find their own address by asking where the way to the world begins.
        run("ip", "-n", namespace, "route", "add", "default", "dev", "eth0")
        return Host(name, namespace, address, Link(self._switch, port))

    def close(self) -> None:
        """End all processes of all hosts, and take the network down."""
        for host in self.hosts.values():
            host.kill()
        for namespace in namespaces():
            if namespace.startswith(f"fedray-{os.getpid()}-"):
                run("ip", "netns", "del", namespace)
        self.hosts.clear()


def refuse_the_impossible() -> None:
    """Raise NoNetwork where there is no root, or no iproute2."""
    if missing := [tool for tool in ("ip", "tc") if not shutil.which(tool)]:
        raise NoNetwork(f"{' and '.join(missing)} not found; they are part of iproute2")
    if os.geteuid():
        raise NoNetwork("only root can make network namespaces")


def namespaces() -> list[str]:
    """Of this machine, by name."""
    return [line.split()[0] for line in run("ip", "netns", "list").splitlines()]


def sweep() -> None:
    """Take away what a process left behind that was killed before it could do so itself."""
    for name in namespaces():
        owner = re.fullmatch(r"fedray-(\d+)-(\w+)", name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            Host(owner[2], name, "", Link("", "")).kill()
            run("ip", "netns", "del", name)
