"""A time budget ends a run before the round that would go beyond it."""

from __future__ import annotations

import pytest

from fedray.federation.budget import HOUR, TimeBudget, TimeIsUp


def run(clock: list[float], hours: float, rounds: int = 10) -> int:
    """The round after which a budget ends a run whose rounds are over at these times, in hours."""
    times = iter([0.0, *clock])
    budget = TimeBudget(hours, clock=lambda: next(times) * HOUR)
    for done in range(1, len(clock) + 1):
        try:
            budget(done, rounds)
        except TimeIsUp:
            return done
    return len(clock) + 1


@pytest.mark.parametrize(
    ("clock", "hours", "stopped"),
    [
        ([0.1, 0.6, 1.1, 1.6], 2.0, 4),  # another half hour would end at 2.1
        ([0.1, 0.6, 1.1, 1.4], 2.0, 5),  # at 1.9
        ([0.1, 1.6, 1.7], 3.15, 3),  # the longest round counts, not the last one
        ([2.5, 2.6], 2.0, 1),  # what was waited for before the first round counts as well
    ],
)
def test_it_ends_before_a_round_that_would_not_fit(clock: list[float], hours: float, stopped: int) -> None:
    assert run(clock, hours) == stopped


def test_the_last_round_is_done_with() -> None:
    assert run([9.0], 1.0, rounds=1) == 2


def test_it_says_where_it_stopped() -> None:
    times = iter([0.0, 2.5 * HOUR])
    budget = TimeBudget(2.5, clock=lambda: next(times))
    with pytest.raises(TimeIsUp, match=r"^stopped after round 3 of 10: 2\.5 hours are over$"):
        budget(3, 10)


def test_it_ends_a_run_as_ctrl_c_does() -> None:
    assert issubclass(TimeIsUp, KeyboardInterrupt)
