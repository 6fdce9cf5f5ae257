"""The resolvent of a matrix at many points z: its norm from a triangular form, its response from a Hessenberg form.

    norm        σ_min(z I - T), T upper triangular: the largest eigenvalue of ((zI - T)ᴴ (zI - T))⁻¹ by Lanczos' method,
                two triangular solves a step
    response    Y = (I - z H)⁻¹ X, H upper Hessenberg: Gaussian elimination of one subdiagonal, rows exchanged in pairs

For the norm, several points go through the same triangle side by side (`LANES`): real and imaginary parts are kept
apart and the lanes are the last axis, so that each line of a solve is a vector instruction. The Ritz value of Lanczos'
method never exceeds the eigenvalue, hence σ_min is approached from above.

References: Lui, SIAM J. Sci. Comput. 18 (1997) 565, and Trefethen, Acta Numerica 8 (1999) 247 (pseudospectra by Schur
form and inverse Lanczos); Laub, IEEE Trans. Autom. Control 26 (1981) 407 (frequency response by Hessenberg form).
"""

from __future__ import annotations

import math

from numba import complex128, float64, types, void

from adjoint.kernels.announce import kernel
from adjoint.kernels.jit import jit_reassociating

__all__ = ["LANES", "STEPS", "hessenberg_response", "smallest_singular"]

LANES = 8
STEPS = 40  # of Lanczos' method at most

_CONTIGUOUS = "C"
_SENTENCE = "compiling the kernels of the resolvent (once; kept on disk)"


def _array(number, dimensions, readonly=False):
    return types.Array(number, dimensions, _CONTIGUOUS, readonly=readonly)


@jit_reassociating
def _add_row(Mr, Mi, row, first, last, sign, vr, vi):
    """v[row] += Σ_l m_l v[l] over first <= l < last, where m_l = Mr[row, l] + i sign Mi[row, l].

    Four at a time: v[row] may lie in the same memory as the others, so that it is stored and loaded each time.
    """
    whole = first + (last - first) // 4 * 4
    for l in range(first, whole, 4):
        a0, b0, a1, b1 = Mr[row, l], sign * Mi[row, l], Mr[row, l + 1], sign * Mi[row, l + 1]
        a2, b2, a3, b3 = Mr[row, l + 2], sign * Mi[row, l + 2], Mr[row, l + 3], sign * Mi[row, l + 3]
        for w in range(LANES):
            vr[row, w] += (
                (a0 * vr[l, w] - b0 * vi[l, w]) + (a1 * vr[l + 1, w] - b1 * vi[l + 1, w])
            ) + ((a2 * vr[l + 2, w] - b2 * vi[l + 2, w]) + (a3 * vr[l + 3, w] - b3 * vi[l + 3, w]))
        for w in range(LANES):
            vi[row, w] += (
                (a0 * vi[l, w] + b0 * vr[l, w]) + (a1 * vi[l + 1, w] + b1 * vr[l + 1, w])
            ) + ((a2 * vi[l + 2, w] + b2 * vr[l + 2, w]) + (a3 * vi[l + 3, w] + b3 * vr[l + 3, w]))
    for l in range(whole, last):
        a0, b0 = Mr[row, l], sign * Mi[row, l]
        for w in range(LANES):
            vr[row, w] += a0 * vr[l, w] - b0 * vi[l, w]
            vi[row, w] += a0 * vi[l, w] + b0 * vr[l, w]


@jit_reassociating
def _solve(Tr, Ti, dr, di, vr, vi):
    """v <- (zI - T)⁻¹ v for upper triangular T; dr + i di = 1 / (z - T_jj)."""
    n = Tr.shape[0]
    for j in range(n - 1, -1, -1):
        _add_row(Tr, Ti, j, j + 1, n, 1.0, vr, vi)
        for w in range(LANES):
            a, b = vr[j, w], vi[j, w]
            vr[j, w] = a * dr[j, w] - b * di[j, w]
            vi[j, w] = a * di[j, w] + b * dr[j, w]


@jit_reassociating
def _solve_adjoint(Sr, Si, dr, di, vr, vi):
    """v <- (zI - T)⁻ᴴ v, with S = Tᵀ: the transpose of `_solve`, from the first row to the last."""
    n = Sr.shape[0]
    for j in range(n):
        _add_row(Sr, Si, j, 0, j, -1.0, vr, vi)
        for w in range(LANES):
            a, b = vr[j, w], vi[j, w]
            vr[j, w] = a * dr[j, w] + b * di[j, w]
            vi[j, w] = b * dr[j, w] - a * di[j, w]


@jit_reassociating
def _largest(alpha, beta, steps, w, guess, accuracy):
    """The largest eigenvalue of a symmetric tridiagonal matrix: bisection by the signs of its pivots.

    Between `guess` (a Ritz value of fewer steps, hence below) and Gershgorin's bound; the lower end is returned.
    """
    high = guess
    for k in range(steps):
        r = abs(alpha[k, w])
        if k > 0:
            r += beta[k - 1, w]
        if k + 1 < steps:
            r += beta[k, w]
        high = max(high, r)
    low = guess
    for _ in range(60):
        middle = 0.5 * (low + high)
        if not (low < middle < high) or high - low <= accuracy * high:
            break
        # All pivots of middle · I - tridiagonal are positive exactly if the eigenvalues are below.
        pivot, positive = middle - alpha[0, w], True
        for k in range(1, steps):
            if pivot <= 0.0:
                positive = False
                break
            pivot = middle - alpha[k, w] - beta[k - 1, w] * beta[k - 1, w] / pivot
        if positive and pivot > 0.0:
            high = middle
        else:
            low = middle
    return low


@kernel(
    void(*[_array(float64, 2, True)] * 4, *[_array(float64, 1, True)] * 2, float64, _array(float64, 2, True),
         _array(float64, 2, True), _array(float64, 1), *[_array(float64, 2)] * 10),
    _SENTENCE,
)  # fmt: skip
def smallest_singular(
    Tr, Ti, Sr, Si, zr, zi, tolerance, startr, starti, out, dr, di, vr, vi, qr, qi, pr, pi, alpha, beta
):
    """out[l] = σ_min(z_l I - T) for all points z.

    T = Tr + i Ti and its transpose S. Lanczos' method stops where the estimates of the eigenvalue 1/σ² of all lanes
    change by less than 2·`tolerance`, relatively. start (n, LANES): unit columns. Scratch: d, v, q, p (n, LANES),
    alpha, beta (STEPS, LANES).
    """
    n, points = Tr.shape[0], zr.size
    for first in range(0, points, LANES):
        singular = 0
        for j in range(n):
            for w in range(LANES):
                l = min(first + w, points - 1)
                a, b = zr[l] - Tr[j, j], zi[l] - Ti[j, j]
                s = a * a + b * b
                if s < 1e-120:  # on an eigenvalue
                    singular |= 1 << w
                    s = 1.0
                dr[j, w], di[j, w] = a / s, -b / s
                qr[j, w], qi[j, w] = startr[j, w], starti[j, w]
                pr[j, w], pi[j, w] = 0.0, 0.0
        for w in range(LANES):
            out[min(first + w, points - 1)] = 0.0
        steps = min(STEPS, n)
        for k in range(steps):
            for j in range(n):
                for w in range(LANES):
                    vr[j, w], vi[j, w] = qr[j, w], qi[j, w]
            _solve_adjoint(Sr, Si, dr, di, vr, vi)
            _solve(Tr, Ti, dr, di, vr, vi)
            for w in range(LANES):
                alpha[k, w], beta[k, w] = 0.0, 0.0
            for j in range(n):
                for w in range(LANES):
                    b = beta[k - 1, w] if k > 0 else 0.0
                    vr[j, w] -= b * pr[j, w]
                    vi[j, w] -= b * pi[j, w]
                    alpha[k, w] += vr[j, w] * qr[j, w] + vi[j, w] * qi[j, w]
            for j in range(n):
                for w in range(LANES):
                    vr[j, w] -= alpha[k, w] * qr[j, w]
                    vi[j, w] -= alpha[k, w] * qi[j, w]
                    beta[k, w] += vr[j, w] * vr[j, w] + vi[j, w] * vi[j, w]
            done = True
            for w in range(LANES):
                l = min(first + w, points - 1)
                beta[k, w] = math.sqrt(beta[k, w])
                before = out[l]
                value = _largest(alpha, beta, k + 1, w, before, max(1e-14, 0.05 * tolerance))
                out[l] = value
                # Converged, broken down (an invariant subspace), overflowed, or on an eigenvalue.
                if value - before > 2.0 * tolerance * value and beta[k, w] > 1e-14 * value and value < math.inf:
                    done = done and (singular >> w) & 1 == 1
                if beta[k, w] == 0.0 or not value < math.inf:
                    beta[k, w] = 0.0
            if done:
                break
            for j in range(n):
                for w in range(LANES):
                    pr[j, w], pi[j, w] = qr[j, w], qi[j, w]
                    s = 1.0 / beta[k, w] if beta[k, w] > 0.0 else 0.0
                    qr[j, w], qi[j, w] = s * vr[j, w], s * vi[j, w]
        for w in range(LANES):
            l = first + w
            if l < points:
                # An inverse that overflows belongs to a σ below 1e-77: zero.
                out[l] = 0.0 if (singular >> w) & 1 or not out[l] < math.inf else 1.0 / math.sqrt(out[l])


@jit_reassociating
def _eliminate(Mr, Mi, i, fr, fi, exchange):
    """Rows i and i+1 from column i on: exchanged or not, then the second less f times the first."""
    n = Mr.shape[0]
    if exchange:
        for j in range(i, n):
            ar, ai, br, bi = Mr[i, j], Mi[i, j], Mr[i + 1, j], Mi[i + 1, j]
            Mr[i, j], Mi[i, j] = br, bi
            Mr[i + 1, j], Mi[i + 1, j] = ar - (fr * br - fi * bi), ai - (fr * bi + fi * br)
    else:
        for j in range(i, n):
            ar, ai = Mr[i, j], Mi[i, j]
            Mr[i + 1, j] -= fr * ar - fi * ai
            Mi[i + 1, j] -= fr * ai + fi * ar


@kernel(
    void(_array(float64, 2, True), *[_array(float64, 1, True)] * 2, _array(float64, 2, True), _array(complex128, 3),
         *[_array(float64, 2)] * 4),
    _SENTENCE,
)  # fmt: skip
def hessenberg_response(H, zr, zi, X, Y, Mr, Mi, vr, vi):
    """Y[f] = ((I - z_f H)⁻¹ Xᵀ)ᵀ for real upper Hessenberg H (n, n) and X (r, n); inf where the matrix is singular.

    Real and imaginary parts lie apart, so that the work along a row is done in vector registers. Scratch: M (n, n), v
    (r, n).
    """
    r, n = X.shape
    for f in range(zr.size):
        a, b = zr[f], zi[f]
        for i in range(n):
            for j in range(max(0, i - 1), n):
                Mr[i, j], Mi[i, j] = -a * H[i, j], -b * H[i, j]
            Mr[i, i] += 1.0
        for c in range(r):
            for i in range(n):
                vr[c, i], vi[c, i] = X[c, i], 0.0
        for i in range(n - 1):
            ar, ai, br, bi = Mr[i, i], Mi[i, i], Mr[i + 1, i], Mi[i + 1, i]
            exchange = br * br + bi * bi > ar * ar + ai * ai
            if exchange:
                ar, ai, br, bi = br, bi, ar, ai
            size = ar * ar + ai * ai
            inverse = 1.0 / size if size > 0.0 else 0.0
            fr, fi = (br * ar + bi * ai) * inverse, (bi * ar - br * ai) * inverse
            _eliminate(Mr, Mi, i, fr, fi, exchange)
            for c in range(r):
                if exchange:
                    vr[c, i], vr[c, i + 1] = vr[c, i + 1], vr[c, i]
                    vi[c, i], vi[c, i + 1] = vi[c, i + 1], vi[c, i]
                vr[c, i + 1] -= fr * vr[c, i] - fi * vi[c, i]
                vi[c, i + 1] -= fr * vi[c, i] + fi * vr[c, i]
        for i in range(n - 1, -1, -1):
            ar, ai = Mr[i, i], Mi[i, i]
            size = ar * ar + ai * ai
            for c in range(r):
                sr, si = vr[c, i], vi[c, i]
                for j in range(i + 1, n):
                    sr -= Mr[i, j] * vr[c, j] - Mi[i, j] * vi[c, j]
                    si -= Mr[i, j] * vi[c, j] + Mi[i, j] * vr[c, j]
                vr[c, i] = (sr * ar + si * ai) / size if size > 0.0 else math.inf
                vi[c, i] = (si * ar - sr * ai) / size if size > 0.0 else math.inf
        for c in range(r):
            for i in range(n):
                Y[f, c, i] = complex(vr[c, i], vi[c, i])
