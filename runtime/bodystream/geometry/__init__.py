"""Pure geometry on numpy arrays: rotations, cameras, the skeleton and its motion."""
