"""Takes of one person in one outfit: their format, checks, readers, sampling, and a generator."""
