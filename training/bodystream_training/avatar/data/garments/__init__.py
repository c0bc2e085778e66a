"""A generator of takes: the shipped kind of body in recorded motion, in clothes that a cloth simulation moves."""
