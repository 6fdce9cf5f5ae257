"""Hypothesis without a clock: a machine that is busy, or a kernel that is compiled first, is no failure. The continuous
integration takes the same examples each time, so that what it says depends on the change alone.
"""

import os

from hypothesis import settings

settings.register_profile("adjoint", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("adjoint")
