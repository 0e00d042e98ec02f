"""A debugger that stops in the plain loop, before the first batch of the phone that is replayed."""

from __future__ import annotations

import pdb  # noqa: T100 - this is what it is for
from collections.abc import Callable
from typing import Any

from fedray.learning.loop import LoopTrainer

REPLAYED = "self.on_batch is not None"  # other phones that the loop trains on the way have nobody who listens


def stopping_in_the_loop(replay: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, under a debugger that lets everything pass up to the phone's own training."""

    def debugged(*arguments: Any, **options: Any) -> Any:
        debugger = pdb.Pdb()
        code = LoopTrainer._train_phone.__code__
        debugger.set_break(code.co_filename, code.co_firstlineno, cond=REPLAYED, funcname=code.co_name)
        debugger.rcLines.append("continue")  # from the call itself, where a debugger stops first
        found = debugger.runcall(replay, *arguments, **options)
        if found is None:  # what pdb makes of `quit`
            raise KeyboardInterrupt("left the debugger")
        return found

    return debugged
