"""Sequential: one model visits the phones in order of id and is trained on each one's rows; nothing is averaged.

The original notebook's way, and the one strategy whose reports are individual: what an actor sends on is the model just
trained on one person's rows.
"""

from __future__ import annotations

from fedray.strategies.strategy import Strategy


class Sequential(Strategy):
    """The weights hop from phone to phone; a round visits every phone of the cohort once."""

    hops = True
