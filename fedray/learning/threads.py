"""One thread for all work whose bits count.

Kernels cut large reductions among threads (measured: oneDNN's grouped convolution, which a block of Conv1d becomes, and
sums over one phone's rows), so that a phone's bits would depend on the machine's cores and on who shares its block.
Phone actors have one core anyway; where all phones live in one process, this is what makes the two agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, or within a function that it decorates, torch's operations use one thread."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
