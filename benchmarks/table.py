"""The table of benchmarks/README.md: the goals beside what the JSON files in benchmarks/results say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import nodes
from benchmarks.record import GIB, ROOT

README = ROOT / "benchmarks" / "README.md"
SCALING = ROOT / "docs" / "scaling.md"
GB = 1e9

Summary = Mapping[str, Any]


def _peers(s: Summary) -> str:
    speed = {name: values["phones_per_second"] for name, values in s["entrants"].items()}
    groups = {
        "DrJAX in its best setting that shuffles as fedray does": lambda name: (
            "DrJAX" in name and "no shuf" not in name
        ),
        "DrJAX without shuffling": lambda name: "DrJAX" in name and "no shuf" in name,
        "jax by hand": lambda name: name.startswith("jax.vmap"),
        "Flower": lambda name: name.startswith("Flower"),
        "pfl-research": lambda name: name.startswith("pfl"),
        "the plain loop": lambda name: name.startswith("PyTorch"),
    }
    said = [f"**{speed['fedray']:,.0f} phones/s**"]
    for words, belongs in groups.items():
        if theirs := [value for name, value in speed.items() if belongs(name)]:
            said.append(f"{speed['fedray'] / max(theirs):,.1f} x {words} ({max(theirs):,.0f})")
    return "; ".join(said)


def _models(s: Summary) -> str:
    return "; ".join(
        f"{name}: {found['times']['loop']:.1f} x the loop, {found['times']['drjax']:.2f} x DrJAX"
        for name, found in s.items()
    )


def _million_memory(s: Summary) -> str:
    by_size = dict(zip(s["phones"], s["bytes"], strict=True))
    return f"{by_size[1_000_000] / GB:.1f} GB" if 1_000_000 in by_size else "not measured at this size"


def _growth(s: Summary) -> str:
    driver = s["driver_cpu_seconds"]
    return (
        f"slope {s['slope']:.2f}; the driver's CPU {driver[0]:.2f} s a round at {s['phones'][0]:,} phones, "
        f"{driver[-1]:.2f} s at {s['phones'][-1]:,}"
    )


def _reports(s: Summary) -> str:
    return "; ".join(
        f"{int(width):,} weights: {found['driver_cpu_seconds'][-1]:.1f} s of the driver's CPU, slope "
        f"{found['slope']:.2f}, {found['driver_mib'][-1] - found['driver_mib'][0]:.0f} MiB more than with "
        f"{found['actors'][0]:,}; {found['by_nodes']['driver_cpu_seconds'][-1]:.1f} s where "
        f"{found['by_nodes']['nodes']} nodes add up first"
        for width, found in s.items()
    )


def _expected(s: Summary) -> str:
    return "; ".join(f"{name}: {found['ratio']:.2f} x" for name, found in s.items() if not found["rough"])


def _soak(s: Summary) -> str:
    faults = sum(count for kind, count in s["faults"].items() if kind != "repair")
    grown = ", ".join(f"{name} {found['mib_an_hour']:+.0f}" for name, found in s["memory"].items())
    return (
        f"{'the same' if s['same_weights'] else '**other**'} weights after {s['minutes']:.0f} minutes, {faults} faults "
        f"and {s['rounds']} rounds ({s['rounds_between']} between the first fault and the last); "
        f"{len(s['leaked'])} processes left behind; memory, MiB an hour: {grown}"
    )


GOALS: list[tuple[str, str, str, str, Callable[[Summary], str]]] = [
    ("phones a second, standard workload, side by side", "2 x DrJAX", "4 x DrJAX", "peers", _peers),
    ("the same over an outbreak of 100,000, without peers", "100,000", "200,000", "throughput",
     lambda s: f"{s['phones_per_second']:,.0f} phones/s, first round {s['first_round_seconds']:.1f} s"),
    ("a round of 1,000,000 phones", "under 15 s", "under 6 s", "million", lambda s: f"{s['round_seconds']:.1f} s"),
    ("its memory, all processes and the object store", "under 8 GB", "", "memory", _million_memory),
    ("start with 1,000,000 phones, compiled cold", "under 60 s", "", "million",
     lambda s: f"{s['start_seconds']:.0f} s"),
    ("10,000,000 phones: a round completes", "under 12 GB", "", "ten-million",
     lambda s: f"{s['bytes'][-1] / GB:.1f} GB, {s['round_seconds'][-1]:.0f} s"),
    ("1 % of 1,000,000 phones, beside a full round of 10,000", "at most 1.3 x", "", "scaling",
     lambda s: f"{s['cohort']['ratio']:.2f} x ({s['cohort']['sampled']:.2f} s and {s['cohort']['full']:.2f} s)"),
    ("outbreak of 1,000,000 people with its files", "under 45 s, 4 GB", "", "outbreak",
     lambda s: f"{s['seconds']:.0f} s, {s['most_bytes'] / GB:.1f} GB; the epidemic {s['epidemic_seconds']:.1f} s"),
    ("the notebook's training, compile cache warm", "under 8 s", "", "notebook",
     lambda s: f"{s['warm_seconds']:.1f} s; cold {s['cold_seconds']:.1f} s; the original took 2,123 s"),
    ("growth of a round from 30,000 to 1,000,000 phones", "slope 1.0 ± 0.1, driver constant", "", "scaling", _growth),
    ("growth of memory", "at most 3 kB a phone, residual under 10 %", "", "memory",
     lambda s: f"{s['fixed'] / GIB:.2f} GiB and {s['bytes_a_phone']:,.0f} B a phone, residual {s['residual']:.1%}"),
    ("other models", "10 x the loop where a phone's work is small, never slower", "ahead of DrJAX", "models", _models),
    ("a transformer and 92 thousand weights", "never slower than the loop", "ahead of DrJAX", "models-large", _models),
    ("reports of 10,000 actors, added up", "memory flat, time linear", "", "reports", _reports),
    ("what `fedray plan` expects", "within 30 %", "", "expected", _expected),
    ("three hosts, a random fault every 20 s for 30 minutes", "the undisturbed run's weights", "", "soak", _soak),
    ("an actor for each phone (24 of them)", "stated", "", "actors",
     lambda s: next(f"{a['actor_mib']} MiB and {a['actor_cpu_seconds']} CPU s each, {a['start_seconds']} s to start all"
                    for a in s["sizes"] if a["phones_per_actor"] == 1 and a["phones"] == 24)),
]  # fmt: skip


def block(results: Path) -> str:
    """The table in Markdown, and what was measured where."""
    lines = ["| what | goal | beyond | measured | by |", "|---|---|---|---|---|"]
    where = {}
    for what, goal, beyond, name, measured in GOALS:
        file = results / f"{name}.json"
        said, by = "not measured yet", ""
        if file.exists():
            found = json.loads(file.read_text())
            said, by = measured(found["summary"]), f"[{name}.json](results/{name}.json)"
            dirty = ", with changes" if found["commit"]["dirty"] else ""
            machine = found["machine"]
            where[name] = (
                f"- {name}: `{found['command']}`, commit {str(found['commit']['id'])[:10]}{dirty}; {machine['cpu']}, "
                f"{machine['cores']} cores, {machine['ram_gib']} GiB"
            )
        lines.append(f"| {what} | {goal} | {beyond} | {said} | {by} |")
    return "\n".join([*lines, "", *where.values()]).rstrip()


def profile_block(results: Path) -> str:
    """Where a round's time goes, in Markdown."""
    file = results / "profile.json"
    if not file.exists():
        return "Not measured yet."
    stages = json.loads(file.read_text())["summary"]["microseconds_a_phone_and_core"]
    whole = sum(stages.values())
    lines = ["| stage | microseconds a phone and core | share |", "|---|---:|---:|"]
    lines += [f"| {name} | {value:.2f} | {value / whole:.0%} |" for name, value in stages.items()]
    return "\n".join([*lines, f"| together | {whole:.2f} | |"])


def expected_block(results: Path) -> str:
    """What was expected beside what was taken, in Markdown."""
    file = results / "expected.json"
    if not file.exists():
        return "Not measured yet."
    lines = ["| experiment | expected | taken | taken / expected |", "|---|---:|---:|---:|"]
    for name, s in json.loads(file.read_text())["summary"].items():
        rough = " (rough: not compiled yet)" if s["rough"] else ""
        lines.append(f"| {name}{rough} | {s['expected']:.0f} s | {s['took']:.0f} s | {s['ratio']:.2f} |")
    return "\n".join(lines)


def rewrite(results: Path, page: Path = README, scaling: Path = SCALING) -> None:
    """Put the tables between their marks on the pages."""
    _put(page, {"results": block(results), "profile": profile_block(results), "expected": expected_block(results)})
    _put(scaling, {"reports": nodes.reports_block(results), "paper": nodes.paper_block(results)})
    _put(scaling, {"workers": nodes.workers_block(), "nodes": nodes.block()})


def _put(page: Path, blocks: Mapping[str, str]) -> None:
    text = page.read_text()
    for name, made in blocks.items():
        before, rest = text.split(f"<!-- {name}: begin -->")
        _, after = rest.split(f"<!-- {name}: end -->")
        text = f"{before}<!-- {name}: begin -->\n{made}\n<!-- {name}: end -->{after}"
    page.write_text(text)
