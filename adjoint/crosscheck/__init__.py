"""`crosscheck`: the same problem, transcribed and solved by CasADi and IPOPT, and a table of the differences.

Three questions are kept apart:

    Is the solution what it says?    its points are put into a second transcription: violation and cost, no optimiser
    Is it an optimum?                IPOPT started from the guess, and IPOPT started from the solution
    Are the derivatives right?       machine code against CasADi's interpreter and against the user's Python function

programme.py      the second transcription, and the points where IPOPT starts
ipopt.py          a run of IPOPT, its multipliers as costates, and the differences from the solution
derivatives.py    Jacobians at random points, three times
report.py         `crosscheck`, the table and the verdict
"""

from adjoint.crosscheck.derivatives import DerivativeCheck
from adjoint.crosscheck.ipopt import Difference, IpoptRun
from adjoint.crosscheck.report import CrossCheck, crosscheck

__all__ = ["CrossCheck", "DerivativeCheck", "Difference", "IpoptRun", "crosscheck"]
