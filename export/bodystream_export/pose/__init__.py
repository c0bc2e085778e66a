"""The pose sampler's bundle."""
