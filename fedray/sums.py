"""Sums that come out the same to the last bit whoever adds them up, in any order and any grouping.

Floating-point addition is not associative; integer addition is. So numbers are rounded once, each for itself, to
whole units of a grid fixed before the run, and only integers are added. There are two grids:

- `Grid` for updates, which are many and whose size is bounded: one int64 a number, values up to 2^7 in units of 2^-k
  with k = 55 - ceil(log2(total weight)), so that the weighted sum over all phones can't overflow;
- limbs for everything else (metric sums, standardisation), whose size nobody knows beforehand: three int64 a number,
  exact for values up to 2^62 in units of 2^-52, for up to 2^24 addends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Int64: TypeAlias = npt.NDArray[np.int64]
Float64: TypeAlias = npt.NDArray[np.float64]
Floats: TypeAlias = npt.NDArray[np.floating]

LARGEST_UPDATE = 2.0**7
_SUM_BITS = 62
_LIMB_BITS = 38
_LIMB_UNITS = 52
_LARGEST_LIMBED = 2.0**62


@dataclass(frozen=True)
class Grid:
    """Whole multiples of 2^-exponent, for the weighted sum of updates.

    Attributes:
        exponent: Units are 2^-exponent.
    """

    exponent: int

    @classmethod
    def of(cls, total_weight: float) -> Grid:
        """The finest grid on which phones of `total_weight` together can't overflow int64.

        Args:
            total_weight: The weights of *all* phones added up, not only of a cohort, so that the grid is one for the
                whole run. At least 1 unit is assumed.
        """
        return cls(_SUM_BITS - int(math.log2(LARGEST_UPDATE)) - math.ceil(math.log2(max(total_weight, 1.0))))

    def units(self, values: Floats, weights: Floats | Int64) -> Int64:
        """`values * weights` in whole units, rounded half to even.

        Args:
            values: `[phones, D]`; every entry must pass `fits`.
            weights: `[phones]`.

        Returns:
            `[phones, D]`, to be added up by anybody in any order.
        """
        scale = np.ldexp(np.asarray(weights, dtype=np.float64), self.exponent)
        scaled = values.astype(np.float64)
        scaled *= scale[:, None]
        np.rint(scaled, out=scaled)
        return scaled.astype(np.int64)

    def value(self, units: Int64) -> Float64:
        """What a sum of units is worth, as float64."""
        return np.ldexp(units.astype(np.float64), -self.exponent)


def fits(values: Floats) -> npt.NDArray[np.bool_]:
    """Which rows of `[phones, D]` are finite and at most 2^7 everywhere: those that a `Grid` may hold."""
    return np.asarray((np.abs(values) <= LARGEST_UPDATE).all(axis=1))


def to_limbs(values: Floats) -> Int64:
    """Numbers as three integer limbs `[3, ...]`, which add up exactly.

    A value that is not finite or beyond 2^62 has no limbs: check with `limbs_hold` first; here it raises ValueError.
    """
    rest = np.array(values, dtype=np.float64)
    largest = np.abs(rest).max(initial=0.0)
    if not largest <= _LARGEST_LIMBED:  # NaN isn't
        raise ValueError("only finite values up to 2^62 can be added exactly")
    limbs, whole = np.empty((3, *rest.shape), dtype=np.int64), np.empty_like(rest)
    # Each step takes the part above a power of two and keeps an exact remainder (Sterbenz), down to units of 2^-52.
    for place in range(2):
        unit = 2.0 ** (_LIMB_BITS * (2 - place) - _LIMB_UNITS)
        if largest <= unit / 2:  # then it rounds to none of them
            limbs[place] = 0
            continue
        np.multiply(rest, 1 / unit, out=whole)  # a power of two: the same as to divide, and faster
        np.rint(whole, out=whole)
        limbs[place] = whole
        whole *= unit
        rest -= whole
    rest *= 2.0**_LIMB_UNITS
    limbs[2] = np.rint(rest, out=rest)
    return limbs


def limbs_hold(values: Floats) -> npt.NDArray[np.bool_]:
    """Which values are finite and at most 2^62."""
    return np.asarray(np.abs(values) <= _LARGEST_LIMBED)


def from_limbs(limbs: Int64) -> Float64:
    """The float64 nearest to what `[3, ...]` limbs add up to."""
    flat = limbs.reshape(3, -1)
    # Python integers have no width: the sum is exact and the one division rounds correctly.
    totals = [
        ((int(high) << 2 * _LIMB_BITS) + (int(middle) << _LIMB_BITS) + int(low)) / (1 << _LIMB_UNITS)
        for high, middle, low in flat.T
    ]
    return np.array(totals, dtype=np.float64).reshape(limbs.shape[1:])


def merged(left: Mapping[str, Int64], right: Mapping[str, Int64]) -> dict[str, Int64]:
    """Two named sets of integer sums added up; a name that only one has is kept as it is."""
    total = dict(left)
    for name, units in right.items():
        total[name] = total[name] + units if name in total else units
    return total
