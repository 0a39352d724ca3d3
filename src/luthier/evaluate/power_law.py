"""How errors fall with the number of training rows: ``error(n) = a + b * n ** -c``.

A power law with offset describes learning curves over orders of magnitude (Hestness et al., "Deep learning
scaling is predictable, empirically", 2017; Rosenfeld et al., "A constructive prediction of the generalization
error across scales", 2020): `a` is what more rows cannot mend, `c` how fast the rest falls.
Legend of shapes: p sizes, d draws, g values of c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SMALLEST_EXPONENT, LARGEST_EXPONENT = 0.05, 2.0
"""Hestness et al. measured 0.07 to 0.35 for whole tasks; small sets that a pre-trained model learns fall faster."""
_COARSE, _FINE = 120, 61


@dataclass(frozen=True)
class PowerLaw:
    """One curve, or d of them: `floor` (a), `scale` (b) and `exponent` (c), each of shape (d,)."""

    floor: FloatArray
    scale: FloatArray
    exponent: FloatArray

    def __call__(self, rows: float) -> FloatArray:
        """The error (d,) with so many training rows."""
        found: FloatArray = self.floor + self.scale * float(rows) ** -self.exponent
        return found

    def to_dict(self) -> dict[str, float]:
        """The first curve, as ``{a, b, c}``."""
        return {"a": float(self.floor[0]), "b": float(self.scale[0]), "c": float(self.exponent[0])}


def fit_power_law(rows: npt.ArrayLike, errors: npt.ArrayLike, weights: npt.ArrayLike) -> PowerLaw:
    """Weighted least squares with a >= 0, b >= 0 and c between 0.05 and 2.

    For a given c the best a and b have a closed form, so only c is searched, on a grid and then on a finer one
    (variable projection, Golub and Pereyra 1973): no starting point, and the same result every time.

    Args:
        rows: training rows of each size (p,).
        errors: (p,) or (d, p), of d curves that are fitted each by itself.
        weights: (p,), the inverse variance of each size.
    """
    n = np.asarray(rows, dtype=np.float64)
    y = np.atleast_2d(np.asarray(errors, dtype=np.float64))
    w = np.asarray(weights, dtype=np.float64)
    w = w / w.max()
    largest = float(n.max())
    exponents = np.geomspace(SMALLEST_EXPONENT, LARGEST_EXPONENT, _COARSE)
    best, _, _ = _best(n / largest, y, w, np.broadcast_to(exponents, (len(y), _COARSE)))
    step = exponents[1] / exponents[0]
    finer = best[:, None] * np.geomspace(1 / step, step, _FINE)
    finer = np.clip(finer, SMALLEST_EXPONENT, LARGEST_EXPONENT)
    c, a, b = _best(n / largest, y, w, finer)
    return PowerLaw(a, b * largest**c, c)


def _best(
    x_p: FloatArray, y_dp: FloatArray, w_p: FloatArray, c_dg: npt.NDArray[Any]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(c, a, b), each (d,), of the smallest weighted squared error over the given exponents."""
    z = x_p[None, None, :] ** -c_dg[:, :, None]  # d, g, p
    y = y_dp[:, None, :]
    sw, sz, szz = w_p.sum(), (w_p * z).sum(-1), (w_p * z * z).sum(-1)
    sy, szy = (w_p * y).sum(-1), (w_p * z * y).sum(-1)
    slope = (sw * szy - sz * sy) / np.maximum(sw * szz - sz**2, 1e-300)
    floor = (sy - slope * sz) / sw
    flat = np.broadcast_to(np.maximum(sy / sw, 0), slope.shape)
    candidates = [
        (np.where((slope >= 0) & (floor >= 0), floor, flat), np.where((slope >= 0) & (floor >= 0), slope, 0.0)),
        (np.zeros_like(slope), np.maximum(szy / szz, 0)),
        (flat, np.zeros_like(slope)),
    ]
    least = np.full(slope.shape, np.inf)
    a, b = np.zeros_like(slope), np.zeros_like(slope)
    for one_a, one_b in candidates:
        miss = (w_p * (y - one_a[..., None] - one_b[..., None] * z) ** 2).sum(-1)
        better = miss < least
        least, a, b = np.where(better, miss, least), np.where(better, one_a, a), np.where(better, one_b, b)
    at = least.argmin(axis=1)
    row = np.arange(len(y_dp))
    return np.asarray(c_dg)[row, at].astype(np.float64), a[row, at], b[row, at]
