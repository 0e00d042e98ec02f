"""Time that a run may take: it stops between two rounds, so that it can be gone on with from there."""

from __future__ import annotations

import time
from collections.abc import Callable

HOUR = 3600.0


class TimeIsUp(KeyboardInterrupt):
    """The time that was given is over. Like Ctrl-C it ends everything, marks the run as killed, and is no failure."""


class TimeBudget:
    """Ends a run before a round that would go beyond its time; told when training begins, called when a round is over.

    The clock starts when this is made, so that waiting for machines and making rows count as well: what is paid for.
    How long rounds are is learned from those of the run itself, so its first one is always done: a run that is gone on
    with again and again gets on.

    Args:
        hours: How many.
        clock: Seconds; a test's own.
    """

    def __init__(self, hours: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.hours = hours
        self._clock, self._began = clock, clock()
        self._last, self._longest, self._rounds, self._heard = self._began, 0.0, 0, False

    def begin(self) -> None:
        """Hear that the rounds of a run begin; another variant's may be longer or shorter than those before.

        Raises:
            TimeIsUp: If the time is over and rounds of a run before have been done in it.
        """
        self._last, self._longest, self._rounds = self._clock(), 0.0, 0
        if self._heard and self._over():
            raise TimeIsUp(f"stopped before the first round of the next variant: {self.hours:g} hours are over")

    def __call__(self, done: int, rounds: int) -> None:
        """Hear that a round is over.

        Raises:
            TimeIsUp: If the longest round of the run so far, evaluation included, would not fit in any more.
        """
        now, self._heard = self._clock(), True
        took, self._last, self._rounds = now - self._last, now, self._rounds + 1
        # With the first round goes what is done once, compiling and reading; it is the measure only until the second.
        self._longest = max(took, self._longest) if self._rounds > 2 else took
        if done < rounds and self._over():
            raise TimeIsUp(f"stopped after round {done} of {rounds}: {self.hours:g} hours are over")

    def _over(self) -> bool:
        """Whether another round would end beyond the time."""
        return self._last - self._began + self._longest >= self.hours * HOUR
