"""Optimal control: the problem, its transcription to stages, the solver, the solution and its certificate."""
