"""Codes, slots and parameters of the interior-point kernels (Waechter & Biegler, Math. Program. 106 (2006) 25-57)."""

# Status codes.
RUNNING, OPTIMAL, ACCEPTABLE, INFEASIBLE, DIVERGING, RESTORATION_FAILED, BAD_START, BAD_CURVATURE, STALLED = range(9)
# Not an end: `iterate` found no acceptable step; call `restore` and go on.
NEEDS_RESTORATION = 9
# What `iterate` begins with: w alone; w and all multipliers; going on; going back to the optimum that was kept.
# The last is a start that only `restore` uses.
COLD, WARM, CONTINUE, RECALL, RESTORE = range(5)

# Slots of Iterate.number.
MU, THETA_MAX, THETA_MIN, DELTA_LAST, OBJECTIVE, THETA, DUAL, COMPLEMENTARITY = range(8)
ERROR, ALPHA, ALPHA_DUAL, DELTA = range(8, 12)
STEP, VIOLATION, LEFT, OMEGA = 12, 13, 14, 15
N_NUMBERS = 20
# Slots of Iterate.counter.
ITERATION, N_FILTER, STATUS, N_TRIALS, ACCEPTABLE_RUN, TINY_RUN, N_RESTORATION, N_FACTOR, POLISH = range(9)
N_COUNTS = 12
# Slots of Iterate.option.
TOL, MU_INIT, ACCEPTABLE_TOL, PUSH = range(4)
# Columns of Iterate.history: iteration, objective, theta, dual, mu, step, delta_w, alpha_dual, alpha, trials
N_HISTORY = 10

KAPPA_EPS, KAPPA_MU, THETA_MU, TAU_MIN = 10.0, 0.2, 1.5, 0.99
GAMMA_THETA, GAMMA_PHI, DELTA_SWITCH, S_THETA, S_PHI, ETA_PHI = 1e-5, 1e-8, 1.0, 1.1, 2.3, 1e-8
KAPPA_SIGMA, KAPPA_SOC, MAX_SOC = 1e10, 0.99, 4
DELTA_C = 1e-8
# After the tolerance is met: iterations towards mu = POLISHED tol, for crisp controls and accurate multipliers.
POLISHING, POLISHED = 6, 1e-3
# Largest weight of the dynamics in the restoration phase; size of a scaled unknown that counts as unbounded.
HARDEST, UNBOUNDED = 1e4, 1e8
DELTA_W0, DELTA_W_MIN, DELTA_W_MAX = 1e-4, 1e-20, 1e40
