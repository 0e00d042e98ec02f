"""Which phones live together: consecutive ids, everybody once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedray.fleet.placement import place

COUNTS = st.integers(1, 10_000)


@given(COUNTS, COUNTS | st.just("auto"), st.integers(1, 64))
def test_every_phone_has_one_actor_and_none_is_empty(phones: int, wanted: int | str, cpus: int) -> None:
    placement = place(phones, wanted, cpus)  # type: ignore[arg-type]
    edges = [first for first, _ in placement.ranges] + [placement.ranges[-1][1]]
    assert edges[0] == 0
    assert edges[-1] == phones
    assert all(last == first for (_, last), first in zip(placement.ranges, edges[1:], strict=True))
    assert all(0 < last - first <= placement.phones_per_actor for first, last in placement.ranges)
    assert len(placement.ranges) == placement.actors


def test_auto_is_one_actor_a_cpu() -> None:
    assert (place(10, "auto", 4).actors, place(10, "auto", 4).phones_per_actor) == (4, 3)
    assert place(3, "auto", 4).actors == 3
    assert place(10, "auto", 4).why == "one actor a CPU (4)"
