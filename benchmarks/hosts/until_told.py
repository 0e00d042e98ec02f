"""A driver that runs an experiment until a file appears: `python -m benchmarks.hosts.until_told EXPERIMENT.yaml FILE`.

It says a JSON line on standard error after each round and for whatever happened, and prints how it ended.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import fedray
from fedray.watch import Watch


def tell(**line: Any) -> None:
    """A line on standard error."""
    print(json.dumps(line), file=sys.stderr, flush=True)


class Teller(Watch):
    """Says what happened."""

    def say(self, line: str) -> None:
        """What died, and what was done about it."""
        tell(said=line)


def main(file: str, stop: str) -> None:
    def on_round(context: fedray.RoundContext) -> fedray.Stop | None:
        tell(round=context.round)
        return fedray.Stop() if Path(stop).exists() else None

    run = fedray.run(fedray.Experiment.from_yaml(file), hooks=[on_round], watch=Teller()).only
    rounds = max(point.round for point in run.points)
    print(json.dumps({"rounds": rounds, **run.as_json()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
