"""Recurrent networks as dynamical systems: cells, unrolling, truncation, networks and their training."""
