"""One run of fedray in a process of its own, as `runs.py` starts it. It tells its parent in JSON lines what goes on:
`{"stage": ...}`, `{"begins": true}` before the first round, `{"round": ...}` after each, and at last what came of it.

With `"turns": true` it waits after each round for a line on standard input, so that two runs can take turns.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import fedray
from fedray.config.file import parse_overrides
from fedray.watch import Watch


class Teller(Watch):
    """Says what goes on, and waits for its turn."""

    def __init__(self, turns: bool) -> None:
        # Standard output is for these lines alone, whatever a library prints there.
        self.out, self.turns, self.cpu = os.fdopen(os.dup(1), "w"), turns, 0.0
        os.dup2(2, 1)

    def tell(self, **line: Any) -> None:
        """One line."""
        print(json.dumps(line), file=self.out, flush=True)

    def stage(self, name: str) -> None:
        """A stage begins."""
        self.tell(stage=name)

    def on_round(self, context: fedray.RoundContext) -> None:
        """The hook: a round's seconds, and the CPU seconds of this process since the last round was told."""
        used = time.process_time()
        if context.round:
            told = {"seconds": context.seconds, "phones": context.phones, "driver_cpu": used - self.cpu}
            self.tell(round=context.round, **told)
        else:
            self.tell(begins=True)
        if self.turns:
            sys.stdin.readline()
        self.cpu = time.process_time()


def main() -> None:
    asked = json.loads(sys.argv[1])
    teller = Teller(asked["turns"])
    experiment = fedray.Experiment(**asked["experiment"]).with_(parse_overrides(asked["sets"]))
    run = fedray.run(experiment, hooks=[teller.on_round], watch=teller).only
    teller.tell(stages=dict(run.seconds), fleet=dict(run.fleet))


if __name__ == "__main__":
    main()
