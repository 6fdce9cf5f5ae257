"""Small dense linear algebra on CasADi SX matrices, without pivots: a graph has no values to choose a pivot by.

solve    n <= 3: the adjugate. n > 3: modified Gram-Schmidt applied to [A b], which is backward stable for A x = b
         (Bjorck 1967): A = Q R column by column while b becomes z = Q^T b; then R x = z from the last row up.
det      expansion by rows over all sets of columns, each minor computed once: n 2^(n-1) products, no division.
"""

from __future__ import annotations

import casadi
from casadi import SX

__all__ = ["LARGEST_DETERMINANT", "determinant", "solve"]

LARGEST_DETERMINANT = 8


def determinant(A: SX) -> SX:
    """Determinant of a square matrix with at most `LARGEST_DETERMINANT` rows."""
    n = A.shape[0]
    # minors[columns] is the determinant of the first len(columns) rows restricted to those columns
    minors: dict[tuple[int, ...], SX] = {(): SX(1)}
    for row in range(n):
        larger: dict[tuple[int, ...], SX] = {}
        for columns, minor in minors.items():
            for column in range(n):
                if column not in columns:
                    after = sum(c > column for c in columns)  # column exchanges that sort the set
                    key = tuple(sorted((*columns, column)))
                    larger[key] = larger.get(key, SX(0)) + (-1) ** after * A[row, column] * minor
        minors = larger
    return minors[tuple(range(n))]


def solve(A: SX, b: SX) -> SX:
    """Solution x (n, k) of A x = b for a nonsingular A (n, n) and b (n, k)."""
    n = A.shape[0]
    return casadi.mtimes(_adjugate(A), b) / determinant(A) if n <= 3 else _gram_schmidt_solve(A, b)


def _adjugate(A: SX) -> SX:
    n = A.shape[0]
    rows = [
        [(-1) ** (i + j) * determinant(_without(A, j, i)) for j in range(n)]  # transposed cofactors
        for i in range(n)
    ]
    return casadi.vertcat(*[casadi.horzcat(*row) for row in rows])


def _without(A: SX, row: int, column: int) -> SX:
    n = A.shape[0]
    return A[[i for i in range(n) if i != row], [j for j in range(n) if j != column]]


def _gram_schmidt_solve(A: SX, b: SX) -> SX:
    n, k = b.shape
    columns = [A[:, j] for j in range(n)] + [b[:, j] for j in range(k)]
    R = [[SX(0)] * (n + k) for _ in range(n)]
    for i in range(n):
        R[i][i] = casadi.sqrt(casadi.sumsqr(columns[i]))
        q = columns[i] / R[i][i]
        for j in range(i + 1, n + k):
            R[i][j] = casadi.dot(q, columns[j])
            columns[j] = columns[j] - R[i][j] * q
    x = [[SX(0)] * k for _ in range(n)]
    for i in reversed(range(n)):
        for j in range(k):
            x[i][j] = (R[i][n + j] - sum(R[i][m] * x[m][j] for m in range(i + 1, n))) / R[i][i]
    return casadi.vertcat(*[casadi.horzcat(*row) for row in x])
