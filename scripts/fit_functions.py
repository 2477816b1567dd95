"""Coefficients of the elementary functions of the compiled engine: ``python -m scripts.fit_functions``.

Prints the polynomials in ``jumpstart/engine/functions.h`` with their largest errors. Each is a least-squares fit at
2,000 Chebyshev nodes whose weights grow where the error is large, after Lawson (1961), so that it comes near the
polynomial with the smallest largest error.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NODES, ROUNDS, TERMS = 2000, 60, 40


@dataclass(frozen=True)
class Fit:
    """One polynomial.

    Attributes:
        name: What it is the core of.
        function: The exact values.
        low: Start of the interval.
        high: End of the interval.
        degree: Degree of the polynomial.
        weight: Factor of the error at a place.
    """

    name: str
    function: Callable[[float], float]
    low: float
    high: float
    degree: int
    weight: Callable[[float], float] = lambda place: 1.0

    def coefficients(self) -> tuple[npt.NDArray[np.float64], float]:
        """The coefficients, lowest power first, and the largest weighted error."""
        angles = np.pi * (2 * np.arange(NODES) + 1) / (2 * NODES)
        places = (self.low + self.high) / 2 + (self.high - self.low) / 2 * np.cos(angles)
        wanted = np.array([self.function(float(place)) for place in places])
        weights = np.array([self.weight(float(place)) for place in places])
        powers, lawson = np.vander(places, self.degree + 1, increasing=True), np.ones(NODES)
        for _ in range(ROUNDS):
            root = weights * np.sqrt(lawson)
            found = np.linalg.lstsq(powers * root[:, None], wanted * root, rcond=None)[0]
            errors = np.abs((powers @ found - wanted) * weights)
            lawson *= errors / errors.max() + 1e-3
            lawson /= lawson.mean()
        return found, float(errors.max())


def _exponential(r: float) -> float:
    """(exp(r) - 1 - r) / r^2, by its series, which loses no digits near 0."""
    return math.fsum(r**k / math.factorial(k + 2) for k in range(TERMS))


def _area_hyperbolic_tangent(square: float) -> float:
    """(atanh(s) / s - 1) / s^2 of the square of s, by its series."""
    return math.fsum(square**k / (2 * k + 3) for k in range(TERMS))


def _error_function(square: float) -> float:
    """erf(x) / x of the square of x."""
    root = math.sqrt(square)
    return math.erf(root) / root


HALF_LOG_2 = math.log(2) / 2 * 1.01
FITS = (
    Fit("exp(r): (exp(r) - 1 - r) / r^2", _exponential, -HALF_LOG_2, HALF_LOG_2, 5),
    Fit("log: (atanh(s) / s - 1) / s^2, in s^2", _area_hyperbolic_tangent, 1e-8, 1 / 9 + 1e-3, 5),
    Fit("erf(x) / x, in x^2", _error_function, 1e-9, 1.0, 6),
    Fit("-log(1 - erf(x))", lambda x: -math.log(math.erfc(x)), 0.95, 4.0, 6, math.erfc),
)


def main() -> None:
    """Print all polynomials."""
    for fit in FITS:
        coefficients, error = fit.coefficients()
        numbers = ", ".join(f"{value:.9e}" for value in coefficients)
        sys.stdout.write(f"{fit.name} on [{fit.low:.3g}, {fit.high:.3g}], error {error:.1e}:\n    {numbers}\n")


if __name__ == "__main__":
    main()
