"""The transforms of Winograd's minimal filtering F(m, r), made exactly.

m outputs of a filter with r taps, y_j = Σ_k d_{j+k} w_k, need only m + r − 1 products:

    y = Aᵀ [(G w) ⊙ (Bᵀ d)]

(Winograd 1980, "Arithmetic Complexity of Computations"; Lavin & Gray 2015, "Fast Algorithms for Convolutional Neural
Networks", eq. 5). Cook and Toom's construction: two polynomials, of m and of r coefficients, are evaluated in m + r − 1
points, multiplied point by point, and their product is interpolated. The filter is the transpose of that product, so
with V_k the Vandermonde matrix of k columns,

    Aᵀ = V_mᵀ        G = V_r        Bᵀ = (V_{m+r−1}⁻¹)ᵀ

The rows of Bᵀ are scaled to integers and those of G by the inverse, which is exact. All of it is rational arithmetic.
"""

import functools
import math
from fractions import Fraction
from typing import NamedTuple

Matrix = tuple[tuple[Fraction, ...], ...]

POINTS = tuple(Fraction(p) for p in ("0", "1", "-1", "2", "-2", "1/2", "-1/2", "3", "-3", "1/3", "-1/3"))
"""Small numbers first: the error grows with their powers. A number and its negative side by side: their rows share
operations. The last point is always ∞, the leading coefficient."""


class Transforms(NamedTuple):
    """F(m, r): the three matrices, as exact fractions."""

    output: Matrix  # Aᵀ, (m, m + r − 1)
    kernel: Matrix  # G, (m + r − 1, r)
    input: Matrix  # Bᵀ, (m + r − 1, m + r − 1)

    @property
    def points(self) -> int:
        """Products, and elements of an input tile: m + r − 1."""
        return len(self.input)


@functools.cache
def transforms(m: int, r: int) -> Transforms:
    """The matrices of F(m, r), m outputs of a filter with r taps.

    Raises:
      ValueError: m or r is not positive, or they need more points than there are good ones.

    >>> [[str(b) for b in row] for row in transforms(2, 3).input]
    [['1', '0', '-1', '0'], ['0', '1', '1', '0'], ['0', '-1', '1', '0'], ['0', '-1', '0', '1']]
    """
    points = m + r - 1
    if m < 1 or r < 1 or points - 1 > len(POINTS):
        raise ValueError(f"F(m, r) needs 1 ≤ m, 1 ≤ r and m + r ≤ {len(POINTS) + 2}, found m={m}, r={r}")
    interpolation = transpose(_inverse(_vandermonde(points, points)))
    scale = [math.lcm(*(entry.denominator for entry in row)) for row in interpolation]
    return Transforms(
        output=transpose(_vandermonde(points, m)),
        kernel=tuple(tuple(v / s for v in row) for row, s in zip(_vandermonde(points, r), scale, strict=True)),
        input=tuple(tuple(b * s for b in row) for row, s in zip(interpolation, scale, strict=True)),
    )


def _vandermonde(points: int, columns: int) -> Matrix:
    """Rows of powers of the finite points, then the row of the point at infinity."""
    finite = tuple(tuple(point**k for k in range(columns)) for point in POINTS[: points - 1])
    return (*finite, (*(Fraction(0),) * (columns - 1), Fraction(1)))


def transpose(matrix: Matrix) -> Matrix:
    """Mᵀ."""
    return tuple(zip(*matrix, strict=True))


def _inverse(matrix: Matrix) -> Matrix:
    """Gauss and Jordan's elimination; exact, so any pivot but zero will do."""
    n = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for column in range(n):
        pivot = next(i for i in range(column, n) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [entry / rows[column][column] for entry in rows[column]]
        for i in range(n):
            if i != column:
                rows[i] = [a - rows[i][column] * b for a, b in zip(rows[i], rows[column], strict=True)]
    return tuple(tuple(row[n:]) for row in rows)
