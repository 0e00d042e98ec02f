"""What phones record of an outbreak: the rows of any people for all days, made from an epidemic and its address alone.

The same rows come out whichever people are asked for together, so they can be written once or made anew in an actor.
Who is infected when is `outbreak`'s business, files are `writing`'s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fedray.data.contacts import Int64
from fedray.data.outbreak import Bool, Epidemic
from fedray.randomness import Purpose, UInt64, key, normal, uniform

Array = npt.NDArray[Any]

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


def rows(epidemic: Epidemic, people: Int64, first_phone: int = 0) -> dict[str, Array]:
    """The rows of some people, all days of a person together and in order.

    Args:
        epidemic: What happened to everybody.
        people: Ids of the people, `[people]`.
        first_phone: The phone of the first of them; the others follow.

    Returns:
        One array `[people * days]` for each of `COLUMNS`: phone, person, day, infected and immune (0 or 1, as recorded
        when the day begins), temperature (degrees Celsius), distance (metres a day), cough (0 or 1),
        population_infected (how many of all people are recorded as infected that day), contacts (of the person) and
        region (0: there is one).
    """
    days = np.arange(epidemic.data.days)
    infected, immune = _recorded(epidemic, people, days)
    phones = first_phone + np.arange(len(people))
    table = {
        "phone": phones[:, None],
        "person": people[:, None],
        "day": days,
        "infected": infected,
        "immune": immune,
        **_sensors(epidemic, people, days),
        "population_infected": epidemic.infected,
        "contacts": epidemic.contacts[people][:, None],
        "region": np.zeros(1),
    }
    shape = (len(people), len(days))
    return {
        name: np.broadcast_to(table[name].astype(dtype), shape).reshape(len(people) * len(days))
        for name, dtype in COLUMNS.items()
    }


def _recorded(epidemic: Epidemic, people: Int64, days: Int64) -> tuple[Bool, Bool]:
    """The two flags as they stand when a day begins, `[people, days]` each."""
    immune = epidemic.immune_from[people][:, None] <= days
    return (epidemic.infected_from[people][:, None] <= days) & ~immune, immune


def _seen_infected(epidemic: Epidemic, people: Int64, days: Int64) -> Bool:
    """Whether the sensors recorded on a day are those of an infected person, `[people, days]`.

    They were drawn a day earlier, on the person's turn, before healing on that turn and before infections by people
    with higher ids. So somebody who caught it after their turn still shows a healthy person's sensors on the first
    recorded day of illness, and somebody who healed shows an infected person's on the first recorded day of immunity.
    On day 0 nobody has had a turn.
    """
    drawn_from = epidemic.infected_from[people].astype(np.int64) - epidemic.acted[people]
    return (drawn_from[:, None] < days) & (days <= epidemic.immune_from[people][:, None])


def _sensors(epidemic: Epidemic, people: Int64, days: Int64) -> dict[str, Array]:
    """Temperature, distance and cough, `[people, days]` each; a person's draw is number `person` of the day's key."""
    data = epidemic.data
    ill = _seen_infected(epidemic, people, days)
    person = people[:, None]
    temperature = normal(_daily_keys(epidemic, Purpose.TEMPERATURE, days), person)
    temperature *= data.temperature_sd
    temperature += np.where(ill, data.temperature_infected, data.temperature_healthy)
    distance = normal(_daily_keys(epidemic, Purpose.DISTANCE, days), person)
    distance *= np.where(ill, data.distance_infected_sd, data.distance_healthy_sd)
    distance += np.where(ill, data.distance_infected, data.distance_healthy)
    cough = uniform(_daily_keys(epidemic, Purpose.COUGH, days), person)
    return {
        "temperature": temperature,
        "distance": distance,
        "cough": cough < np.where(ill, data.cough_infected, data.cough_healthy),
    }


def _daily_keys(epidemic: Epidemic, purpose: Purpose, days: Int64) -> UInt64:
    return key(epidemic.seed, purpose, epidemic.which, epidemic.attempt, days)
