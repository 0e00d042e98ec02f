"""Centring and scaling of features: two passes of sums that give what pooling the rows would give, and the module that
carries the result with the network.

The first pass adds up counts and columns, the second squared distances from the mean, so that nothing cancels for a
column with mean 1e6 and standard deviation 1 (Chan, Golub, LeVeque: "Algorithms for computing the sample variance",
1983, the two-pass algorithm). The sums themselves are made by phones and added up by the fleet; here is only what
they mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Float64 = npt.NDArray[np.float64]

ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""The relative error that a mean of exact sums may have: each phone's own sum is rounded, all else is not."""


@dataclass(frozen=True)
class Scaling:
    """What is subtracted from each feature and what it is divided by.

    Attributes:
        mean: `[features]`, 0 for features that are left as they are.
        scale: `[features]`, 1 for features that are left as they are and for those that never vary.
    """

    mean: Float64
    scale: Float64

    @classmethod
    def none(cls, features: int) -> Scaling:
        """Leaves every feature as it is."""
        return cls(np.zeros(features), np.ones(features))

    def apply(self, rows: Float64) -> npt.NDArray[np.float32]:
        """Raw rows `[..., features]` as the network sees them, float32."""
        return ((rows - self.mean) / self.scale).astype(np.float32)


def scaling_from_sums(count: float, totals: Float64, squares: Float64, chosen: npt.NDArray[np.bool_]) -> Scaling:
    """The scaling that the two passes add up to; equals scikit-learn's `StandardScaler` on the pooled rows.

    Args:
        count: Training rows of all phones.
        totals: Sum of each feature, `[features]`.
        squares: Sum of squared distances from the mean, `[features]`.
        chosen: Which features are standardised, `[features]`; the others keep mean 0 and scale 1.
    """
    mean, scale = totals / count, np.sqrt(squares / count)
    # The mean of a column that never varies is not exactly its value: what is left is rounding, not spread.
    varies = scale > ROUNDING * np.abs(mean)
    return Scaling(mean=np.where(chosen, mean, 0.0), scale=np.where(chosen & varies, scale, 1.0))


class Predictor(nn.Module):
    """The trained network with its scaling inside: raw rows in, predictions out.

    Args:
        network: Maps standardised rows `[rows, features]` to outputs `[rows, outputs]`.
        scaling: For each feature, in the order of `task.features`.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(scaling.mean, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scaling.scale, dtype=torch.float64))

    def forward(self, rows: Tensor) -> Tensor:
        """Outputs `[rows, outputs]` for raw rows `[rows, features]` of any floating type."""
        outputs: Tensor = self.network(((rows.double() - self.mean) / self.scale).float())
        return outputs
