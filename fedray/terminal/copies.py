"""Runs that were copied to a place outside the cluster, as a table and what is to be done about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from fedray.terminal import screen
from fedray.terminal.quantities import size

if TYPE_CHECKING:
    from fedray.tracking.fetch import Copy

WORDS = {
    "missing": "not here",
    "older": "here, but older than the copy",
    "running": "as far as it was copied; its end is still to come",
    "here": "here",
    "failed": "could not be fetched",
}
DIED = """\
A run whose end is still to come goes on, or died with its cluster: wait for it and fetch again, or go on with it by
fedray resume, or, if you want neither, delete it in fedray ui."""


def show_copies(copies: Sequence[Copy], *, check: bool) -> None:
    """A line a run, and what is left to do.

    Args:
        copies: What was found, or fetched.
        check: Nothing was to be fetched, only looked for.
    """
    console = screen.results()
    for copy in copies:
        if copy.why:
            screen.messages().print(copy.why, soft_wrap=True, markup=False, highlight=False)
    if not copies:
        console.print("no runs have been copied there", soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("run", "name", "experiment", "status"):
        table.add_column(heading, no_wrap=heading == "run")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("in this store")
    for copy in copies:
        said = copy.manifest
        word = "fetched" if copy.fetched and copy.state == "here" else WORDS[copy.state]
        table.add_row(said.run, said.name, said.experiment, said.status, size(said.size), word)
    console.print(table)
    left = [copy for copy in copies if copy.left]
    if not left:
        console.print(f"nothing is left to fetch: all {len(copies)} are here" if len(copies) > 1 else "it is here")
    elif check:
        console.print(f"{len(left)} of {len(copies)} are not whole in this store: don't take the cluster down yet")
    if any(copy.manifest.status == "RUNNING" for copy in left):
        console.print(DIED, soft_wrap=True)
