"""Where a round's time goes, a phone: local training in one process with a clock at each step, and what Ray adds.

One actor's work is done here by the inline engine, so that the clocks see it; a round on Ray, over a fleet of as many
phones for each core, says what is left for Ray, the driver and the memory that cores share.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import fedray
from benchmarks import figures, runs
from benchmarks.record import Place, record, show

STAGES = (
    ("drawing batches", "fedray.fleet.local_round", "batches"),
    ("gathering rows", "fedray.learning.compiled.CompiledRound", "_rows"),
    ("forward, backward, update", "fedray.learning.compiled.CompiledRound", "_step"),
    ("rounding and adding up", "fedray.learning.compiled.CompiledRound", "_finish"),
)


def profile(place: Place, phones: int, rounds: int) -> None:
    """Microseconds a phone by stage.

    Args:
        place: Where it works.
        phones: For each core.
        rounds: After the first.
    """
    cores = int(len(__import__("os").sched_getaffinity(0)))
    samples = [_inline(place, phones, rounds) for _ in range(2)]
    ray = runs.once(runs.standard(phones * cores, rounds + 1, learning=_learning(rounds + 1)), place)
    a_phone = 1e6 / phones
    stages = {name: median(sample[name] for sample in samples) * a_phone for name, *_ in STAGES}
    whole = median(sample["round"] for sample in samples) * a_phone
    stages["the rest of local training"] = whole - sum(stages.values())
    stages["Ray, driver, cores side by side"] = median(runs.steady(ray)) * a_phone - whole
    summary = {"phones_a_core": phones, "cores": cores, "microseconds_a_phone_and_core": stages}
    record("profile", place, samples, summary)
    total = sum(stages.values())
    rows = [[name, value, f"{value / total:.0%}"] for name, value in stages.items()]
    show("a round, in microseconds a phone and core", ["", "us", "share"], [*rows, ["all of it", total, ""]])
    figures.bars(place.results / "profile.png", "microseconds a phone and core", stages)


def _learning(rounds: int) -> dict[str, Any]:
    return {"rounds": rounds, "batch_size": 10, "learning_rate": 0.1, "evaluate_every": rounds, "compile": "on"}


def _inline(place: Place, phones: int, rounds: int) -> dict[str, float]:
    """Seconds a round by stage, median over rounds."""
    asked = runs.standard(phones, rounds + 1, learning=_learning(rounds + 1), fleet={"engine": "inline"})
    found: list[dict[str, float]] = []
    with _clocks() as spent:

        def heard(context: fedray.RoundContext) -> None:
            found.append({"round": context.seconds, **spent})
            spent.clear()

        fedray.run(fedray.Experiment(home=place.home, **asked), hooks=[heard])
    names = ["round", *(name for name, *_ in STAGES)]
    return {name: median(each.get(name, 0.0) for each in found[2:]) for name in names}


@contextmanager
def _clocks() -> Iterator[Counter[str]]:
    """Seconds by stage, while this lasts: the functions that do the work are timed where they are called."""
    import fedray.fleet.local_round as local_round
    from fedray.learning.compiled import CompiledRound

    spent: Counter[str] = Counter()
    made, gathered, begun = local_round.batches, CompiledRound._rows, CompiledRound.__init__

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def clocked(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            done = work(*arguments, **named)
            spent[name] += time.perf_counter() - start
            return done

        return clocked

    def rows(self: Any, *arguments: Any) -> Iterator[Any]:
        steps = gathered(self, *arguments)
        following = timed("gathering rows", lambda: next(steps, None))
        while (step := following()) is not None:
            yield step

    def begin(self: Any, *arguments: Any) -> None:
        begun(self, *arguments)
        self._step = timed("forward, backward, update", self._step)
        self._finish = timed("rounding and adding up", self._finish)

    local_round.batches = timed("drawing batches", made)
    CompiledRound._rows, CompiledRound.__init__ = rows, begin  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        local_round.batches = made
        CompiledRound._rows, CompiledRound.__init__ = gathered, begun  # type: ignore[method-assign]
