"""A whole body from head and hands: calibration, hypotheses, refinement, feet, lost hands and prediction in time."""
