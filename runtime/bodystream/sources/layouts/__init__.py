"""Readers of recorded RGB-D takes, one module per layout; `folder.py` beside this package plays what they find."""
