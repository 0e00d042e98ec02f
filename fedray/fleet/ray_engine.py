"""Phones as Ray actors: on a cluster that was named, or on a local one that is started and ended here."""

# ruff: noqa: E402 - Ray reads its environment when it is imported

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Ray reads these when it is imported. Under `uv run` it would ship the working folder to every worker; usage statistics
# would leave the machine.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# In a notebook Ray asks for widgets that nothing here draws with.
logging.getLogger("ray.widgets").setLevel(logging.ERROR)

import ray

from fedray.data.shards import Dataset
from fedray.errors import Problem, RunFailed, UserMistake
from fedray.fleet.engine import Died, OnStarted
from fedray.fleet.growing import Reserved, reserve
from fedray.fleet.messages import Answer, Failure, Order
from fedray.fleet.placement import MIB, Placement

DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ActorUnschedulableError,
)
"""What Ray raises for an actor that will not answer; the last two are no kinds of the first."""

GATHERED_AT_ONCE = 64
"""Answers a `ray.wait`: its cost grows with the number of references (0.19 s for 1,000), so few calls take many."""


class RayEngine:
    """Phones in Ray actors.

    Args:
        address: A cluster to join; None joins one only if RAY_ADDRESS is set (a Ray job sets it), and else starts a
            local one, never joining one that merely runs on this machine. A connection that this process has already
            is used, and left open.
        gpus_per_actor: GPUs (or a share of one) for each.
        object_store_bytes: Of a local cluster.
        cpus: To ask a cluster for, and to wait for; None: those that are there.
        say: Told in one line that it waits.
    """

    def __init__(
        self,
        address: str | None,
        gpus_per_actor: float,
        object_store_bytes: int = 256 * MIB,
        cpus: int | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.gpus_per_actor = gpus_per_actor
        self.started_cluster = not ray.is_initialized()
        if self.started_cluster:
            _connect(address or os.environ.get("RAY_ADDRESS"), object_store_bytes)
        self._reserved: Reserved | None = None
        self._actors: list[Any] = []
        self._waiting: dict[Any, tuple[int, Order]] = {}
        if cpus:
            try:
                self._reserved = reserve(cpus, say)
            except BaseException:
                self.stop()
                raise

    @property
    def cpus(self) -> int:
        """CPUs of the cluster, at least 1."""
        return max(1, int(_resources().get("CPU", 1)))

    @property
    def memory_bytes(self) -> int:
        """Memory of the cluster that Ray may give to actors."""
        return int(_resources().get("memory", 0))

    @property
    def nodes(self) -> int:
        """Machines of the cluster that are alive."""
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return sum(bool(node["Alive"]) for node in nodes)

    def start(self, placement: Placement, dataset: Dataset, on_started: OnStarted) -> None:
        """Start all actors; returns when every one has answered.

        Raises:
            RunFailed: If one dies while it starts.
        """
        # A share of a CPU each, so that they spread over nodes by CPU and all have a place at once.
        cpus = 0.0 if self._reserved else min(1.0, int(self.cpus / placement.actors * 1000) / 1000)
        self._ranges, self._dataset = placement.ranges, ray.put(dataset)
        self._actors = [self._actor(number, cpus) for number in range(placement.actors)]
        waiting = [actor.ready.remote() for actor in self._actors]
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=min(GATHERED_AT_ONCE, len(waiting)), timeout=1.0)
            try:
                ray.get(done)
            except DEATHS as error:
                # An actor reads no row before its first order, so what it says here may be told.
                said = str(error).strip().splitlines()[-1]
                raise RunFailed(
                    f"an actor died while it started: {said}\n"
                    "    mend: if memory ran out, fewer actors help: raise fleet.phones_per_actor"
                ) from error
            on_started(len(self._actors) - len(waiting), len(self._actors))

    def _actor(self, number: int, cpus: float) -> Any:
        from fedray.fleet.actor import PhoneActor

        actor_class: Any = PhoneActor
        placed = actor_class.options(num_cpus=cpus, num_gpus=self.gpus_per_actor or None)
        return placed.remote(number, *self._ranges[number], self._dataset)

    def replace(self, actor: int) -> None:
        """Start a new, unprepared actor in the place of one that died."""
        self._waiting = {reference: other for reference, other in self._waiting.items() if other[0] != actor}
        ray.kill(self._actors[actor])
        # It asks for no CPU: after the loss of a node there may be none left, and it must live somewhere.
        self._actors[actor] = self._actor(actor, 0.0)

    def share(self, value: Any) -> Any:
        """Put a value into the object store, from which each node fetches it once."""
        return ray.put(value)

    def send(self, actor: int, order: Order, shared: Any) -> None:
        """Send an order with what `share` returned."""
        self._waiting[self._actors[actor].perform.remote(order, shared)] = (actor, order)

    def next_answers(self) -> list[Answer | Died]:
        """Wait for at least one answer, and take what else is there."""
        done: list[Any] = []
        while not done:
            # A timeout, so that Ctrl-C is heard; one first, then all that are ready.
            done, _ = ray.wait(list(self._waiting), num_returns=1, timeout=1.0)
        if len(self._waiting) > 1:
            done, _ = ray.wait(list(self._waiting), num_returns=min(GATHERED_AT_ONCE, len(self._waiting)), timeout=0.0)
        return each_death_once([self._answer(reference, *self._waiting.pop(reference)) for reference in done])

    def _answer(self, reference: Any, actor: int, order: Order) -> Answer | Died:
        try:
            answer: Answer = ray.get(reference)
        except DEATHS as error:
            return Died(actor, type(error).__name__)
        except ray.exceptions.RayError as error:
            # What crosses to the actor or back could not be unpickled there; the text may quote it, so it isn't kept.
            kind = type(getattr(error, "cause", None) or error).__name__
            return Failure(order.run, order.round, order.attempt, actor, kind)
        return answer

    def stop(self) -> None:
        """End all actors, and the cluster if it was started here."""
        try:
            for actor in self._actors:
                with suppress(ray.exceptions.RayError):
                    ray.kill(actor)
        finally:
            self._actors, self._waiting = [], {}
            if self._reserved:
                self._reserved.release()
            if self.started_cluster:
                self.started_cluster = False
                ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Refuse an address where nothing listens; Ray would try again for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise UserMistake(
            Problem("fleet.address", repr(address), "must be a Ray cluster that answers", str(error))
        ) from error


def _resources() -> dict[str, float]:
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return found


def each_death_once(answers: list[Answer | Died]) -> list[Answer | Died]:
    """The answers with one `Died` an actor: all that a dead actor had been sent fails, but it died once."""
    kept: list[Answer | Died] = []
    dead: set[int] = set()
    for answer in answers:
        if isinstance(answer, Died):
            if answer.actor in dead:
                continue
            dead.add(answer.actor)
        kept.append(answer)
    return kept


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Connecting to Ray sets a handler of SIGTERM that ends the process; whoever has set one before keeps it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@_sigterm_kept()
def _connect(address: str | None, object_store_bytes: int) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address and address != "local":
        _refuse_silence(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            why = str(error).splitlines()[0]
            raise UserMistake(
                Problem("fleet.address", repr(address), "must be a Ray cluster that answers", why)
            ) from error
        return
    ray.init(
        address="local",
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        object_store_memory=object_store_bytes,
        **quiet,
    )
