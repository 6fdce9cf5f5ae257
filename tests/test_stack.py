"""The leaky stack: what is recalled, and what the gradient of it is, in closed form."""

from __future__ import annotations

import numpy as np
import pytest

import adjoint
from adjoint.errors import InputError
from adjoint.recurrent import Stack

PUSH, POP, NOOP = np.eye(3)


def run(actions, values, leak, depth=8):
    cell = Stack(depth, 1, leak)
    u = np.column_stack([np.array(actions), np.array(values, float)])
    path = adjoint.rollout(cell.system, np.zeros(depth), u, p=[leak])
    return path, adjoint.sweep(path, dx=np.eye(depth)[0])  # J is what is on top at the end


@pytest.mark.parametrize("leak", [0.5, 0.95, 1.0, 1.05])
@pytest.mark.parametrize("delay", [1, 2, 10, 60])
def test_recall_and_gradient_are_the_power_of_the_leak(leak, delay):
    path, g = run([PUSH] + [NOOP] * delay, [3.0] + [0] * delay, leak)
    assert path.x[-1, 0] == pytest.approx(3 * leak**delay, rel=1e-13)
    assert g.u[0, 3] == pytest.approx(leak**delay, rel=1e-13)  # of the value that was pushed
    assert g.p[0] == pytest.approx(3 * delay * leak ** (delay - 1), rel=1e-12)
    norms = np.linalg.norm(g.costate[1:], axis=1)
    np.testing.assert_allclose(norms, leak ** np.arange(delay, -1, -1.0), rtol=1e-13)


def test_last_in_first_out():
    path, g = run([PUSH, PUSH, PUSH, POP, POP], [1, 2, 3, 0, 0], 1.0)
    assert path.x[3, :3].tolist() == [3, 2, 1] and path.x[4, :2].tolist() == [2, 1] and path.x[5, 0] == 1
    assert g.u[:, 3].tolist() == [1, 0, 0, 0, 0]


def test_what_falls_off_the_bottom_is_lost():
    path, g = run([PUSH] * 3 + [POP] * 2, [1, 2, 3, 0, 0], 1.0, depth=2)
    assert path.x[-1].tolist() == [0, 0] and g.u[0, 3] == 0


def test_the_leak_is_not_negative():
    with pytest.raises(InputError, match="leak is -0.5"):
        Stack(3, 1, -0.5)
