"""Where a round's time goes, a phone: local training in one process with a clock at each step, and what Ray adds.

One actor's work is done here by the inline engine, so that the clocks see it; a round on Ray, over a fleet of as many
phones for each core, says what is left for Ray, the driver and the memory that cores share.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import fedray
from benchmarks import figures, runs
from benchmarks.record import Place, record, show

DRAWING, GATHERING = "drawing batches", "gathering rows"
TRAINING, ADDING = "forward, backward, update", "rounding and adding up"
STAGES = (DRAWING, GATHERING, TRAINING, ADDING)


def profile(place: Place, phones: int, rounds: int) -> None:
    """Microseconds a phone by stage.

    Args:
        place: Where it works.
        phones: For each core.
        rounds: After the first.
    """
    cores = os.cpu_count() or 1
    samples = [_inline(place, phones, rounds) for _ in range(2)]
    ray = runs.once(runs.standard(phones * cores, rounds + 1, learning=_learning(rounds + 1)), place)
    a_phone = 1e6 / phones
    stages = {name: median(sample[name] for sample in samples) * a_phone for name in STAGES}
    whole = median(sample["round"] for sample in samples) * a_phone
    stages["the rest of local training"] = whole - sum(stages.values())
    stages["Ray, driver, cores side by side"] = median(runs.steady(ray)) * a_phone - whole
    summary = {"phones_a_core": phones, "cores": cores, "microseconds_a_phone_and_core": stages}
    record("profile", place, samples, summary)
    total = sum(stages.values())
    rows = [[name, value, f"{value / total:.0%}"] for name, value in stages.items()]
    show("a round, in microseconds a phone and core", ["", "us", "share"], [*rows, ["all of it", total, ""]])
    figures.shares(place.results / "profile.png", "a round: microseconds a phone and core", stages)


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
    names = ["round", *STAGES]
    return {name: median(each.get(name, 0.0) for each in found[2:]) for name in names}


@contextmanager
def _clocks() -> Iterator[Counter[str]]:
    """Seconds by stage, while this lasts: the functions that do the work are timed where they are called."""
    from fedray.fleet import local_round
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
        following = timed(GATHERING, lambda: next(steps, None))
        while (step := following()) is not None:
            yield step

    def begin(self: Any, *arguments: Any) -> None:
        begun(self, *arguments)
        self._step = timed(TRAINING, self._step)
        self._finish = timed(ADDING, self._finish)

    local_round.batches = timed(DRAWING, made)
    CompiledRound._rows, CompiledRound.__init__ = rows, begin  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        local_round.batches = made
        CompiledRound._rows, CompiledRound.__init__ = gathered, begun  # type: ignore[method-assign]
