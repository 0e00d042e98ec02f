"""Time that a run may take: it stops between two rounds, so that it can be gone on with from there."""

from __future__ import annotations

import time
from collections.abc import Callable

HOUR = 3600.0


class TimeIsUp(KeyboardInterrupt):
    """The time that was given is over. Like Ctrl-C it ends everything, marks the run as killed, and is no failure."""


class TimeBudget:
    """Ends a run before a round that would go beyond its time; called when a round is over.

    The clock starts when this is made, so that waiting for machines and making rows count as well: what is paid for.

    Args:
        hours: How many.
        clock: Seconds; a test's own.
    """

    def __init__(self, hours: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.hours = hours
        self._clock, self._began, self._longest = clock, clock(), 0.0
        self._last: float | None = None

    def __call__(self, done: int, rounds: int) -> None:
        """Hear that a round is over.

        Raises:
            TimeIsUp: If the longest round so far, evaluation included, would not fit in any more.
        """
        now = self._clock()
        if self._last is not None:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        if done < rounds and now - self._began + self._longest >= self.hours * HOUR:
            raise TimeIsUp(f"stopped after round {done} of {rounds}: {self.hours:g} hours are over")
