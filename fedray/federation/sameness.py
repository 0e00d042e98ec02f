"""Whether an experiment is the one that a run was begun with, and which knobs differ if not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from fedray.config import Experiment
from fedray.config.file import to_yaml
from fedray.errors import Problem

FREE = ("name", "home", "fleet", "tracking", "baselines", "references", "variants")
"""Sections that change no weight: where phones live, where things are kept, what is set beside the result. Variants are
compared one by one."""


def fixed_knobs(experiment: Experiment) -> dict[str, Any]:
    """The knobs that a run's weights depend on, as YAML would hold them, by section."""
    knobs: Mapping[str, Any] = yaml.safe_load(to_yaml(experiment))
    return {name: value for name, value in knobs.items() if name not in FREE}


def differences(then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[Problem]:
    """A problem a knob that is not what it was when the run began; both as `fixed_knobs` gives them."""
    before, after = dict(_flat(then, "")), dict(_flat(now, ""))
    return [
        Problem(
            place=prefix + knob,
            value=str(after.get(knob, "nothing")),
            allowed=f"must be {before.get(knob, 'left out')}, as in the rounds that are done",
            mend="leave it as it was, or start a new run with fedray run",
        )
        for knob in dict.fromkeys([*before, *after])
        if before.get(knob) != after.get(knob)
    ]


def _flat(value: Any, name: str) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return [(name, value)]
    return [pair for key, part in value.items() for pair in _flat(part, f"{name}.{key}" if name else str(key))]
