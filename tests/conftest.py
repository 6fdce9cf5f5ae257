"""Hypothesis without a clock: a machine that is busy, or a kernel that is compiled first, is no failure."""

from hypothesis import settings

settings.register_profile("adjoint", deadline=None)
settings.load_profile("adjoint")
