"""A branch that can be traced, differentiated and run on plain numbers alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.symbolic.functions import where_traced
from adjoint.symbolic.traced import is_traced

__all__ = ["where"]


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, b elsewhere: elementwise, with broadcasting.

    Works on floats, complex numbers, arrays and traced values; scalars in, scalar out. Both a and b are computed. The
    value of the branch not taken is ignored even when it is NaN, but its *derivative* must exist: where x = 0 can
    occur, write ``where(x > 0, np.sqrt(where(x > 0, x, 1.0)), 0.0)``, not ``where(x > 0, np.sqrt(x), 0.0)``.
    """
    if is_traced(condition) or is_traced(a) or is_traced(b):
        return where_traced(condition, a, b)
    return np.where(condition, a, b)[()]
