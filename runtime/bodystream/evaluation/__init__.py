"""Judging: what came of a stage or a whole pipeline, compared with the truth."""
