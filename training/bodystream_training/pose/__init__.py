"""Training of the pose sampler: FLAG (Aliakbarian et al., 2022)."""
