"""Numbers as people read them: counts and bytes. Seconds are `tracking.report.duration`'s."""

from __future__ import annotations

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def count(number: float) -> str:
    """A count with no more digits than mean something: 0.42, 12,460."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def size(number: float) -> str:
    """Bytes in the unit that fits: 561 B, 17.5 KiB, 1.2 GiB."""
    for unit in UNITS:
        if number < 1024 or unit == UNITS[-1]:
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
