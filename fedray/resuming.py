"""Going on with a run that was interrupted: what the record has of it, checked against what is asked for, run on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fedray.config import Experiment
from fedray.errors import Problem, UserMistake
from fedray.experiment import run
from fedray.federation.driver import Hook
from fedray.federation.sameness import differences, fixed_knobs
from fedray.result import Result
from fedray.tracking.load import with_objects
from fedray.tracking.past import interrupted
from fedray.watch import Watch


def resume(
    run_id: str,
    *,
    changes: Mapping[str, Any] | None = None,
    objects: Mapping[str, Any] | None = None,
    hooks: Iterable[Hook] = (),
    home: Path = Path(".fedray"),
    uri: str | None = None,
    watch: Watch | None = None,
) -> Result:
    """Go on with a run that was interrupted, from its last checkpoint; without one, from its start.

    It goes on in the same MLflow runs. Variants that had finished are taken from the record; what any `auto` had chosen
    is used again. The final weights are those of an undisturbed run, bit for bit, on like machines.

    Args:
        run_id: Of the run, of the parent of variants or of one of them.
        changes: Knobs that change no weight: those of `fleet` and `tracking`, `baselines`, `references`.
        objects: What the run was given as Python objects, by knob: `{"model.name": Net}`.
        hooks: As many as the run had. They hear of the rounds from here on only.
        home: Where the run's experiment had its home.
        uri: Of the MLflow store; None: as for `fedray.load`.
        watch: Told what is going on.

    Raises:
        UserMistake: If there is no such run, it has finished, it is being run, or something that its weights depend on
            is not what it was.
        WouldNotFit, BadRow, RunFailed: As for `fedray.run`.
    """
    hooks = tuple(hooks)
    with interrupted(run_id, home=home, uri=uri) as past:
        _refuse_other_hooks(past.hooks, len(hooks))
        begun = with_objects(past.experiment, objects or {})
        experiment = begun.with_({**(changes or {}), "home": home, "tracking.uri": uri})
        _refuse_differences(begun, experiment)
        return run(experiment, hooks=hooks, watch=watch, past=past)


def _refuse_other_hooks(had: int, given: int) -> None:
    if had != given:
        rule = f"must be as many as the run had: {had}"
        raise UserMistake(
            Problem("hooks", str(given), rule, f"from Python, fedray.resume(..., hooks=[...]) with {had}")
        )


def _refuse_differences(then: Experiment, now: Experiment) -> None:
    before, after = then.runs(), now.runs()
    problems = []
    for name, variant in before.items():
        prefix = f"variants.{name}: " if then.variants else ""
        problems += differences(fixed_knobs(variant), fixed_knobs(after[name]) if name in after else {}, prefix)
    if problems or set(before) != set(after):
        rule = f"must be those that the run began with: {', '.join(before)}"
        raise UserMistake(problems or [Problem("variants", ", ".join(after), rule, "leave them as they were")])
