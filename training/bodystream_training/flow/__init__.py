"""Learned correspondence: flow and weight networks, and the solver that they are trained through."""
