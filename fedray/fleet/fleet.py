"""The driver's handle on all phone actors: ask all of them something, add up what they answer, replace those that die.

A fleet outlives a run: variants use one after another. An actor that died is replaced by a new one that reads the same
phones' rows and is asked the same again, with a new attempt number; since every draw has an address and every sum is
exact, the answer is the same to the bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fedray.data.shards import Dataset
from fedray.errors import BadRow, RunFailed
from fedray.fleet.compiling import NotCompiled
from fedray.fleet.engine import Died, Engine, OnStarted
from fedray.fleet.messages import Answer, Arrays, Failure, Lost, Order, Prepare, Report, RunSpec, Visit, Work
from fedray.fleet.placement import Placement
from fedray.sums import merged

MOST_REPLACEMENTS = 3
"""Of one actor within one order; an actor that dies again and again is not saved by another start."""


@dataclass
class Gathered:
    """What the actors' reports add up to.

    Attributes:
        sums: Whole-number sums by name.
        lost: Phones that dropped out.
        weights: After `Visit`: the weights as the last phone left them.
    """

    sums: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    weights: npt.NDArray[np.float32] | None = None

    def add(self, report: Report) -> None:
        """Add one report; reports come in any order, and only sums are kept."""
        self.sums = merged(self.sums, report.sums)
        self.lost += report.lost
        self.weights = report.weights


class Fleet:
    """All phones.

    Args:
        engine: Where they live.
        placement: Which live together.
        dataset: Their rows.
        say: Told in one line what died and what was done about it.
        on_started: Told how many actors of how many have started.

    Attributes:
        taps: Called with every answer that an actor sends.
    """

    def __init__(
        self,
        engine: Engine,
        placement: Placement,
        dataset: Dataset,
        say: Callable[[str], None] = lambda _line: None,
        on_started: OnStarted = lambda _started, _of: None,
    ) -> None:
        self.engine, self.placement, self.dataset, self.say = engine, placement, dataset, say
        self.taps: list[Callable[[Answer], None]] = []
        self._spec: RunSpec | None = None
        self._shared_spec: Any = None
        self._tickets = 0
        engine.start(placement, dataset, on_started)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def prepare(self, spec: RunSpec) -> None:
        """Get all actors ready for a run, or for the same run with more known about it.

        Raises:
            BadRow, RunFailed: As `ask`.
        """
        self._spec, self._shared_spec = spec, self.engine.share(spec)
        self._gather(range(self.placement.actors), Prepare(), self._shared_spec, 0)

    def ask(self, work: Work, arrays: Arrays, round_number: int = 0) -> Gathered:
        """Ask all actors the same, and add up their reports.

        Args:
            work: What to do.
            arrays: What comes with it; goes to each node once.
            round_number: 0 outside of rounds.

        Raises:
            BadRow: If a phone's row can't be used.
            RunFailed: If an actor fails otherwise, or dies again and again.
        """
        return self._gather(range(self.placement.actors), work, self.engine.share(arrays), round_number)

    def visit(self, work: Visit, arrays: Arrays, round_number: int) -> Gathered:
        """Send the weights from actor to actor, in order of their phones' ids; each trains on from where the last left.

        Raises:
            BadRow, RunFailed: As `ask`.
        """
        total = Gathered(weights=arrays["weights"])
        for actor in range(self.placement.actors):
            shared = self.engine.share({**arrays, "weights": total.weights})
            here = self._gather([actor], work, shared, round_number)
            total = Gathered(merged(total.sums, here.sums), total.lost + here.lost, here.weights)
        return total

    def stop(self) -> None:
        """End all actors."""
        self.engine.stop()

    def _gather(self, actors: Iterable[int], work: Work, shared: Any, round_number: int) -> Gathered:
        first = self._tickets + 1
        waiting = {actor: self._send(actor, work, shared, round_number) for actor in actors}
        deaths: Counter[int] = Counter()
        total = Gathered()
        while waiting:
            for answer in self.engine.next_answers():
                if isinstance(answer, Died):
                    deaths[answer.actor] += 1
                    self._bring_back(answer, round_number, deaths[answer.actor])
                    if answer.actor in waiting:
                        waiting[answer.actor] = self._send(answer.actor, work, shared, round_number)
                    continue
                for tap in self.taps:
                    tap(answer)
                if answer.run != self._running.run or answer.attempt < first:
                    continue  # a late answer to something that was given up
                if isinstance(answer, Failure):
                    raise _error(answer)
                if waiting.get(answer.actor) == answer.attempt:
                    del waiting[answer.actor]
                    total.add(answer)
        return total

    def _send(self, actor: int, work: Work, shared: Any, round_number: int) -> int:
        """Send an order; its attempt number is one that no order has had before."""
        self._tickets += 1
        self.engine.send(actor, Order(self._running.run, round_number, self._tickets, work), shared)
        return self._tickets

    def _bring_back(self, died: Died, round_number: int, deaths: int) -> None:
        first, last = self.placement.ranges[died.actor]
        who = f"actor {died.actor} (phones {first} to {last - 1}) died in round {round_number} ({died.how})"
        if deaths > MOST_REPLACEMENTS:
            raise RunFailed(
                f"{who}, {deaths} times in this round. If memory ran out (dmesg, or Ray's logs, say so), "
                "fewer actors help: raise fleet.phones_per_actor"
            )
        self.say(f"{who}; started again, its order repeated")
        self.engine.replace(died.actor)
        # Actors do what they are sent in order, so what follows finds it prepared.
        self._send(died.actor, Prepare(), self._shared_spec, 0)

    @property
    def _running(self) -> RunSpec:
        if self._spec is None:
            raise RunFailed("the fleet has not been prepared for a run")
        return self._spec


def _error(failure: Failure) -> Exception:
    if failure.expected:
        return BadRow(failure.kind, failure.file, failure.column, failure.row)
    if failure.kind == NotCompiled.__name__:
        return RunFailed(
            f"actor {failure.actor} could not compile local training for its machine; set learning.compile: off. "
            "What the compiler said stays in the log of its node (/tmp/ray/session_latest/logs)"
        )
    if not failure.file:
        return RunFailed(
            f"actor {failure.actor} could not take its order in round {failure.round}, or send its answer: "
            f"{failure.kind}. Can every node import what the experiment names, and can what it returns be pickled?"
        )
    return RunFailed(
        f"actor {failure.actor} failed in round {failure.round}: {failure.kind} at {failure.file}, line {failure.row}. "
        "What it said stays in the log of its node (/tmp/ray/session_latest/logs), since it may quote a phone's rows; "
        "to see it here, run with --set fleet.engine=inline"
    )
