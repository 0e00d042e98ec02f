"""The configuration room: every knob of an experiment, the YAML file, and what is wrong with it in a user's words.

Read `experiment` (the sections), then `data`, `strategies` and `knobs` (what they are made of); `file`, `yaml_text` and
`problems` are about reading and writing the file. Imports no torch, and nothing of ours but the ground floor.
"""

from fedray.config.data import Data, OutbreakData, TableData
from fedray.config.experiment import (
    UNTRANSLATED,
    Devices,
    Experiment,
    Fleet,
    Learning,
    Model,
    Privacy,
    Task,
    Tracking,
)
from fedray.config.strategies import STRATEGIES, AnyFederation, Federation

__all__ = [
    "STRATEGIES",
    "UNTRANSLATED",
    "AnyFederation",
    "Data",
    "Devices",
    "Experiment",
    "Federation",
    "Fleet",
    "Learning",
    "Model",
    "OutbreakData",
    "Privacy",
    "TableData",
    "Task",
    "Tracking",
]
