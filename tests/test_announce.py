"""A wait is announced, a moment is not; a kernel has one signature."""

import time

import numpy as np
import pytest
from numba import float64

from adjoint.kernels import announce


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(announce, "PATIENCE", 0.01)
    monkeypatch.delenv("ADJOINT_QUIET", raising=False)


def test_a_wait_is_announced_and_ended(impatient, capsys):
    with announce.announcing("boiling an egg"):
        time.sleep(0.2)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "adjoint: boiling an egg ..."
    assert second.startswith("adjoint: ... done in 0.")


def test_a_moment_is_not(capsys, monkeypatch):
    monkeypatch.delenv("ADJOINT_QUIET", raising=False)
    with announce.announcing("blinking"):
        pass
    time.sleep(0.05)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("value", "quiet"), [("1", True), ("0", False), ("", False)])
def test_quiet_is_quiet(impatient, capsys, monkeypatch, value, quiet):
    monkeypatch.setenv("ADJOINT_QUIET", value)
    with announce.announcing("boiling an egg"):
        time.sleep(0.1)
    assert (capsys.readouterr().err == "") == quiet


def test_an_error_passes_through(impatient):
    with pytest.raises(ZeroDivisionError), announce.announcing("dividing"):
        1 / 0  # noqa: B018


def test_a_kernel_refuses_other_types():
    def double(a):
        """Twice a."""
        return 2 * a[0]

    twice = announce.kernel(float64(float64[::1]), "compiling")(double)
    assert twice(np.array([1.5])) == 3.0
    assert twice.__doc__ == "Twice a."
    for wrong in (np.array([1], dtype=np.int64), np.ones(4)[::2], "a"):
        with pytest.raises(TypeError):
            twice(wrong)
