"""A time budget ends a run before the round that would go beyond it."""

from __future__ import annotations

import pytest

from fedray.federation.budget import HOUR, TimeBudget, TimeIsUp


def run(clock: list[float], hours: float, rounds: int = 10) -> int:
    """The round after which a budget ends a run that begins to train, and whose rounds are over, at these hours."""
    times = iter([0.0, *clock])
    budget = TimeBudget(hours, clock=lambda: next(times) * HOUR)
    budget.begin()
    for done in range(1, len(clock)):
        try:
            budget(done, rounds)
        except TimeIsUp:
            return done
    return len(clock)


@pytest.mark.parametrize(
    ("clock", "hours", "stopped"),
    [
        ([0.1, 0.6, 1.1, 1.6], 2.0, 3),  # another half hour would end at 2.1
        ([0.1, 0.6, 1.1, 1.4], 2.0, 4),  # at 1.9
        ([0.1, 0.2, 1.7, 1.8], 3.25, 3),  # the longest round counts, not the last one
        ([0.1, 1.6, 1.7], 3.15, 3),  # but the first, in which all was read and compiled, only until the second
        ([0.1, 0.7, 0.8], 1.2, 1),  # and the first one: another 0.6 hours would end at 1.3
        ([2.5, 2.6], 2.0, 1),  # what was waited for before the first round counts as well
        ([0.9, 1.0, 1.1], 2.0, 3),  # but is no round
    ],
)
def test_it_ends_before_a_round_that_would_not_fit(clock: list[float], hours: float, stopped: int) -> None:
    assert run(clock, hours) == stopped


def test_the_last_round_is_done_with() -> None:
    assert run([0.0, 9.0], 1.0, rounds=1) == 2


class TestVariants:
    """Runs one after another."""

    def budget(self, hours: float, *clock: float) -> TimeBudget:
        times = iter([0.0, *clock])
        return TimeBudget(hours, clock=lambda: next(times) * HOUR)

    def test_what_lies_between_two_is_no_round_and_their_rounds_are_their_own(self) -> None:
        budget = self.budget(2.0, 0.0, 0.5, 1.3, 1.4, 1.5, 1.9)
        budget.begin()
        budget(1, 1)  # half an hour
        budget.begin()  # after 0.8 hours of figures
        budget(1, 9)
        budget(2, 9)
        with pytest.raises(TimeIsUp, match="after round 3"):
            budget(3, 9)

    def test_another_is_not_begun_when_the_time_is_over(self) -> None:
        budget = self.budget(2.0, 0.0, 2.1, 2.2)
        budget.begin()
        budget(1, 1)
        with pytest.raises(TimeIsUp, match=r"^stopped before the first round of the next variant: 2 hours are over$"):
            budget.begin()

    def test_one_that_is_gone_on_with_gets_on(self) -> None:
        budget = self.budget(2.0, 2.1, 2.2)  # all the time was waited for
        budget.begin()
        with pytest.raises(TimeIsUp, match="after round 8"):
            budget(8, 9)


def test_it_says_where_it_stopped() -> None:
    times = iter([0.0, 0.0, 2.5 * HOUR])
    budget = TimeBudget(2.5, clock=lambda: next(times))
    budget.begin()
    with pytest.raises(TimeIsUp, match=r"^stopped after round 3 of 10: 2\.5 hours are over$"):
        budget(3, 10)


def test_it_ends_a_run_as_ctrl_c_does() -> None:
    assert issubclass(TimeIsUp, KeyboardInterrupt)
