"""Generators of synthetic data, and of the assets that the synthetic camera ships with."""
