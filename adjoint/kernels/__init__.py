"""Compiled loops: arrays, floats and addresses of machine code only; no classes, no strings."""
