"""A driven body: the stages wired to one sample, the session around them, its files."""
