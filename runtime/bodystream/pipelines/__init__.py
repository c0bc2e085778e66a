"""Wiring of stages into products: no mathematics here."""
