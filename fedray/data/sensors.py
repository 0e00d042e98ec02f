"""What phones record of an outbreak: the rows of any people for all days, made from what happened to them and the
outbreak's address alone.

The same rows come out whichever people and columns are asked for together, so they can be written once or made anew in
an actor. Who is infected when is `outbreak`'s business, files are `writing`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedray.config import OutbreakData
from fedray.data.contacts import Int64
from fedray.data.outbreak import Bool, Epidemic
from fedray.randomness import Purpose, UInt64, bits, key

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]

# The columns of a row and their stored types, in order; `split` follows as text where rows are written.
COLUMNS: dict[str, type[np.generic]] = {
    "phone": np.int32,
    "person": np.int32,
    "day": np.int16,
    "infected": np.int8,
    "immune": np.int8,
    "temperature": np.float32,
    "distance": np.float32,
    "cough": np.int8,
    "population_infected": np.int32,
    "contacts": np.int16,
    "region": np.int16,
}
TIME = "day"
SENSORS = ("temperature", "distance", "cough")

_ROWS_AT_ONCE = 1 << 14  # so few that what is computed on the way stays in a core's cache: twice as fast
_HALF = 2.0**-31


@dataclass(frozen=True, eq=False)
class Carriers:
    """What happened to some people who carry phones; `Epidemic` says what the numbers mean.

    Attributes:
        phone: Of each person, int64 `[people]`.
        person: Id, int64 `[people]`.
        infected_from, immune_from: Days, int16 `[people]`.
        acted: Flags, bool `[people]`.
        contacts: int16 `[people]`.
    """

    phone: Int64
    person: Int64
    infected_from: npt.NDArray[np.int16]
    immune_from: npt.NDArray[np.int16]
    acted: Bool
    contacts: npt.NDArray[np.int16]

    def part(self, first: int, last: int) -> Carriers:
        """Some of them, at places `first..last-1`."""
        return Carriers(**{name: values[first:last] for name, values in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Recorder:
    """Makes the rows of an outbreak.

    Attributes:
        data: The outbreak's knobs.
        seed, which, attempt: The address that all its draws have in common.
        infected: How many of all people are recorded as infected on a day, `[days]`.
    """

    data: OutbreakData
    seed: int
    which: int
    attempt: int
    infected: Int64

    def rows(self, carriers: Carriers, names: Iterable[str] = COLUMNS) -> dict[str, Array]:
        """The rows of some people, all days of a person together and in order.

        Args:
            carriers: What happened to them.
            names: The wanted ones of `COLUMNS`; only they are computed.

        Returns:
            One array `[people * days]` each: phone, person, day, infected and immune (0 or 1, as recorded when the day
            begins), temperature (degrees Celsius), distance (metres a day), cough (0 or 1), population_infected (how
            many of all people are recorded as infected that day), contacts (of the person) and region (0: there is
            one).
        """
        people, days = len(carriers.person), self.data.days
        made = {name: np.empty((people, days), dtype=COLUMNS[name]) for name in names}
        keys = {purpose: self._keys(purpose) for purpose in (Purpose.BODY, Purpose.COUGH)}
        step = max(1, _ROWS_AT_ONCE // days)
        for first in range(0, people, step):
            last = min(first + step, people)
            self._write({name: whole[first:last] for name, whole in made.items()}, carriers.part(first, last), keys)
        return {name: whole.reshape(people * days) for name, whole in made.items()}

    def _write(self, into: dict[str, Array], carriers: Carriers, keys: dict[Purpose, UInt64]) -> None:
        """Fill the wanted columns, `[people, days]` each."""
        day = np.arange(self.data.days, dtype=np.int16)
        alike = {
            "phone": carriers.phone[:, None],
            "person": carriers.person[:, None],
            "day": day,
            "population_infected": self.infected,
            "contacts": carriers.contacts[:, None],
            "region": 0,
        }
        for name in into.keys() & alike.keys():
            into[name][:] = alike[name]
        if into.keys() & {"infected", "immune"}:
            immune = carriers.immune_from[:, None] <= day
            if "immune" in into:
                into["immune"][:] = immune
            if "infected" in into:  # who is immune was infected before: what is left of one flag without the other
                np.greater(carriers.infected_from[:, None] <= day, immune, out=into["infected"].view(np.bool_))
        if into.keys() & set(SENSORS):
            self._sense(into, carriers.person[:, None], _seen_infected(carriers, day), keys)

    def _sense(self, into: dict[str, Array], people: Int64, ill: Bool, keys: dict[Purpose, UInt64]) -> None:
        """Fill temperature, distance and cough, as far as they are wanted; a person's draw is number `person` of the
        day's key."""
        data = self.data
        if "temperature" in into or "distance" in into:
            radius, angle = _polar(bits(keys[Purpose.BODY], people))
            if "temperature" in into:
                drawn = np.cos(angle, out=into["temperature"])
                drawn *= radius
                drawn *= np.float32(data.temperature_sd)
                drawn += _either(ill, data.temperature_infected, data.temperature_healthy)
            if "distance" in into:
                drawn = np.sin(angle, out=into["distance"])
                drawn *= radius
                drawn *= _either(ill, data.distance_infected_sd, data.distance_healthy_sd)
                drawn += _either(ill, data.distance_infected, data.distance_healthy)
        if "cough" in into:
            drawn_bits = bits(keys[Purpose.COUGH], people)
            drawn_bits >>= np.uint64(11)
            # The same as uniform draws in [0, 1) below a probability, without making numbers of them.
            most = [np.uint64(np.ceil(np.ldexp(chance, 53))) for chance in (data.cough_healthy, data.cough_infected)]
            below = into["cough"].view(np.bool_)
            np.less(drawn_bits, most[0], out=below)
            np.copyto(below, drawn_bits < most[1], where=ill)

    def _keys(self, purpose: Purpose) -> UInt64:
        return key(self.seed, purpose, self.which, self.attempt, np.arange(self.data.days))


def recorder(epidemic: Epidemic) -> Recorder:
    """Of the rows of an outbreak that was simulated here."""
    return Recorder(epidemic.data, epidemic.seed, epidemic.which, epidemic.attempt, epidemic.infected)


def carriers(epidemic: Epidemic, people: Int64, first_phone: int = 0) -> Carriers:
    """What happened to some people `[people]`, who carry the phones from `first_phone` on."""
    return Carriers(
        phone=first_phone + np.arange(len(people), dtype=np.int64),
        person=people,
        infected_from=epidemic.infected_from[people],
        immune_from=epidemic.immune_from[people],
        acted=epidemic.acted[people],
        contacts=epidemic.contacts[people],
    )


def rows(epidemic: Epidemic, people: Int64, first_phone: int = 0) -> dict[str, Array]:
    """All columns of the rows of some people, who carry the phones from `first_phone` on; see `Recorder.rows`."""
    return recorder(epidemic).rows(carriers(epidemic, people, first_phone))


def _seen_infected(people: Carriers, day: npt.NDArray[np.int16]) -> Bool:
    """Whether the sensors recorded on a day are those of an infected person, `[people, days]`.

    They were drawn a day earlier, on the person's turn, before healing on that turn and before infections by people
    with higher ids. So somebody who caught it after their turn still shows a healthy person's sensors on the first
    recorded day of illness, and somebody who healed shows an infected person's on the first recorded day of immunity.
    On day 0 nobody has had a turn.
    """
    drawn_from = people.infected_from - people.acted.astype(np.int16)
    seen = drawn_from[:, None] < day
    seen &= day <= people.immune_from[:, None]
    return seen


def _polar(draws: UInt64) -> tuple[Float32, Float32]:
    """Radius and angle, float32, whose cosine and sine parts are two independent standard normal draws (Box-Muller).

    The upper half of a draw gives the radius (at most 6.7), the lower half the angle. numpy's logarithm, cosine and
    sine of float32 may differ by a unit in the last place between families of CPUs.
    """
    lower = draws.astype(np.uint32).view(np.int32)
    angle = lower.astype(np.float32)
    angle *= np.float32(np.pi * _HALF)
    draws >>= np.uint64(33)
    radius = draws.astype(np.int32).astype(np.float32)
    radius += np.float32(0.5)  # never zero, which has no logarithm
    radius *= np.float32(_HALF)
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(radius, out=radius)
    return radius, angle


def _either(ill: Bool, infected: float, healthy: float) -> Float32:
    """One of two numbers, float32 `[people, days]`."""
    return np.array([healthy, infected], dtype=np.float32).take(ill.view(np.uint8))
