"""Export of learned correspondence: encoder and decoder graphs of fixed sizes."""
