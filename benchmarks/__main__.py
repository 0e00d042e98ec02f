"""`python -m benchmarks`: the menu. Each command measures one thing; see benchmarks/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.record import RESULTS, SCRATCH, Place

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Quick = Annotated[bool, typer.Option("--quick", help="Small sizes, to see that it works; stays out of the results.")]
Home = Annotated[Path, typer.Option(help="For rows, workloads and runs.")]
Out = Annotated[Path | None, typer.Option(help="For results; the committed ones by default.", show_default=False)]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="As for `fedray run`.")]
Cache = Annotated[Path, typer.Option(help="For the peers' environments.")]
PEERS = Path(".fedray/peers")


def place(home: Path, out: Path | None, quick: bool, sets: list[str] | None = None) -> Place:
    home.mkdir(parents=True, exist_ok=True)
    return Place(home, out or (SCRATCH / "results" if quick else RESULTS), tuple(sets or ()))


@app.command()
def peers(
    only: Annotated[list[str] | None, typer.Option(help="Peers besides fedray: DrJAX, Flower, ...")] = None,
    turns: Annotated[int, typer.Option(help="How often each one's turn comes.")] = 5,
    cache: Cache = PEERS, home: Home = SCRATCH, out: Out = None, sets: Sets = None, quick: Quick = False,
) -> None:  # fmt: skip
    """The standard workload by fedray, DrJAX, jax by hand, Flower, pfl-research and a plain loop."""
    from benchmarks.contest import peers as measure

    measure(place(home, out, quick, sets), cache, only or [], 1 if quick else turns, quick)


@app.command()
def models(
    only: Annotated[list[str] | None, typer.Option(help="Networks: GRU, Conv, ...")] = None,
    turns: Annotated[int, typer.Option(help="How often each one's turn comes.")] = 3,
    cache: Cache = PEERS, home: Home = SCRATCH, out: Out = None, sets: Sets = None, quick: Quick = False,
) -> None:  # fmt: skip
    """Other networks by fedray, DrJAX and a plain loop."""
    from benchmarks.contest import models as measure

    measure(place(home, out, quick, sets), cache, only or [], 1 if quick else turns, quick)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
