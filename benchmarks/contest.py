"""fedray beside its peers: the same rows, network, first weights and steps, each by a script of its own in an
environment of its own, several times in turn.

First everybody trains one round in a given order of rows, and must end with fedray's averaged weights; then all are
timed as they would be used, shuffling included. Each gets as many phones as its speed deserves: what is compared is
phones a second, and more phones only make a round longer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import figures, workload
from benchmarks.record import ROOT, Place, record, show

SCRIPTS = Path(__file__).parent / "peers"
AGREE = 1e-4
TORCH = ["torch==2.13.0"]  # first, by itself: what depends on torch would bring gigabytes of CUDA

ENVIRONMENTS: Mapping[str, Sequence[Sequence[str]]] = {
    "drjax": [["jax==0.10.2", "jaxlib==0.10.2", "drjax==0.2.1"]],
    "flower": [TORCH, ["flwr[simulation]==1.41.0"]],
    "pfl": [TORCH, ["pfl[pytorch]==0.6.0"]],
}
"""What is installed for each peer, in steps."""


@dataclass(frozen=True)
class Entrant:
    """Somebody who trains the workload.

    Attributes:
        name: As tables show it.
        script: In `benchmarks/peers`.
        setting: Of the script.
        phones: That take part in a round when it is timed.
        rounds: That are timed in each turn, after the first.
        environment: A key of `ENVIRONMENTS`; None: this one.
    """

    name: str
    script: str
    setting: str
    phones: int
    rounds: int
    environment: str | None = None

    @property
    def peer(self) -> str:
        """Whose it is: the name without the setting."""
        return self.name.split(",")[0]


FEDRAY = Entrant("fedray", "fedray_round.py", "ray", 102_400, 8)
LOOP = Entrant("PyTorch loop", "torch_loop.py", "loop", 400, 3)
PEERS = [
    FEDRAY,
    *(
        Entrant(f"DrJAX, {words}", "drjax_round.py", setting, 20_480, 8, "drjax")
        for words, setting in {
            "chunks": "chunks-shuffled",
            "a device a core": "devices-shuffled",
            "one vmap": "whole-shuffled",
            "chunks, no shuffle": "chunks-unshuffled",
            "a device a core, no shuffle": "devices-unshuffled",
        }.items()
    ),
    Entrant("jax.vmap by hand, chunks", "jax_vmap.py", "chunks-shuffled", 20_480, 8, "drjax"),
    Entrant("jax.vmap by hand, a process a core", "jax_vmap.py", "processes-shuffled", 20_480, 8, "drjax"),
    LOOP,
    Entrant("pfl-research", "pfl_round.py", "process", 800, 3, "pfl"),
    Entrant("Flower", "flower_round.py", "ray", 200, 3, "flower"),
]
LIKE_FEDRAY = {"chunks-shuffled", "devices-shuffled"}
"""DrJAX's best settings that shuffle; those that other networks meet."""
MODELS: Mapping[str, tuple[int, int, int]] = {
    "GRU": (8_192, 2_048, 40), "Conv": (16_384, 4_096, 60), "LayerNormMLP": (65_536, 16_384, 100),
    "Transformer": (2_048, 1_024, 40), "BigMLP": (2_048, 512, 100),
}  # fmt: skip
"""For each network of the second contest, the phones of fedray, of DrJAX and of the loop: a second or so a round."""


def python_of(environment: str | None, cache: Path) -> str:
    """The Python of an environment, which is built if it isn't there."""
    if environment is None:
        return sys.executable
    folder, steps = cache / environment, ENVIRONMENTS[environment]
    python, built = str(folder.absolute() / "bin" / "python"), folder / "built.json"
    if not built.exists() or json.loads(built.read_text()) != steps:
        print(f"building {folder}: {', '.join(name for step in steps for name in step)}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        for step in steps:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *step], check=True)
        built.write_text(json.dumps(steps))
    return python


def versions_in(python: str, environment: str) -> dict[str, str]:
    """Of the packages that decide about a peer's speed."""
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    found = json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout)
    names = ("drjax", "jax", "jaxlib", "flwr", "ray", "pfl", "torch", "numpy")
    return {f"{environment}: {name}": found[name] for name in names if name in found}


def go(entrant: Entrant, folder: Path, place: Place, cache: Path, *more: str) -> dict[str, Any]:
    """One turn of an entrant: what its script printed.

    Raises:
        RuntimeError: If the script failed; its log is named.
    """
    log = place.home / f"{entrant.script}.log"
    python = python_of(entrant.environment, cache)
    command = [python, str(SCRIPTS / entrant.script), str(folder), "--setting", entrant.setting]
    command += ["--phones", str(entrant.phones), "--rounds", str(entrant.rounds), *more]
    given = {"FEDRAY_BENCHMARKS_HOME": str(place.home), "FEDRAY_BENCHMARKS_SET": json.dumps(place.sets)}
    path = {"PYTHONPATH": str(ROOT)} if entrant.environment is None else {}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("w") as errors:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=kept | given | path, check=False
        )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RuntimeError(f"{entrant.name} ended with {done.returncode}; see {log}")
    return dict(json.loads(lines[-1]))


def agreement(entrants: Sequence[Entrant], network: str, place: Place, cache: Path, phones: int) -> dict[str, float]:
    """How far each one's averaged weights lie from fedray's after one round in the same order, at most.

    Raises:
        RuntimeError: If somebody's lie further away than `AGREE`: they don't do the same work.
    """
    folder = workload.write(place.home / "workloads", phones, network)
    ended = {}
    for entrant in entrants:
        there = folder / "ended.npy"
        answer = go(replace(entrant, phones=phones), folder, place, cache, "--check", str(there.absolute()))
        assert answer["finite"], f"{entrant.name} made weights that are not finite"
        ended[entrant.name] = np.load(there)
    return distances(ended, np.load(folder / "weights.npy"))


def distances(ended: Mapping[str, workload.Float32], begun: workload.Float32) -> dict[str, float]:
    """How far everybody's weights lie from fedray's, at most.

    Args:
        ended: Averaged weights `[D]` by entrant.
        begun: That all of them started from.

    Raises:
        RuntimeError: If somebody's lie further away than `AGREE`.
    """
    reference = ended[FEDRAY.name]
    assert np.abs(reference - begun).max() > 100 * AGREE, "nobody has moved"
    apart = {name: float(np.abs(weights - reference).max()) for name, weights in ended.items()}
    if others := [f"{name} ({most:.0e})" for name, most in apart.items() if not most <= AGREE]:
        raise RuntimeError(
            f"after a round over the same rows in the same order these weights differ from fedray's by more than "
            f"{AGREE:.0e}: {', '.join(others)}; nothing is timed that does other work"
        )
    return apart


def timed(entrants: Sequence[Entrant], network: str, place: Place, cache: Path, turns: int) -> list[dict[str, Any]]:
    """All entrants in turn, A B C A B C, so that whatever else the machine does meets them all alike."""
    samples = []
    for turn in range(turns):
        for entrant in entrants:
            # fedray reads its table as a whole; the others take as many phones of the widest folder as they need.
            most = entrant.phones if entrant.environment is None else max(other.phones for other in entrants)
            folder = workload.write(place.home / "workloads", most, network)
            answer = go(entrant, folder, place, cache)
            samples.append({"entrant": entrant.name, "network": network, "turn": turn, **answer})
            speed = entrant.phones / median(answer["seconds"])
            print(f"{network} turn {turn + 1}: {entrant.name} {speed:,.0f} phones/s", file=sys.stderr)
    return samples


def speeds(samples: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What comes of the samples, by entrant: phones/s of the median round after the first, and how they scatter."""
    found = {}
    for name in dict.fromkeys(sample["entrant"] for sample in samples):
        mine = [sample for sample in samples if sample["entrant"] == name]
        turns = [sample["phones"] / median(sample["seconds"]) for sample in mine]
        seconds = [second for sample in mine for second in sample["seconds"]]
        found[name] = {
            "phones_per_second": mine[0]["phones"] / median(seconds),
            "slowest_turn": min(turns),
            "fastest_turn": max(turns),
            "first_round": mine[0]["phones"] / median([sample["first"] for sample in mine]),
            "phones": mine[0]["phones"],
            "how": mine[0]["how"],
        }
    return found


def peers(place: Place, cache: Path, only: Sequence[str], turns: int, quick: bool) -> None:
    """The `peers` measurement."""
    chosen = [entrant for entrant in PEERS if entrant is FEDRAY or not only or entrant.peer in only]
    if quick:
        chosen = [replace(entrant, phones=min(entrant.phones, 2_048), rounds=2) for entrant in chosen]
    apart = agreement(chosen, "MLP", place, cache, 128)
    samples = timed(chosen, "MLP", place, cache, turns)
    found = speeds(samples)
    best = found["fedray"]["phones_per_second"]
    for name, values in found.items():
        values |= {"fedray_is_times": best / values["phones_per_second"], "apart": apart[name]}
    record("peers", place, samples, {"entrants": found, "agree_to": AGREE}, _versions(chosen, cache))
    rows = [
        [name, v["phones"], v["phones_per_second"], v["first_round"], v["fedray_is_times"], v["apart"]]
        for name, v in found.items()
    ]
    show("standard workload", ["", "phones", "phones/s", "first round", "fedray is x", "weights apart"], rows)
    figures.bars(place.results / "peers.png", "Standard workload, phones a second", found)


def models(place: Place, cache: Path, only: Sequence[str], turns: int, quick: bool, name: str) -> None:
    """The `models` measurement: other networks, beside DrJAX and the loop."""
    samples, summary = [], {}
    for network in only or MODELS:
        ours, theirs, loop = (max(64, phones // 16) if quick else phones for phones in MODELS[network])
        drjax = [entrant for entrant in PEERS if entrant.peer == "DrJAX" and entrant.setting in LIKE_FEDRAY]
        chosen = [
            replace(FEDRAY, phones=ours, rounds=5),
            *(replace(entrant, phones=theirs, rounds=5) for entrant in drjax),
            replace(LOOP, phones=loop),
        ]
        apart = agreement(chosen, network, place, cache, 32)
        samples += timed(chosen, network, place, cache, turns)
        found = speeds([sample for sample in samples if sample["network"] == network])
        for entrant, values in found.items():
            values["apart"] = apart[entrant]
        speed = {entrant: values["phones_per_second"] for entrant, values in found.items()}
        drjax_best = max(value for entrant, value in speed.items() if entrant.startswith("DrJAX"))
        times = {"loop": speed["fedray"] / speed[LOOP.name], "drjax": speed["fedray"] / drjax_best}
        summary[network] = {"entrants": found, "times": times}
        record(name, place, samples, summary, _versions(chosen, cache))
    rows = [
        [network, *(v["phones_per_second"] for v in found["entrants"].values()), *found["times"].values(),
         max(v["apart"] for v in found["entrants"].values())]
        for network, found in summary.items()
    ]  # fmt: skip
    names = [*next(iter(summary.values()))["entrants"], "x loop", "x DrJAX", "weights apart"]
    show("other models, phones a second", ["", *names], rows)
    figures.grouped(place.results / f"{name}.png", "Other models, phones a second", summary)


def _versions(entrants: Sequence[Entrant], cache: Path) -> dict[str, str]:
    environments = {entrant.environment for entrant in entrants} - {None}
    found: dict[str, str] = {}
    for name in sorted(filter(None, environments)):
        found |= versions_in(python_of(name, cache), name)
    return found
