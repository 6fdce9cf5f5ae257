"""Optimal control and the adjoints of dynamical systems."""
